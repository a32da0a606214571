package supervise

import (
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// hearBlocked brings those of these signals that have been blocked since we were started,
// as entry does, by a signalfd (man 2 signalfd), and gives the others. That way is twice
// as quick as os/signal's, which wakes three threads one after the other, it costs one
// system call for all of them instead of two threads' round trip for each, and it keeps
// the kernel's queue: of real-time signals none is lost.
func (s *Signals) hearBlocked(signals []os.Signal) (others []os.Signal) {
	var blocked, ours unix.Sigset_t
	if unix.PthreadSigmask(unix.SIG_BLOCK, nil, &blocked) != nil {
		return signals
	}
	for _, sig := range signals {
		bit := maskOf(asSyscall(sig)).Val[0]
		if blocked.Val[0]&bit == 0 {
			others = append(others, sig)
			continue
		}
		ours.Val[0] |= bit
	}
	if ours.Val[0] == 0 {
		return others
	}
	fd, err := unix.Signalfd(-1, &ours, unix.SFD_CLOEXEC|unix.SFD_NONBLOCK)
	if err != nil {
		return signals // os/signal unblocks what it is asked for
	}
	go s.read(os.NewFile(uintptr(fd), "signalfd")) // ends with the process
	return others
}

// read hands on what the descriptor brings, and waits where there is no room: nothing is
// dropped, it stays in the kernel.
func (s *Signals) read(signals *os.File) {
	var info unix.SignalfdSiginfo
	for {
		if _, err := signals.Read((*[unsafe.Sizeof(info)]byte)(unsafe.Pointer(&info))[:]); err != nil {
			return
		}
		s.forward <- syscall.Signal(info.Signo)
	}
}
