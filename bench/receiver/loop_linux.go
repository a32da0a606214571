package main

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// loop writes the time, waits for a signal of set, and so on. All of it is system calls
// that Go's scheduler knows nothing of, so that it has no part in what is measured.
//
//go:nosplit
func loop(set *unix.Sigset_t) error {
	var now unix.Timespec
	for {
		_, _, _ = syscall.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_MONOTONIC, uintptr(unsafe.Pointer(&now)), 0)
		message := now.Nano()
		if _, _, errno := syscall.RawSyscall(unix.SYS_WRITE, 1, uintptr(unsafe.Pointer(&message)), 8); errno != 0 {
			return errno
		}
		for {
			_, _, errno := syscall.RawSyscall6(unix.SYS_RT_SIGTIMEDWAIT, uintptr(unsafe.Pointer(set)), 0, 0, 8, 0, 0)
			if errno == 0 {
				break
			}
			if errno != unix.EINTR {
				return errno
			}
		}
	}
}
