package supervise

import (
	"syscall"
	"time"
)

// timer names a deadline. Where it is one service's, who tells whose.
type timer struct {
	kind timerKind
	who  int
}

type timerKind int

const (
	delayOver timerKind = iota
	graceNearlyOver
	graceOver
	killOver
	turnOver // of service who to have the stop for itself
	restOver
	nudgeDue
)

// killWait is how long processes may take to vanish after SIGKILL. Only what
// sleeps uninterruptibly in the kernel takes any time at all.
const killWait = 2 * time.Second

// theStep stands for the running step where services are counted from 0.
const theStep = -1

// theCompanion stands for it in the same place.
const theCompanion = -2

// input is what can happen to a run.
type input interface{ input() }

type (
	begun   struct{}
	started struct{ who, pid int }
	failed  struct {
		who int
		err error
	}
	exited struct {
		pid    int
		status syscall.WaitStatus
		maxRSS int64
		uptime time.Duration
		oom    bool
	}
	// halted says that a child was stopped, as by Ctrl-Z, and lives on.
	halted struct {
		pid int
		sig syscall.Signal
	}
	// settled follows each batch of exits: everything dead has been reaped.
	settled   struct{ childless bool }
	signalled struct{ sig syscall.Signal }
	// hungUp says that the terminal that we were started on is gone.
	hungUp  struct{}
	expired struct{ timer timer }
	// drained says that the helpers that were told have ended, and whether there were any.
	drained struct {
		who  int
		some bool
	}
	// unguarded says that somebody has ended the guard.
	unguarded struct{}
)

func (begun) input()     {}
func (started) input()   {}
func (failed) input()    {}
func (exited) input()    {}
func (halted) input()    {}
func (settled) input()   {}
func (signalled) input() {}
func (hungUp) input()    {}
func (expired) input()   {}
func (drained) input()   {}
func (unguarded) input() {}

// order is what the shell around the machine is to do.
type order interface{ order() }

type (
	start struct {
		who     int
		command Command
	}
	send struct {
		pid   int
		sig   syscall.Signal
		group bool
	}
	// sendTree goes to every descendant that has not had this signal yet, but for the one
	// to be spared, 0 for none; told makes the event, nil none.
	sendTree struct {
		sig   syscall.Signal
		told  func(n int) Event
		spare int
	}
	// sendLeft goes to what is left of the process group of a child that has ended.
	sendLeft struct {
		group int
		sig   syscall.Signal
	}
	// drain tells helpers of main to end and feeds drained when they have.
	drain struct {
		who, main int
		service   string
		word      string
	}
	// nudge tells the children of the helpers that drain told, once more.
	nudge struct {
		main int
		word string
	}
	setTimer struct {
		timer timer
		after time.Duration
	}
	// suspend stops these children, and us, until SIGCONT; halted is one that has
	// stopped already. resume wakes them all.
	suspend struct {
		pids   []int
		halted int
		sig    syscall.Signal
	}
	resume struct{ pids []int }
	emit   struct{ event Event }
)

func (start) order()    {}
func (send) order()     {}
func (sendTree) order() {}
func (sendLeft) order() {}
func (drain) order()    {}
func (nudge) order()    {}
func (setTimer) order() {}
func (suspend) order()  {}
func (resume) order()   {}
func (emit) order()     {}
