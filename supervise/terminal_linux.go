package supervise

import (
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// terminal is the controlling terminal on stdin, and who of our children has it.
type terminal struct {
	// owner is the process group that we gave it to, 0 for none.
	owner int
}

// stdin is the terminal's descriptor, in us and in our children.
const stdin = 0

// ours tells whether stdin is our controlling terminal and we are in its foreground: only
// then may it be given away (tcsetpgrp(3)).
func (t *terminal) ours() bool {
	group, err := unix.IoctlGetInt(stdin, unix.TIOCGPGRP)
	return err == nil && group == syscall.Getpgrp()
}

// give makes a process group the terminal's foreground. SIGTTOU is blocked meanwhile: in
// the background it would be sent to us, and the call begun again and again
// (tcsetpgrp(3)).
func (t *terminal) give(group int) {
	withSignalMask(unix.SIG_BLOCK, maskOf(syscall.SIGTTOU), func() {
		_ = unix.IoctlSetPointerInt(stdin, unix.TIOCSPGRP, group) // a terminal that has gone away needs no owner
	})
}

// takeBack makes us the foreground again when the child that had it has ended, or has
// been stopped, unless somebody else, such as a shell, has taken it.
func (t *terminal) takeBack() {
	if group, err := unix.IoctlGetInt(stdin, unix.TIOCGPGRP); err == nil && group == t.owner {
		t.give(syscall.Getpgrp())
	}
}

// wakeable tells whether somebody would continue us if we stopped: our parent must be in
// our session and in another process group, or else our group is an orphaned one
// (setpgid(2)), whose members the kernel does not let stop at the terminal either.
func wakeable(self int) bool {
	parent := os.Getppid()
	if self == 1 || parent == 0 { // 0: it is in another PID namespace
		return false
	}
	ours, err := unix.Getsid(0)
	theirs, err2 := unix.Getsid(parent)
	group, err3 := unix.Getpgid(parent)
	return err == nil && err2 == nil && err3 == nil && ours == theirs && group != syscall.Getpgrp()
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
