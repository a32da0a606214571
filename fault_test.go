package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// fullPipe makes a FIFO that nobody reads and into which nothing more goes.
func fullPipe(s *scene) string {
	s.t.Helper()
	path := filepath.Join(s.dir, "full")
	s.must(syscall.Mkfifo(path, 0o600))
	fd, err := syscall.Open(path, syscall.O_RDWR|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	s.must(err)
	s.t.Cleanup(func() { _ = syscall.Close(fd) })
	for line := make([]byte, 4096); len(line) > 0; {
		if _, err := syscall.Write(fd, line); err == syscall.EAGAIN {
			line = line[:len(line)/2]
		} else {
			s.must(err)
		}
	}
	return path
}

// Whoever was to read the log does not: its lines are lost, and nothing else. Signals are
// handed on, orphans reaped, and the stop takes a second longer, in case somebody reads
// after all.
func TestNobodyReadsTheLog(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.wrap = []string{"sh", "-c", `exec "$@" 2>"$0"`, fullPipe(s)}
	r := s.start("run", "--", "sh", "-c", `
		exec 2>/dev/null
		trap 'exit 7' TERM
		trap ': >"$STANDIN_RECORD/hup"' HUP
		i=0; while [ $i -lt 400 ]; do (:&); i=$((i+1)); done # an event each, at level debug
		: >"$STANDIN_RECORD/ready"
		while :; do sleep 0.01; done`)
	made := func(name string) func() bool {
		return func() bool {
			_, err := os.Stat(filepath.Join(s.record, name))
			return err == nil
		}
	}
	s.await("the service", made("ready"))
	r.signal(syscall.SIGHUP)
	s.await("HUP", made("hup"))
	begin := time.Now()
	r.signal(syscall.SIGTERM)
	if code := r.exitCode(); code != 7 {
		t.Errorf("exit code %d, want 7", code)
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("the stop took %s", took)
	}
	s.nothingLeft()
}

// A refusal ends as well.
func TestNobodyReadsTheRefusal(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.wrap = []string{"sh", "-c", `exec "$@" 2>"$0"`, fullPipe(s)}
	if code := s.start("run", "--", "no-such-program").exitCode(); code != exitNotFound {
		t.Errorf("exit code %d, want %d", code, exitNotFound)
	}
}
