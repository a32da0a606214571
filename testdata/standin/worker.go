package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// exitPIDFile is dramatiq's code for a pid file that it cannot have (dramatiq/cli.py).
const exitPIDFile = 4

// worker plays "python -m manage worker --pid-file F": manage.py waits for the
// database and migrates under Python's default signal actions, then dramatiq's main
// process begins (worker.py of django_dramatiq_postgres, dramatiq/cli.py).
func worker(rec *recorder, args []string) int {
	time.Sleep(knobDuration("STANDIN_WORKER_DELAY"))
	signals := notify(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	pidFile := pidFileArgument(args)
	if err := claimPIDFile(pidFile); err != nil {
		logLine("critical", loggerDramatiq, err.Error(), nil)
		return exitPIDFile
	}
	code, again := superviseDramatiq(rec, signals)
	if again {
		// The pid file stays, with our pid. The real one executes manage.py here,
		// whose first line needs /usr/bin/env.
		rec.event("exec")
		logLine("critical", loggerDramatiq, "cannot execute", reexecute())
		return 1
	}
	_ = os.Remove(pidFile)
	return code
}

// reexecute returns only when it fails.
func reexecute() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return syscall.Exec(self, os.Args, os.Environ())
}

func pidFileArgument(args []string) string {
	at := slices.Index(args, "--pid-file")
	if at < 0 || at+1 == len(args) {
		return ""
	}
	return args[at+1]
}

// claimPIDFile follows setup_pidfile in dramatiq/cli.py: our own pid is fine (after
// HUP), a pid that cannot be signalled is dead, even if it is only another user's,
// and anything that is no number is not ours to overwrite.
func claimPIDFile(path string) error {
	if path == "" {
		return nil
	}
	text, err := os.ReadFile(path)
	switch {
	case err == nil:
		pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			return errors.New("the pid file holds garbage")
		}
		if pid == os.Getpid() {
			return nil
		}
		if syscall.Kill(pid, 0) == nil {
			return fmt.Errorf("dramatiq runs already, as pid %d", pid)
		}
	case !os.IsNotExist(err):
		return fmt.Errorf("cannot read PID file: %w", err)
	}
	if err := os.WriteFile(path, []byte(strconv.Itoa(os.Getpid())), 0o644); err != nil {
		return fmt.Errorf("cannot write PID file: %w", err)
	}
	return os.Chmod(path, 0o644) // whatever the umask
}

// superviseDramatiq runs the worker process and the health server until the former
// has ended. It reports the exit code, and whether HUP asks for another start.
func superviseDramatiq(rec *recorder, signals <-chan os.Signal) (code int, again bool) {
	child, err := startDramatiq()
	if err != nil {
		logLine("critical", loggerDramatiq, "cannot start worker process", err)
		return 1, false
	}
	exit := make(chan int)
	go func() { // ends with the child
		_ = child.Wait() // told by its state
		exit <- exitCode(child.ProcessState)
	}()
	health := serveWorkerHealth(rec)
	defer health.Close()

	running := true
	for {
		select {
		case sig := <-signals:
			rec.event("signal %s", signalName(sig))
			running, again = false, sig == syscall.SIGHUP
			if sig == syscall.SIGINT {
				sig = syscall.SIGTERM
			}
			_ = health.Close() // a fork of its own, which does not wait
			// The real one logs first. Passed on any sooner, the signal can merge
			// with one that the whole group was sent (seen twice in 60 times).
			time.Sleep(10 * time.Millisecond)
			_ = child.Process.Signal(sig) // it may be gone already
		case code := <-exit:
			if running {
				logLine("critical", loggerDramatiq, fmt.Sprintf(
					"Worker with PID %d exited unexpectedly (code %d). Shutting down...", child.Process.Pid, code), nil)
			}
			return code, again
		}
	}
}

// startDramatiq returns when the worker process is ready for signals. The real main
// process blocks its own until then as well.
func startDramatiq() (*exec.Cmd, error) {
	ready, boot, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer ready.Close()
	child, err := spawn(boot, childVariable+"="+roleDramatiq)
	_ = boot.Close() // the child's copy is the last one
	if err != nil {
		return nil, err
	}
	_, _ = io.Copy(io.Discard, ready)
	return child, nil
}

// exitCode is what dramatiq makes of a child's end: a signal is 1.
func exitCode(state *os.ProcessState) int {
	if code := state.ExitCode(); code >= 0 {
		return code
	}
	return 1
}

// serveWorkerHealth answers every path (authentik/tasks/middleware.py); a port that
// is taken, by a server in the same pod for one, is only a warning.
func serveWorkerHealth(rec *recorder) io.Closer {
	health := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	})}
	listener, err := net.Listen("tcp", listenHTTP())
	if err != nil {
		logLine("warning", "authentik.tasks.middleware", "Port is already in use, not starting healthcheck server", err)
		return health
	}
	rec.event("listening %s", listener.Addr())
	go func() { _ = health.Serve(listener) }() // until closed
	return health
}
