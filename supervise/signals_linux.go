package supervise

import (
	"os"
	"os/signal"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Signals holds what has been caught and not yet been acted upon.
type Signals struct {
	// stop has a place apart, so that no burst of others can push the stop signals out:
	// os/signal drops what does not fit.
	stop chan os.Signal
	// forward has room for a burst.
	forward chan os.Signal
	// child needs one place only, since each wake-up reaps until nothing is left.
	child chan os.Signal
	// terminal: we were started on one. nohup: and are to outlive it (nohup(1)).
	terminal, nohup bool
	// rest are those that wait for a child to have them, blocked those that come by the
	// signalfd.
	rest, blocked []os.Signal
	// early is a guard that waits for [Run] to take it over.
	early guard
}

// Real-time signals as the kernel counts them; 32 to 34 are the C libraries' own
// (signal(7), Real-time signals; musl uses 34), and Go hands none of these on
// (runtime/sigtab_linux_generic.go).
const firstRealTime, lastRealTime = 35, 64

// Catch starts to catch what would end ak-init. It is the first thing that main does:
// the kernel drops signals with default action for PID 1 (pid_namespaces(7)), and Go's
// runtime ends PID 1 with code 2 on a TERM that nobody asked for. What comes before main is
// the business of entry, where the binary was linked with it. Each signal costs a round
// trip between two threads, so those that only a running child can do something with wait
// for [Run].
//
// Never caught: KILL and STOP cannot be; SEGV, BUS, FPE, ILL, ABRT, TRAP and SYS are
// faults of ak-init itself; URG is how Go's scheduler preempts; PROF and VTALRM are
// timers of a process's own.
func Catch() *Signals {
	s := &Signals{
		stop: make(chan os.Signal, 64), forward: make(chan os.Signal, 64), child: make(chan os.Signal, 1),
		nohup: signal.Ignored(syscall.SIGHUP),
	}
	for _, sig := range atOnce() {
		if isStop(asSyscall(sig)) {
			signal.Notify(s.stop, sig)
		} else {
			signal.Notify(s.forward, sig)
		}
	}
	s.terminal = haveTerminal()
	// A log reader that goes away must not end PID 1: without this, writing to a
	// closed fd 1 or 2 kills the process (os/signal, SIGPIPE).
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	return s
}

// Asked brings what ends a program that starts nothing. It is not for use beside [Run].
func (s *Signals) Asked() <-chan os.Signal {
	signal.Notify(s.stop, syscall.SIGHUP) // there is nobody to hand it on to
	return s.stop
}

// hungUp tells whether the terminal that we were started on has gone away. The kernel takes
// it from us before it sends SIGHUP to anybody (drivers/tty/tty_io.c, __tty_hangup).
func (s *Signals) hungUp() bool { return s.terminal && !haveTerminal() }

// meaning tells a SIGHUP that says so from one that somebody sends, to have it handed on.
func (s *Signals) meaning(sig syscall.Signal) input {
	switch {
	case sig != syscall.SIGHUP || !s.hungUp():
		return signalled{sig}
	case s.nohup:
		return nil
	default:
		return hungUp{}
	}
}

// catchDeaths comes before the first child. A child has every signal that is caught at its
// default; one that ak-init was started to ignore stays ignored (execve(2)) unless Go
// catches it, which it does with all but CONT, TSTP, and those that belong to the C library.
func (s *Signals) catchDeaths() {
	signal.Notify(s.child, syscall.SIGCHLD)
	signal.Notify(s.forward, syscall.SIGCONT, syscall.SIGTSTP)
	s.hearBlocked()
	for _, n := range libcsOwn() {
		var byDefault [4]uintptr // struct sigaction of the kernel: all zero is SIG_DFL
		_, _, _ = syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, n, uintptr(unsafe.Pointer(&byDefault)), 0, 8, 0, 0)
	}
}

// libcsOwn are the real-time signals that Go leaves alone; 33 it catches itself
// (runtime/sigtab_linux_generic.go).
func libcsOwn() []uintptr { return []uintptr{32, 34} }

// catchRest comes when a child is there to have them. Until then Go's runtime catches
// these and does nothing (os/signal, Default behavior of signals).
func (s *Signals) catchRest() {
	if len(s.rest) > 0 { // none would be all
		signal.Notify(s.forward, s.rest...)
	}
}

// Stopping tells whether a stop signal has come that nobody has acted upon.
func (s *Signals) Stopping() bool { return len(s.stop) > 0 }

// unblocked runs f on a thread that blocks no signal. What else is blocked would come to
// that thread meanwhile, and be dropped by Go's runtime, which nobody has asked for it: so
// os/signal is, for as long as it lasts.
func (s *Signals) unblocked(f func()) {
	if len(s.blocked) > 0 {
		meanwhile := make(chan os.Signal, cap(s.forward))
		signal.Notify(meanwhile, s.blocked...)
		defer func() {
			signal.Stop(meanwhile) // which waits for what has come to be there
			for len(meanwhile) > 0 && len(s.forward) < cap(s.forward) {
				s.forward <- <-meanwhile
			}
		}()
	}
	withSignalMask(unix.SIG_SETMASK, unix.Sigset_t{}, f)
}

func atOnce() []os.Signal {
	// The last two would stop ak-init: their default action stands until they are caught.
	return []os.Signal{
		syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP, syscall.SIGTTIN, syscall.SIGTTOU,
	}
}

// canWait are those of them that may be blocked meanwhile, as entry does.
func canWait() []os.Signal {
	return []os.Signal{
		syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH, syscall.SIGALRM, syscall.SIGIO, syscall.SIGPWR,
	}
}

func withAChild() []os.Signal {
	signals := canWait()
	for n := firstRealTime; n <= lastRealTime; n++ {
		signals = append(signals, syscall.Signal(n))
	}
	return signals
}

// Heard tells whether a signal to ak-init is acted upon or handed on. docs/signals.md
// says what becomes of each, and why.
func Heard(sig syscall.Signal) bool {
	return sig == syscall.SIGCONT || sig == syscall.SIGTSTP || slices.Contains(atOnce(), os.Signal(sig)) || slices.Contains(withAChild(), os.Signal(sig))
}
