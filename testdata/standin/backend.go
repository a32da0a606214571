package main

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// backend is the server's side of gunicorn (internal/gounicorn/gounicorn.go and
// attemptStartBackend in internal/web/web.go).
type backend struct {
	rec *recorder

	mu      sync.Mutex  // guards what follows
	process *os.Process // nil until the first start; the successor after USR2
	pidFile string
}

// newBackend also makes the first pid file, as the real one does before anything
// else: an unusable TMPDIR is a panic, exit code 2.
func newBackend(rec *recorder) *backend {
	return &backend{rec: rec, pidFile: newPIDFile()}
}

func newPIDFile() string {
	f, err := os.CreateTemp("", "authentik-gunicorn.*.pid")
	if err != nil {
		panic(fmt.Errorf("failed to create temporary pid file: %w", err))
	}
	_ = f.Close() // the real one leaves it open
	return f.Name()
}

// keepRunning starts gunicorn whenever it fails. After an exit with 0 it does so
// only if the backend was never alive, after three looks 30 s apart.
func (b *backend) keepRunning(alive func() bool) {
	for {
		err := b.run()
		logLine("warning", loggerUnicorn, "gunicorn process died, restarting", err)
		if err != nil {
			logLine("error", loggerUnicorn, "gunicorn failed to start, restarting", err)
			// The real one does not wait: a missing gunicorn keeps a core busy.
			time.Sleep(10 * time.Millisecond)
		} else {
			waitForFailedChecks(alive)
		}
		b.mu.Lock()
		b.pidFile = newPIDFile()
		b.mu.Unlock()
	}
}

// waitForFailedChecks never returns once the backend has been alive.
func waitForFailedChecks(alive func() bool) {
	ticker := time.NewTicker(30 * time.Second)
	defer ticker.Stop()
	for failed := 0; failed < 3; {
		<-ticker.C
		if !alive() {
			failed++
			logLine("warning", loggerUnicorn, fmt.Sprintf("gunicorn process failed healthcheck %d times", failed), nil)
		}
	}
}

// run starts gunicorn and waits for its end. It shares our environment, streams,
// directory and process group; its stdin is /dev/null.
func (b *backend) run() error {
	b.mu.Lock()
	cmd := exec.Command("gunicorn", "-c", "./lifecycle/gunicorn.conf.py", "authentik.root.asgi:application", "--pid", b.pidFile)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	err := cmd.Start()
	b.process = cmd.Process
	b.mu.Unlock()
	if err != nil {
		return err
	}
	return cmd.Wait()
}

// obey handles the signals that are meant for gunicorn, one after the other. It
// ends with the process.
func (b *backend) obey(signals <-chan os.Signal) {
	for sig := range signals {
		b.rec.event("signal %s", signalName(sig))
		b.mu.Lock()
		process, pidFile := b.process, b.pidFile
		b.mu.Unlock()
		switch {
		case process == nil:
			// The real one dies of a nil pointer here.
		case sig == syscall.SIGHUP:
			logLine("info", loggerUnicorn, "SIGHUP received, forwarding to gunicorn", nil)
			if err := process.Signal(sig); err != nil {
				logLine("warning", loggerUnicorn, "failed to reload gunicorn", err)
			}
		case sig == syscall.SIGUSR2:
			logLine("info", loggerUnicorn, "SIGUSR2 received, restarting gunicorn", nil)
			if err := b.replace(process, pidFile); err != nil {
				logLine("warning", loggerUnicorn, "failed to restart gunicorn", err)
			}
		}
	}
}

// replace lets gunicorn start a second master beside the first, waits without limit
// for that one's pid file, and sends TERM to the first. The second master is an
// orphan then; nobody here waits for it.
func (b *backend) replace(old *os.Process, pidFile string) error {
	if err := old.Signal(syscall.SIGUSR2); err != nil {
		return err
	}
	text, err := awaitFile(pidFile + ".2")
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil {
		return err
	}
	successor, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	if err := old.Signal(syscall.SIGTERM); err != nil {
		logLine("warning", loggerUnicorn, "failed to kill old instance of gunicorn", err)
	}
	b.mu.Lock()
	b.process = successor
	b.mu.Unlock()
	return nil
}

// awaitFile looks each 100 ms (really: each second) until path exists.
func awaitFile(path string) (string, error) {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for range ticker.C {
		text, err := os.ReadFile(path)
		if !os.IsNotExist(err) {
			return string(text), err
		}
	}
	return "", nil // not reached: a ticker's channel is never closed
}
