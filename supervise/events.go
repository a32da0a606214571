package supervise

import (
	"syscall"
	"time"
)

// Event is something that happened. Each is one of the types below.
type Event interface{ event() }

type (
	// Started says that a step or a service runs, or what stands beside them.
	Started struct {
		Command Command
		PID     int
		// Step is false for a service.
		Step bool
		// Aside is true for what nobody waits for: the companion, and a step beside.
		Aside bool
	}
	// StartFailed says that the kernel refused to start a command.
	StartFailed struct {
		Command Command
		Err     error
	}
	// Exited says that a step or a service ended.
	Exited struct {
		Command Command
		PID     int
		Status  syscall.WaitStatus
		// Code is what the end counts as.
		Code   int
		Uptime time.Duration
		// MaxRSS is the peak resident set in KiB (man 2 getrusage).
		MaxRSS int64
		// OutOfMemory: it died of SIGKILL, and the kernel killed for want of memory in our
		// cgroup while it ran.
		OutOfMemory bool
		// Asked is true when a stop was under way.
		Asked bool
		// Step is false for a service.
		Step bool
		// Aside is that of [Started].
		Aside bool
	}
	// RestartScheduled says that a service, or the companion, will be started again after a
	// delay.
	RestartScheduled struct {
		Command Command
		After   time.Duration
		// Quick is how many times in a row it has ended soon after its start, Limit how
		// many are too many.
		Quick, Limit int
		// Aside is that of [Started].
		Aside bool
	}
	// RestartsExhausted says that a service ended too often too soon, and is given up.
	RestartsExhausted struct {
		Command Command
		Quick   int
	}
	// OrphanReaped says that a process that somebody else started, and that was
	// re-parented to us, ended.
	OrphanReaped struct {
		PID    int
		Status syscall.WaitStatus
	}
	// Forwarded says that a signal was handed to the main child, as Sent.
	Forwarded struct {
		Signal, Sent syscall.Signal
		PID          int
	}
	// Unheard says that a signal came while no main child was there to have it.
	Unheard struct{ Signal syscall.Signal }
	// StopBegun says that the stop sequence runs: a stop signal came, or, where Signal is
	// 0, a service has ended.
	StopBegun struct {
		Signal           syscall.Signal
		Ended            string
		Grace, StopDelay time.Duration
	}
	// Draining says that these helpers were told to end first.
	Draining struct {
		Service string
		PIDs    []int
	}
	// StopSent says that a child was told to end.
	StopSent struct {
		Name   string
		PID    int
		Signal syscall.Signal
	}
	// GraceNearlyOver says that the whole tree was told to end.
	GraceNearlyOver struct{ Told int }
	// Swept says that the services are gone and the rest was told to end.
	Swept struct{ Told int }
	// Killed says that what was left got SIGKILL, and why.
	Killed struct {
		Why  string
		Told int
	}
	// GaveUp says that processes outlived SIGKILL, such as those in
	// uninterruptible sleep.
	GaveUp struct{}
	// Suspended says that the job was stopped, as by Ctrl-Z.
	Suspended struct{ Signal syscall.Signal }
	// Unguarded says that nobody will end our children should we be killed.
	Unguarded struct{ Err error }
)

// IsAside tells what happens to the companion, and to steps that run beside, from what happens
// to services and other steps: it has no consequence.
func IsAside(e Event) bool {
	switch e := e.(type) {
	case Started:
		return e.Aside
	case Exited:
		return e.Aside
	case RestartScheduled:
		return e.Aside
	default:
		return false
	}
}

func (Started) event()           {}
func (StartFailed) event()       {}
func (Exited) event()            {}
func (RestartScheduled) event()  {}
func (RestartsExhausted) event() {}
func (OrphanReaped) event()      {}
func (Forwarded) event()         {}
func (Unheard) event()           {}
func (StopBegun) event()         {}
func (Draining) event()          {}
func (StopSent) event()          {}
func (GraceNearlyOver) event()   {}
func (Swept) event()             {}
func (Killed) event()            {}
func (GaveUp) event()            {}
func (Suspended) event()         {}
func (Unguarded) event()         {}
