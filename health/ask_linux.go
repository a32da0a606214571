package health

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNobody is for a socket that is not there, is stale, is not ours to ask, belongs to
// somebody whose word does not count, or whose owner lives in another PID namespace: that of
// another container which shares the directory.
var ErrNobody = errors.New("no ak-init to ask there")

// Ask puts one question to the ak-init behind a socket, which answers for each of its
// services.
func Ask(path string, q Question, timeout time.Duration) ([]Answer, error) {
	reply, err := ask(path, string(q), timeout)
	if err != nil {
		return nil, err
	}
	return parseReply(string(reply))
}

// AskStatus gives what the ak-init behind a socket says of itself: a line of JSON.
func AskStatus(path string, timeout time.Duration) ([]byte, error) {
	return ask(path, statusQuestion, timeout)
}

// ask speaks to the kernel itself: package net would start its poller for one line each
// way.
func ask(path, question string, timeout time.Duration) ([]byte, error) {
	deadline := time.Now().Add(timeout)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := bound(fd, unix.SO_SNDTIMEO, deadline); err != nil {
		return nil, err
	}
	if err := connect(fd, path); err != nil {
		return nil, err
	}
	if err := again(func() error { _, err := unix.Write(fd, []byte(question+"\n")); return err }); err != nil {
		return nil, fmt.Errorf("ask: %w", err)
	}
	return readReply(fd, deadline)
}

// bound has connect and write, or the next read, end at the deadline (socket(7)).
func bound(fd, option int, deadline time.Time) error {
	tv := unix.NsecToTimeval(int64(max(time.Until(deadline), time.Millisecond)))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, option, &tv); err != nil {
		return fmt.Errorf("setsockopt: %w", err)
	}
	return nil
}

func connect(fd int, path string) error {
	if err := again(func() error { return unix.Connect(fd, &unix.SockaddrUnix{Name: path}) }); err != nil {
		if errors.Is(err, unix.EAGAIN) { // its queue is full, and time is up
			return errors.New("ak-init does not accept in time")
		}
		return fmt.Errorf("%w: %w", ErrNobody, err)
	}
	// The credentials are those of who listens (unix(7)).
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	switch {
	case err != nil:
		return fmt.Errorf("getsockopt: %w", err)
	case cred.Pid == 0: // a pid that has no number in our namespace reads so (pid_namespaces(7))
		return fmt.Errorf("%w: it runs in another container", ErrNobody)
	case !believed(int(cred.Uid), unix.Geteuid(), path):
		return fmt.Errorf("%w: uid %d listens there", ErrNobody, cred.Uid)
	}
	return nil
}

// believed tells whose word counts: our own, root's, and for root that of whom the socket's
// directory belongs to. In a directory that all can write to anybody can put a socket.
func believed(uid, self int, path string) bool {
	if uid == self || uid == 0 {
		return true
	}
	var st unix.Stat_t
	return self == 0 && unix.Lstat(filepath.Dir(path), &st) == nil && int(st.Uid) == uid
}

// again repeats a call that a signal interrupted: with a time-out set, SA_RESTART
// does not (signal(7)), and Go's scheduler sends signals of its own.
func again(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// readReply reads until the other side hangs up, be it byte by byte.
func readReply(fd int, deadline time.Time) ([]byte, error) {
	var reply []byte
	buffer := make([]byte, 4096)
	for len(reply) < maxReply {
		if err := bound(fd, unix.SO_RCVTIMEO, deadline); err != nil { // anew: a byte that came late leaves less
			return nil, err
		}
		n, err := unix.Read(fd, buffer)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN), n > 0 && time.Now().After(deadline):
			return nil, errors.New("ak-init does not answer in time")
		case err != nil:
			return nil, fmt.Errorf("hear: %w", err)
		case n == 0:
			return reply, nil
		}
		reply = append(reply, buffer[:n]...)
	}
	return nil, errors.New("the answer has no end")
}
