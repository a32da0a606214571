package supervise

import (
	"os"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// hearBlocked brings those signals that have been blocked since we were started, as entry
// does, by a signalfd (man 2 signalfd). That way takes two thirds of the time of
// os/signal's, which wakes three threads one after the other.
func (s *Signals) hearBlocked() {
	s.rest = withAChild()
	var now, ours unix.Sigset_t
	if unix.PthreadSigmask(unix.SIG_BLOCK, nil, &now) != nil {
		return
	}
	var blocked []os.Signal
	for _, sig := range canWait() {
		if bit := maskOf(asSyscall(sig)).Val[0]; now.Val[0]&bit != 0 {
			ours.Val[0] |= bit
			blocked = append(blocked, sig)
		}
	}
	if len(blocked) == 0 {
		return
	}
	fd, err := unix.Signalfd(-1, &ours, unix.SFD_CLOEXEC|unix.SFD_NONBLOCK)
	if err != nil {
		return // os/signal unblocks what it is asked for
	}
	s.blocked = blocked
	s.rest = slices.DeleteFunc(s.rest, func(sig os.Signal) bool { return slices.Contains(blocked, sig) })
	go s.read(os.NewFile(uintptr(fd), "signalfd")) // ends with the process
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
