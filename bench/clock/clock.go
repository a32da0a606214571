// Package clock reads the kernel's clocks, so that processes can compare what they read.
package clock

import (
	"time"

	"golang.org/x/sys/unix"
)

// Now is the time since some fixed moment, the same for all processes of a machine.
func Now() time.Duration { return read(unix.CLOCK_MONOTONIC) }

// CPU is the processor time that the calling process has had.
func CPU() time.Duration { return read(unix.CLOCK_PROCESS_CPUTIME_ID) }

func read(id int32) time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(id, &t) // it fails for no clock that every kernel has
	return time.Duration(t.Nano())
}
