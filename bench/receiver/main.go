// Command receiver takes SIGUSR1 and writes the moment of each to stdout, as 8 bytes. It
// begins with one that says that it is ready.
//
// It takes the signal as a C program would, in sigtimedwait, and not through Go's runtime,
// which would add more to each than there is to measure.
package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

func main() {
	if err := receive(); err != nil {
		fmt.Fprintln(os.Stderr, "receiver:", err)
		os.Exit(1)
	}
}

func receive() error {
	runtime.LockOSThread()
	var set, before unix.Sigset_t
	set.Val[0] = 1 << (unix.SIGUSR1 - 1)
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &set, &before); err != nil {
		return err
	}
	if before.Val[0]&set.Val[0] == 0 {
		// A thread of Go's runtime that does not block the signal would take it. All have
		// the mask that the process was started with, so it starts again. Without the
		// setting, the runtime would interrupt the wait a hundred times a second.
		return unix.Exec("/proc/self/exe", os.Args, append(os.Environ(), "GODEBUG=asyncpreemptoff=1"))
	}
	debug.SetGCPercent(-1) // it would wait for a loop that never stops
	return loop(&set)
}
