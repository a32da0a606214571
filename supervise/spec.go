package supervise

import (
	"syscall"
	"time"
)

// Spec is what one run of ak-init does: the steps one after another, then the
// service, until it ends or is told to.
type Spec struct {
	Steps   []Step
	Service Service
	// Grace is the time from the first stop signal to SIGKILL.
	Grace time.Duration
	// StopDelay is how long the service goes on serving after the first stop
	// signal, so that load balancers can turn away from it. It is part of Grace.
	StopDelay time.Duration
	// Group sends what is meant for the running child to its whole process group.
	Group bool
	// Rewrite says what the running child gets in the place of a signal; 0 drops it. A
	// stop signal that is rewritten still starts the stop, unless it is dropped, and so
	// does one that is rewritten to a stop signal.
	Rewrite map[syscall.Signal]syscall.Signal
}

// Command is one process, fully resolved: nothing is looked up any more.
type Command struct {
	// Name is what the log calls it, such as "server".
	Name string
	// Path is the program's absolute path; Argv[0] may differ from it.
	Path string
	Argv []string
	Env  []string
	Dir  string
	// Identity is who it runs as; nil leaves it as ak-init is.
	Identity *Identity
}

// Identity is a numeric user: no name is needed (OpenShift gives uids none).
type Identity struct {
	UID    uint32
	GID    uint32
	Groups []uint32
}

// Step is a child that runs to its end before the service starts.
type Step struct {
	Command
	// Optional means that its failure, to start even, does not keep the service from
	// starting.
	Optional bool
}

// Service is the long-running main child.
type Service struct {
	Command
	// Drain names helpers that must end before the service is told to stop: its
	// direct children, and processes re-parented to us, whose command line holds
	// this word. Empty: none.
	Drain string
}

// Event is something that happened. Each is one of the types below.
type Event interface{ event() }

type (
	// Started says that a step or the service runs.
	Started struct {
		Command Command
		PID     int
		// Step is false for the service.
		Step bool
	}
	// StartFailed says that the kernel refused to start a command.
	StartFailed struct {
		Command Command
		Err     error
	}
	// Exited says that a step or the service ended.
	Exited struct {
		Command Command
		PID     int
		Status  syscall.WaitStatus
		Uptime  time.Duration
		// MaxRSS is the peak resident set in KiB (man 2 getrusage).
		MaxRSS int64
		// Asked is true when a stop signal came before.
		Asked bool
		// Step is false for the service.
		Step bool
	}
	// OrphanReaped says that a process that somebody else started, and that was
	// re-parented to us, ended.
	OrphanReaped struct {
		PID    int
		Status syscall.WaitStatus
	}
	// Forwarded says that a signal was handed to the running child, as Sent.
	Forwarded struct {
		Signal, Sent syscall.Signal
		PID          int
	}
	// StopBegun says that a stop signal came and the stop sequence runs.
	StopBegun struct {
		Signal           syscall.Signal
		Grace, StopDelay time.Duration
	}
	// Draining says that these helpers were told to end first.
	Draining struct{ PIDs []int }
	// StopSent says that the running child was told to end.
	StopSent struct {
		PID    int
		Signal syscall.Signal
	}
	// GraceNearlyOver says that the whole tree was told to end.
	GraceNearlyOver struct{ Told int }
	// Swept says that the main child is gone and the rest was told to end.
	Swept struct{ Told int }
	// Killed says that what was left got SIGKILL, and why.
	Killed struct {
		Why  string
		Told int
	}
	// GaveUp says that processes outlived SIGKILL, such as those in
	// uninterruptible sleep.
	GaveUp struct{}
)

func (Started) event()         {}
func (StartFailed) event()     {}
func (Exited) event()          {}
func (OrphanReaped) event()    {}
func (Forwarded) event()       {}
func (StopBegun) event()       {}
func (Draining) event()        {}
func (StopSent) event()        {}
func (GraceNearlyOver) event() {}
func (Swept) event()           {}
func (Killed) event()          {}
func (GaveUp) event()          {}

// ExitCode is a wait status as a shell gives it: the exit code, or 128+n when
// signal n ended the process.
func ExitCode(ws syscall.WaitStatus) int {
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}
