package supervise

import (
	"os"
	"syscall"
	"time"
)

// kernel is what a run asks of the operating system. All its methods are called
// from the one goroutine of [Run]; only the function that drain was given is
// called from elsewhere.
type kernel interface {
	// start starts a command and gives its pid.
	start(Command) (int, error)
	// reap takes one dead child, if there is one. childless is true when there is
	// no child at all, dead or alive, and so no descendant either.
	reap() (exit exited, ok, childless bool)
	// send signals a child that has not been reaped, or its process group.
	send(pid int, sig syscall.Signal, group bool)
	// sendTree signals every descendant that has not had this signal, and gives
	// how many that were.
	sendTree(sig syscall.Signal) int
	// drain sends TERM to the helpers of main whose command line holds word and
	// calls over, once, when all of them have ended. It gives their pids.
	drain(main int, word string, over func()) []int
}

// Run starts what spec says, forwards the signals that caught brings, and comes
// back when nothing that it started, and nothing that was re-parented to it, is
// left. It gives the exit code that ak-init is to end with. event is called for
// each thing that happens, in order, on Run's goroutine: it must not block.
func Run(spec Spec, caught *Signals, event func(Event)) int {
	caught.catchDeaths()
	return run(spec, newSystem(caught), caught, event)
}

func run(spec Spec, k kernel, caught *Signals, event func(Event)) int {
	r := &runner{
		machine: machine{spec: spec},
		kernel:  k,
		event:   event,
		// One place for each timer and for the one drain: nobody ever waits to post.
		posted: make(chan input, int(killOver)+2),
	}
	// A signal that came before this line is heard before anything is started.
	for len(caught.forward) > 0 {
		r.feed(signalled{asSyscall(<-caught.forward)})
	}
	r.feed(begun{})
	for r.machine.state != done {
		select {
		case <-caught.child:
			r.reap()
		case sig := <-caught.forward:
			r.feed(signalled{asSyscall(sig)})
		case in := <-r.posted:
			r.feed(in)
		}
	}
	for _, t := range r.timers {
		t.Stop()
	}
	return r.machine.code
}

// runner carries the machine's orders out.
type runner struct {
	machine machine
	kernel  kernel
	event   func(Event)
	posted  chan input
	timers  []*time.Timer
}

// feed gives the machine one input and carries out what follows. When the end is
// near it looks at once whether anybody is left: the last child may be gone
// already, and then no SIGCHLD comes.
func (r *runner) feed(in input) {
	for _, o := range r.machine.feed(in) {
		r.carryOut(o)
	}
	_, isSettled := in.(settled)
	_, isExited := in.(exited)
	if ending := r.machine.state == sweeping || r.machine.state == killing; ending && !isSettled && !isExited {
		r.reap()
	}
}

// reap takes every dead child. One SIGCHLD may stand for many deaths (signal(7),
// standard signals do not queue).
func (r *runner) reap() {
	for {
		exit, ok, childless := r.kernel.reap()
		if !ok {
			r.feed(settled{childless})
			return
		}
		r.feed(exit)
	}
}

func (r *runner) carryOut(o order) {
	switch o := o.(type) {
	case start:
		pid, err := r.kernel.start(o.command)
		if err != nil {
			r.feed(failed{err})
			return
		}
		r.feed(started{pid})
	case send:
		r.kernel.send(o.pid, o.sig, o.group)
	case sendTree:
		n := r.kernel.sendTree(o.sig)
		if o.told != nil {
			r.event(o.told(n))
		}
	case drain:
		pids := r.kernel.drain(o.main, o.word, func() { r.posted <- drained{} })
		if len(pids) > 0 {
			r.event(Draining{pids})
		}
	case setTimer:
		r.timers = append(r.timers, time.AfterFunc(o.after, func() { r.posted <- expired{o.timer} }))
	case emit:
		r.event(o.event)
	}
}

func asSyscall(sig os.Signal) syscall.Signal {
	s, _ := sig.(syscall.Signal) // every os.Signal on Linux is one
	return s
}
