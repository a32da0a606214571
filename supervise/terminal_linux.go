package supervise

import (
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// terminal is who of our children works at our controlling terminal (credentials(7)).
type terminal struct {
	// child leads the process group that does, 0 for none.
	child int
	// given: it has been the terminal's foreground, and will be again whenever we are.
	given bool
}

// openTerminal gives our controlling terminal, wherever stdin leads. Without one, or once
// that has hung up, it fails with ENXIO (tty(4)).
func openTerminal() (int, error) {
	return unix.Open("/dev/tty", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
}

// atTerminal calls f with our controlling terminal and gives its answer, false without one.
func atTerminal(f func(tty int) bool) bool {
	tty, err := openTerminal()
	if err != nil {
		return false
	}
	defer func() { _ = unix.Close(tty) }()
	return f(tty)
}

func haveTerminal() bool { return atTerminal(func(int) bool { return true }) }

// isForeground tells whether a process group has the terminal. Both are 0 where they are
// outside of our PID namespace, and taken for the same.
func isForeground(tty, group int) bool {
	now, err := unix.IoctlGetInt(tty, unix.TIOCGPGRP)
	return err == nil && now == group
}

// setForeground gives a process group the terminal. SIGTTOU is blocked meanwhile: in the
// background it would be sent to us, and the call begun again and again (tcsetpgrp(3)).
func setForeground(tty, group int) (ok bool) {
	withSignalMask(unix.SIG_BLOCK, maskOf(syscall.SIGTTOU), func() {
		ok = unix.IoctlSetPointerInt(tty, unix.TIOCSPGRP, group) == nil
	})
	return ok
}

// lend gives the child the terminal if it is ours to give: only the foreground may.
func (t *terminal) lend() bool {
	lent := atTerminal(func(tty int) bool {
		return isForeground(tty, syscall.Getpgrp()) && setForeground(tty, t.child)
	})
	t.given = t.given || lent
	return lent
}

// takeBack makes us the foreground again when the child has ended or has been stopped,
// unless somebody else, such as a shell, has the terminal by now.
func (t *terminal) takeBack() {
	if t.given {
		atTerminal(func(tty int) bool { return isForeground(tty, t.child) && setForeground(tty, syscall.Getpgrp()) })
	}
}

// inPipeline tells whether a shell may have put others into our process group, who need the
// terminal as we do: "ak-init manage help | less".
func inPipeline() bool {
	for fd := range 2 {
		var stat unix.Stat_t
		if unix.Fstat(fd, &stat) == nil && stat.Mode&unix.S_IFMT == unix.S_IFIFO {
			return true
		}
	}
	return false
}

// wantsTerminal tells the stops that end by getting the terminal (signal(7)).
func wantsTerminal(sig syscall.Signal) bool { return sig == syscall.SIGTTIN || sig == syscall.SIGTTOU }

// wakeable tells whether somebody would continue us if we stopped: one of our process group,
// we or a script that runs us, has a parent in our session and in another group. Else the
// group is an orphaned one, which no key stops either (setpgid(2)).
func wakeable() bool {
	group := syscall.Getpgrp()
	session, err := unix.Getsid(0)
	for parent := os.Getppid(); err == nil && parent != 0; { // 0: we are PID 1, or it is in another namespace
		theirs, sidErr := unix.Getsid(parent)
		its, pgidErr := unix.Getpgid(parent)
		if sidErr != nil || pgidErr != nil || theirs != session {
			return false
		}
		if its != group {
			return true
		}
		var r relative
		r, err = readRelative(parent)
		parent = r.ppid
	}
	return false
}

// WriteFromBackground lets the calling goroutine, and none else, write to a terminal from
// the background though "stty tostop" forbids it. A SIGTTOU that is caught, as by [Catch],
// would have the write begun again and again; one that is blocked is not sent (signal(7),
// tty_ioctl(4)). A mask is a thread's, so the goroutine keeps its thread for good.
func WriteFromBackground() {
	runtime.LockOSThread()
	mask := maskOf(syscall.SIGTTOU)
	_ = unix.PthreadSigmask(unix.SIG_BLOCK, &mask, nil) // it fails on no mask
}

// withSignalMask runs f on a thread with another signal mask.
func withSignalMask(how int, mask unix.Sigset_t, f func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before unix.Sigset_t
	if err := unix.PthreadSigmask(how, &mask, &before); err == nil {
		defer func() { _ = unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil) }()
	}
	f()
}

// maskOf is the set of one signal (man 3 sigsetops): signal n is bit n-1.
func maskOf(sig syscall.Signal) unix.Sigset_t {
	var mask unix.Sigset_t
	mask.Val[0] = 1 << (sig - 1)
	return mask
}
