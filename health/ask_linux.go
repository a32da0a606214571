package health

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNobody is for a socket that is not there, is stale, is not ours to ask, or whose
// owner lives in another PID namespace: that of another container which shares the
// directory.
var ErrNobody = errors.New("no ak-init to ask there")

// Ask puts one question to the ak-init behind a socket. It speaks to the kernel
// itself: package net would start its poller for one line each way.
func Ask(path string, q Question, timeout time.Duration) (Answer, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return Answer{}, fmt.Errorf("socket: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	// socket(7): these bound connect and write, and read, each by itself.
	tv := unix.NsecToTimeval(int64(timeout))
	for _, option := range []int{unix.SO_SNDTIMEO, unix.SO_RCVTIMEO} {
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, option, &tv); err != nil {
			return Answer{}, fmt.Errorf("setsockopt: %w", err)
		}
	}
	if err := connect(fd, path); err != nil {
		return Answer{}, err
	}
	if err := again(func() error { _, err := unix.Write(fd, []byte(q+"\n")); return err }); err != nil {
		return Answer{}, fmt.Errorf("ask: %w", err)
	}
	line, err := readLine(fd)
	if err != nil {
		return Answer{}, err
	}
	return parseAnswer(line)
}

func connect(fd int, path string) error {
	if err := again(func() error { return unix.Connect(fd, &unix.SockaddrUnix{Name: path}) }); err != nil {
		if errors.Is(err, unix.EAGAIN) { // its queue is full, and time is up
			return errors.New("ak-init does not accept in time")
		}
		return fmt.Errorf("%w: %w", ErrNobody, err)
	}
	// The credentials are those of who listens; a pid that has no number in our
	// namespace reads as 0 (pid_namespaces(7)).
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err == nil && cred.Pid == 0 {
		return fmt.Errorf("%w: it runs in another container", ErrNobody)
	}
	return nil
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

func readLine(fd int) (string, error) {
	var line []byte
	buffer := make([]byte, maxAnswer)
	for len(line) < maxAnswer {
		n, err := unix.Read(fd, buffer)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return "", errors.New("ak-init does not answer in time")
		case err != nil:
			return "", fmt.Errorf("hear: %w", err)
		case n == 0:
			return "", errors.New("ak-init hung up without an answer")
		}
		line = append(line, buffer[:n]...)
		if line[len(line)-1] == '\n' {
			break
		}
	}
	return string(line), nil
}
