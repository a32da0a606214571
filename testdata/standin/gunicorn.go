package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// gracefulTimeout is gunicorn's default; authentik sets none.
const gracefulTimeout = 30 * time.Second

// parseGunicorn reads "-c FILE APP --pid FILE", in any order, and returns the pid
// file. Nothing is loaded, so the other two only have to be there.
func parseGunicorn(args []string) (pidFile string, err error) {
	app := ""
	for len(args) > 0 {
		word := args[0]
		args = args[1:]
		switch {
		case word != "-c" && word != "--pid":
			if app != "" {
				return "", fmt.Errorf("unrecognized arguments: %s", word)
			}
			app = word
			continue
		case len(args) == 0:
			return "", fmt.Errorf("argument %s: expected one argument", word)
		case word == "--pid":
			pidFile = args[0]
		}
		args = args[1:]
	}
	if app == "" {
		return "", errors.New("no application module specified")
	}
	return pidFile, nil
}

// gunicorn plays the master process. Loading its configuration waits for the
// database and migrates (lifecycle/gunicorn.conf.py); only then are there signal
// handlers, a pid file and a socket, in this order (gunicorn/arbiter.py, start).
func gunicorn(rec *recorder, args []string) int {
	if code, set := knobCode("STANDIN_GUNICORN_EXIT"); set {
		return code
	}
	pidFile, err := parseGunicorn(args)
	if err != nil {
		fmt.Fprintln(os.Stderr, "gunicorn: error:", err)
		return 2
	}
	time.Sleep(knobDuration("STANDIN_GUNICORN_DELAY"))
	signals := notify(syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGINT, syscall.SIGTERM, syscall.SIGTTIN,
		syscall.SIGTTOU, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH)
	m, err := newMaster(rec, pidFile)
	if err == nil {
		err = m.startWorker()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		return 1
	}
	return m.run(signals)
}

// master is gunicorn's arbiter. One goroutine owns it.
type master struct {
	rec      *recorder
	listener *net.UnixListener
	// pidFile is the name asked for. While the predecessor lives, this master
	// writes pidFile.2 instead.
	pidFile     string
	predecessor int         // pid of the master whose USR2 started this one; 0 once it is gone
	successor   *os.Process // started by our own USR2
	worker      *os.Process // nil only when none could be started
	exits       chan int    // pids of children that have ended
}

func newMaster(rec *recorder, pidFile string) (*master, error) {
	m := &master{rec: rec, pidFile: pidFile, exits: make(chan int)}
	if pid := os.Getenv("GUNICORN_PID"); pid != "" {
		predecessor, err := strconv.Atoi(pid)
		if err != nil {
			return nil, fmt.Errorf("cannot read GUNICORN_PID: %w", err)
		}
		m.predecessor = predecessor
	}
	// worker_tmp_dir of lifecycle/gunicorn.conf.py, from 2025.8 on.
	if err := os.MkdirAll(filepath.Join(os.TempDir(), "authentik_gunicorn_tmp"), 0o755); err != nil {
		return nil, err
	}
	if err := m.writePIDFile(); err != nil {
		return nil, err
	}
	listener, err := m.listen()
	if err != nil {
		return nil, err
	}
	// Whether the socket goes when we do is decided in stop.
	listener.SetUnlinkOnClose(false)
	m.listener = listener
	rec.event("listening %s", socketPath())
	return m, nil
}

// listen takes the predecessor's socket, or binds anew where an old one may lie
// (gunicorn/sock.py). gunicorn's umask is 0, so the socket is open to all.
func (m *master) listen() (*net.UnixListener, error) {
	if m.predecessor != 0 {
		listener, err := inheritedListener()
		if err != nil {
			return nil, err
		}
		return listener, os.Unsetenv("GUNICORN_FD")
	}
	socket := socketPath()
	if err := os.Remove(socket); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return nil, err
	}
	return listener, os.Chmod(socket, 0o777)
}

// inheritedFD is where a child finds what spawn gave it.
const inheritedFD = 3

func inheritedListener() (*net.UnixListener, error) {
	f := os.NewFile(inheritedFD, "listener")
	defer f.Close()
	listener, err := net.FileListener(f)
	if err != nil {
		return nil, err
	}
	unix, ok := listener.(*net.UnixListener)
	if !ok {
		return nil, fmt.Errorf("descriptor %d is no unix socket", inheritedFD)
	}
	return unix, nil
}

// spawn starts this program again under the same command line, with one file
// beside the standard streams. It stands for a fork.
func spawn(file *os.File, env ...string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Args = os.Args
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{file}
	return cmd, cmd.Start()
}

// child spawns a process that has the listener and reports its end to m.exits.
func (m *master) child(env ...string) (*os.Process, error) {
	file, err := m.listener.File()
	if err != nil {
		return nil, err
	}
	defer file.Close()
	cmd, err := spawn(file, env...)
	if err != nil {
		return nil, err
	}
	go func() { // ends with the child, or with us
		_ = cmd.Wait() // the code does not matter here
		m.exits <- cmd.Process.Pid
	}()
	return cmd.Process, nil
}

func (m *master) startWorker() error {
	worker, err := m.child(childVariable + "=" + roleUvicorn)
	m.worker = worker
	return err
}

// reexec starts a second master on the same socket (gunicorn/arbiter.py, reexec).
// Only one at a time, and not before we ourselves are the first.
func (m *master) reexec() error {
	if m.successor != nil || m.predecessor != 0 {
		return nil
	}
	successor, err := m.child(fmt.Sprintf("GUNICORN_PID=%d", os.Getpid()), fmt.Sprintf("GUNICORN_FD=%d", inheritedFD))
	m.successor = successor
	return err
}
