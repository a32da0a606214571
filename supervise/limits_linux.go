package supervise

import "syscall"

// OpenFiles gives the soft and the hard limit of descriptors that this process was started
// with (getrlimit(2), RLIMIT_NOFILE). Go raises the soft one before main runs; in a build
// without the tag quiet what it was is not known where it was raised, and soft is 0.
func OpenFiles() (soft, hard uint64) {
	var now syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &now); err != nil {
		return 0, 0
	}
	return softLimit(now.Cur), now.Max
}

// raiseOpenFiles sets the soft limit that children inherit; 0 leaves it.
func raiseOpenFiles(soft uint64) {
	var now syscall.Rlimit
	if soft == 0 || syscall.Getrlimit(syscall.RLIMIT_NOFILE, &now) != nil {
		return
	}
	now.Cur = min(soft, now.Max)
	// By this call, other than by prlimit, children keep it (syscall/rlimit.go).
	_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &now) // at most the hard one: it may be had
}
