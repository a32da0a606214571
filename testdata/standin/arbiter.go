package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// run is the master's life after boot (gunicorn/arbiter.py, run).
func (m *master) run(signals <-chan os.Signal) int {
	// The real one looks for its predecessor each second.
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	if m.predecessor == 0 {
		look.Stop()
	}
	for {
		var err error
		select {
		case sig := <-signals:
			m.rec.event("signal %s", signalName(sig))
			switch sig {
			case syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT:
				m.stop(sig, signals)
				return 0
			case syscall.SIGUSR2:
				err = m.reexec()
			}
		case pid := <-m.exits:
			if m.successor != nil && pid == m.successor.Pid {
				m.successor = nil
			} else {
				err = m.startWorker() // at once, for ever
			}
		case <-look.C:
			if m.predecessor != os.Getppid() {
				look.Stop()
				err = m.promote()
			}
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "Unhandled exception in main loop:", err)
			m.stop(syscall.SIGQUIT, signals)
			return 255
		}
	}
}

// stop closes the socket, whose name stays when another master uses it, ends the
// worker, and removes the pid file.
func (m *master) stop(sig os.Signal, signals <-chan os.Signal) {
	_ = m.listener.Close()
	if m.predecessor == 0 && m.successor == nil {
		_ = os.Remove(socketPath())
	}
	if m.worker != nil {
		m.stopWorker(sig, signals)
	}
	m.removePIDFile()
}

// stopWorker returns when the worker has ended. TERM lets it finish its requests, INT
// and QUIT do not, also when they come after TERM.
func (m *master) stopWorker(sig os.Signal, signals <-chan os.Signal) {
	if sig != syscall.SIGTERM {
		sig = syscall.SIGQUIT
	}
	_ = m.worker.Signal(sig) // it may be gone already
	limit := time.After(gracefulTimeout)
	for ended := 0; ended != m.worker.Pid; {
		select {
		case ended = <-m.exits:
		case again := <-signals:
			m.rec.event("signal %s", signalName(again))
			if again == syscall.SIGINT || again == syscall.SIGQUIT {
				_ = m.worker.Signal(syscall.SIGQUIT)
			}
		case <-limit:
			_ = m.worker.Kill()
		}
	}
}

// pidFileName has a ".2" as long as the predecessor may want the name itself.
func (m *master) pidFileName() string {
	if m.predecessor != 0 {
		return m.pidFile + ".2"
	}
	return m.pidFile
}

// writePIDFile follows gunicorn/pidfile.py: whole at once, mode 0644, a newline at
// the end. It does not refuse the file of another live process, as that does.
func (m *master) writePIDFile() error {
	if m.pidFile == "" {
		return nil
	}
	return writeAtomically(m.pidFileName(), strconv.Itoa(os.Getpid())+"\n")
}

// removePIDFile leaves a file alone that has come to hold another's pid.
func (m *master) removePIDFile() {
	text, err := os.ReadFile(m.pidFileName())
	if err == nil && strings.TrimSpace(string(text)) == strconv.Itoa(os.Getpid()) {
		_ = os.Remove(m.pidFileName())
	}
}

// promote takes the predecessor's place and the name of its pid file.
func (m *master) promote() error {
	m.rec.event("promoted")
	m.removePIDFile()
	m.predecessor = 0
	return m.writePIDFile()
}
