package main

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pty is a terminal with a program at it, which leads a session of its own.
type pty struct {
	*exec.Cmd
	t      *testing.T
	master *os.File
	// changed has a value when there is more to read.
	changed chan struct{}
	mu      sync.Mutex
	// output is all that was shown, read how much of it has been awaited.
	output []byte
	read   int
	// gone: the terminal will show nothing more.
	gone bool
	// ended is closed when the program has.
	ended chan struct{}
}

// openPty makes a terminal of 24 lines and 80 columns (pty(7), ioctl_tty(2)).
func openPty() (master *os.File, slave *os.File, err error) {
	// Without blocking, so that Close ends a Read.
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	master = os.NewFile(uintptr(fd), "ptmx")
	defer func() {
		if err != nil {
			_ = master.Close()
		}
	}()
	if err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return nil, nil, err
	}
	if err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80}); err != nil {
		return nil, nil, err
	}
	// Not by its name: /dev/pts may be another instance (devpts).
	peer, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return nil, nil, errno
	}
	return master, os.NewFile(peer, "pts"), nil
}

// atPty starts a program on a terminal of its own.
func atPty(t *testing.T, dir string, env []string, argv ...string) *pty {
	t.Helper()
	master, slave, err := openPty()
	if err != nil {
		t.Skipf("no terminal to be had here: %v", err)
	}
	p := &pty{Cmd: exec.Command(argv[0], argv[1:]...), t: t, master: master, changed: make(chan struct{}, 1), ended: make(chan struct{})}
	p.Dir, p.Env = dir, slices.Concat(env, []string{"TERM=vt100"})
	p.Stdin, p.Stdout, p.Stderr = slave, slave, slave
	p.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	err = p.Start()
	_ = slave.Close()
	if err != nil {
		_ = master.Close()
		t.Fatal(err)
	}
	shown := make(chan struct{})
	go func() {
		defer close(shown)
		p.show()
	}()
	go func() {
		defer close(p.ended)
		_ = p.Wait() // its exit code says all
	}()
	t.Cleanup(func() {
		p.hangUp()           // ends all who do not ignore it
		_ = p.Process.Kill() // it may have ended
		<-shown
		<-p.ended
		if t.Failed() {
			t.Logf("the terminal of %q shows:\n%s", argv, p.output)
		}
	})
	return p
}

// show reads until nobody has the terminal open, or it is closed.
func (p *pty) show() {
	for buffer := make([]byte, 4096); ; {
		n, err := p.master.Read(buffer)
		p.mu.Lock()
		p.output = append(p.output, buffer[:n]...)
		p.gone = err != nil
		p.mu.Unlock()
		select {
		case p.changed <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

// press types keys: "\x03" is Ctrl-C, "\x1a" Ctrl-Z.
func (p *pty) press(keys string) {
	p.t.Helper()
	if _, err := p.master.WriteString(keys); err != nil {
		p.t.Fatal(err)
	}
}

// enter types a line.
func (p *pty) enter(line string) {
	p.t.Helper()
	p.press(line + "\n")
}

// await waits until what is shown, from where the last await ended, matches a pattern, and
// gives the match and its groups. The pattern must not match what was typed: that is
// shown too.
func (p *pty) await(pattern string) []string {
	p.t.Helper()
	re := regexp.MustCompile(pattern)
	deadline := time.After(patience)
	for {
		p.mu.Lock()
		found := re.FindSubmatchIndex(p.output[p.read:])
		gone := p.gone
		var groups []string
		for i := 0; i < len(found); i += 2 {
			groups = append(groups, string(p.output[p.read:][max(found[i], 0):max(found[i+1], 0)]))
		}
		if found != nil {
			p.read += found[1]
		}
		p.mu.Unlock()
		switch {
		case found != nil:
			return groups
		case gone:
			p.t.Fatalf("%q was never shown", pattern)
		}
		select {
		case <-p.changed:
		case <-deadline:
			p.t.Fatalf("%q is not shown", pattern)
		}
	}
}

// shows tells whether a text has been shown so far.
func (p *pty) shows(text string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Contains(string(p.output), text)
}

// resize makes it this big, of which the foreground hears by SIGWINCH.
func (p *pty) resize(rows, columns uint16) {
	p.t.Helper()
	p.control(func(fd int) error {
		return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns})
	})
}

// awaitForeground waits until the program that leads the session, a shell, has given the
// terminal to a job.
func (p *pty) awaitForeground() {
	p.t.Helper()
	(&scene{t: p.t}).await("another foreground", func() bool {
		group := 0
		p.control(func(fd int) (err error) {
			group, err = unix.IoctlGetInt(fd, unix.TIOCGPGRP)
			return err
		})
		return group != p.Process.Pid
	})
}

func (p *pty) control(f func(fd int) error) {
	p.t.Helper()
	raw, err := p.master.SyscallConn()
	if err != nil {
		p.t.Fatal(err)
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = f(int(fd)) }); err != nil || failed != nil {
		p.t.Fatal(err, failed)
	}
}

// hangUp closes the terminal under whoever is at it.
func (p *pty) hangUp() { _ = p.master.Close() } // it may be closed already

// exitCode waits for the end of the program that leads the session.
func (p *pty) exitCode() int {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.t.Fatal("it does not end")
	}
	return p.ProcessState.ExitCode()
}
