package prepare

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// metricFile knows the names that prometheus_client gives its multiprocess files: type, mode
// of a gauge, process (values.py and metrics.py of 0.26). Under gunicorn the process is a
// worker's number and no pid (authentik, lifecycle/gunicorn.conf.py, 2026.2).
func metricFile(name string) bool {
	stem, ok := strings.CutSuffix(name, ".db")
	at := strings.LastIndexByte(stem, '_')
	if !ok || at < 0 || !digits(stem[at+1:]) {
		return false
	}
	kind := stem[:at]
	if mode, ok := strings.CutPrefix(kind, "gauge_"); ok {
		kind = strings.TrimPrefix(mode, "live")
		return kind == "all" || kind == "min" || kind == "max" || kind == "sum" || kind == "mostrecent"
	}
	return kind == "counter" || kind == "histogram" || kind == "summary"
}

func digits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// ErrAlive is for a socket that somebody listens on.
var ErrAlive = errors.New("another authentik runs with this TMPDIR; give each its own")

// socket removes one that nobody listens on: connecting is refused then (man 7 unix).
func (w *sweeping) socket(name string, st *unix.Stat_t) {
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return
	}
	switch err := tryConnect(w.pathOf(name)); err {
	case unix.ECONNREFUSED:
		w.remove(name, st)
	case unix.ENOENT:
	case nil, unix.EAGAIN, unix.EPROTOTYPE: // it listens; its queue is full; it is of another type
		w.keep("%s answers: %w", w.pathOf(name), ErrAlive)
	default:
		w.keep("cannot tell whether anybody listens on %s: %w; it is owned by %d:%d; we are %s", w.pathOf(name), err, st.Uid, st.Gid, Self())
	}
}

// tryConnect does not wait: who listens may be stopped, or busy.
func tryConnect(path string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	return unix.Connect(fd, &unix.SockaddrUnix{Name: path})
}

// pidFile removes one whose writer is gone.
func (w *sweeping) pidFile(name string, st *unix.Stat_t) {
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return
	}
	text, written, err := readPIDFile(w.fd(), name)
	if err == unix.ENOENT {
		return
	}
	if err != nil {
		w.keep("cannot read the pid file %s: %w; it is owned by %d:%d; we are %s", w.pathOf(name), err, st.Uid, st.Gid, Self())
		return
	}
	pid, err := strconv.Atoi(text)
	if err != nil || pid <= 0 {
		// One that is being written is empty for a moment, and younger than we are.
		if born, err := bornAt(os.Getpid()); err == nil && written.Before(born) {
			w.remove(name, st)
			return
		}
		w.keep("%s holds no pid, and is kept: it is not older than we are", w.pathOf(name))
		return
	}
	if !wrote(pid, written) {
		w.remove(name, st)
		return
	}
	w.keep("%s names pid %d, which runs: another authentik runs with this TMPDIR; give each its own", w.pathOf(name), pid)
}

// readPIDFile gives the little that a pid file holds, and when it was written.
func readPIDFile(dir int, name string) (text string, written time.Time, err error) {
	fd, err := openat(dir, name, unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", written, err
	}
	f := os.NewFile(uintptr(fd), name)
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return "", written, err
	}
	raw, err := io.ReadAll(io.LimitReader(f, 64))
	return strings.TrimSpace(string(raw)), info.ModTime(), err
}

// wrote tells whether a process lives that could have written a file then. One that began
// later has the pid anew: pids start over with every container.
func wrote(pid int, then time.Time) bool {
	// EPERM means that it lives and has another uid (man 2 kill). We have written none.
	if pid == os.Getpid() || unix.Kill(pid, 0) == unix.ESRCH {
		return false
	}
	born, err := bornAt(pid)
	if err != nil { // it ended just now, or /proc does not show it
		return unix.Kill(pid, 0) != unix.ESRCH
	}
	return !born.After(then.Add(bootGrain))
}

// bootGrain is how finely the kernel says when it booted, and userHz how many ticks of
// /proc a second has, on every architecture that Go knows (man 5 proc_stat, man 7 time).
const (
	bootGrain = time.Second
	userHz    = 100
)

// bornAt is when a process began, by the wall clock, to a second; never later than it was.
func bornAt(pid int) (time.Time, error) {
	raw, err := os.ReadFile("/proc/stat")
	if err != nil {
		return time.Time{}, err
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return time.Time{}, err
	}
	booted, ticks, err := parseBorn(raw, stat)
	return time.Unix(booted, ticks*int64(time.Second/userHz)), err
}

// errNoTime is for a /proc that does not say when something began.
var errNoTime = errors.New("/proc does not say when the process began")

// parseBorn takes the time of boot, in seconds, out of /proc/stat, and the ticks from there
// to the process's start out of its own stat: the twentieth number behind its name, which
// may hold anything (man 5 proc_pid_stat).
func parseBorn(stat, process []byte) (booted, ticks int64, err error) {
	_, behind, ok := bytes.Cut(stat, []byte("\nbtime "))
	line, _, _ := bytes.Cut(behind, []byte("\n"))
	fields := bytes.Fields(process[bytes.LastIndexByte(process, ')')+1:])
	if !ok || len(fields) < 20 {
		return 0, 0, errNoTime
	}
	booted, err = strconv.ParseInt(string(line), 10, 64)
	if err != nil {
		return 0, 0, errNoTime
	}
	if ticks, err = strconv.ParseInt(string(fields[19]), 10, 64); err != nil {
		return 0, 0, errNoTime
	}
	return booted, ticks, nil
}
