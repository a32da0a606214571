package supervise

import (
	"math/rand/v2"
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
	// reap takes one dead child, if there is one, or one that has been stopped: an
	// exited or a halted. childless is true when there is no child at all, dead or
	// alive, and so no descendant either.
	reap() (in input, childless bool)
	// send signals a child that has not been reaped, or its process group.
	send(pid int, sig syscall.Signal, group bool)
	// sendTree signals every descendant that has not had this signal, but for the pid to be
	// spared, and gives how many that were.
	sendTree(sig syscall.Signal, spare int) int
	// sendLeft signals what is left of a process group of ours.
	sendLeft(group int, sig syscall.Signal)
	// drain sends TERM to the helpers of main whose command line holds word, and which have
	// not had it, and calls over, once, when all of them have ended. It gives their pids.
	drain(main int, word string, over func(some bool)) []int
	// nudge sends TERM to the children of the helpers that drain has told.
	nudge(main int, word string)
	// suspend stops the groups of these children and then this process, and says
	// whether it did: where nobody could wake us again it does not, and wakes the one
	// that has halted.
	suspend(pids []int, halted int, sig syscall.Signal) bool
	// resume wakes the groups of these children and gives the terminal back to the one
	// that had it.
	resume(pids []int)
	// guardAlone tells whether the guard is all that is left, as far as can be seen.
	guardAlone() bool
	// unguard ends the guard, if there is one.
	unguard()
}

// Run starts what spec says, forwards the signals that caught brings, and comes
// back when nothing that it started, and nothing that was re-parented to it, is
// left. It gives the exit code that ak-init is to end with. event is called for
// each thing that happens, in order, on Run's goroutine: it must not block.
func Run(spec Spec, caught *Signals, event func(Event)) int {
	caught.catchDeaths()
	k, err := newSystem(spec, caught)
	if err != nil {
		event(Unguarded{err})
	}
	return run(spec, k, caught, event)
}

func run(spec Spec, k kernel, caught *Signals, event func(Event)) int {
	r := &runner{
		machine: newMachine(spec, rand.Float64),
		kernel:  k,
		event:   event,
		// A place for each timer, the companion's among them, each drain and a late hang-up that
		// can be under way: nobody ever waits to post.
		posted: make(chan input, int(killOver)+3+4*len(spec.Services)),
	}
	// A signal that came before this line is heard before anything is started.
	for len(caught.stop) > 0 {
		r.feed(signalled{asSyscall(<-caught.stop)})
	}
	for len(caught.forward) > 0 {
		r.hear(caught, <-caught.forward)
	}
	r.feed(begun{})
	for r.machine.state != done {
		select {
		case <-caught.child:
			r.reap()
		case sig := <-caught.stop:
			r.feed(signalled{asSyscall(sig)})
		case sig := <-caught.forward:
			r.hear(caught, sig)
		case in := <-r.posted:
			r.feed(in)
		}
	}
	for _, t := range r.timers {
		t.Stop()
	}
	if r.lateHangUp != nil {
		r.lateHangUp.Stop()
	}
	k.unguard() // where something outlives us after all, nobody is to be after it
	return r.machine.code
}

// runner carries the machine's orders out.
type runner struct {
	machine machine
	kernel  kernel
	event   func(Event)
	posted  chan input
	// timers are those that run, or have run.
	timers map[timer]*time.Timer
	// lateHangUp looks at the terminal once more after a SIGHUP.
	lateHangUp *time.Timer
}

// hangUpWait is how long after a SIGHUP the terminal may hang up for the two to be one: a
// shell that ends tells its jobs first (bash(1), huponexit; zsh always does).
const hangUpWait = time.Second

// hear takes one signal in.
func (r *runner) hear(caught *Signals, from os.Signal) {
	sig := asSyscall(from)
	r.feed(caught.meaning(sig))
	if sig != syscall.SIGHUP || !caught.terminal {
		return
	}
	if r.lateHangUp != nil {
		r.lateHangUp.Stop() // one look is enough
	}
	r.lateHangUp = time.AfterFunc(hangUpWait, func() {
		if caught.hungUp() {
			r.posted <- caught.meaning(syscall.SIGHUP)
		}
	})
}

// feed gives the machine one input and carries out what follows. When the end is
// near it looks at once whether anybody is left: the last child may be gone
// already, and then no SIGCHLD comes.
func (r *runner) feed(in input) {
	for _, o := range r.machine.feed(in) {
		r.carryOut(o)
	}
	switch in.(type) {
	case settled, exited, halted:
		return // reap, from where these come, goes on by itself
	}
	if r.ending() {
		r.reap()
	}
}

// ending tells whether all that is left is to be ended.
func (r *runner) ending() bool { return r.machine.state == sweeping || r.machine.state == killing }

// reap takes every dead child. One SIGCHLD may stand for many deaths (signal(7),
// standard signals do not queue).
func (r *runner) reap() {
	for {
		in, childless := r.kernel.reap()
		switch {
		case in != nil:
			r.feed(in)
		case r.ending() && !childless && r.kernel.guardAlone():
			r.kernel.unguard()
		default:
			r.feed(settled{childless})
			return
		}
	}
}

//nolint:cyclop // a table: one flat case a kind of order
func (r *runner) carryOut(o order) {
	switch o := o.(type) {
	case start:
		pid, err := r.kernel.start(o.command)
		if err != nil {
			r.feed(failed{o.who, err})
			return
		}
		r.feed(started{o.who, pid})
	case send:
		r.kernel.send(o.pid, o.sig, o.group)
	case sendTree:
		n := r.kernel.sendTree(o.sig, o.spare)
		if o.told != nil {
			r.event(o.told(n))
		}
	case sendLeft:
		r.kernel.sendLeft(o.group, o.sig)
	case drain:
		pids := r.kernel.drain(o.main, o.word, func(some bool) { r.posted <- drained{o.who, some} })
		if len(pids) > 0 {
			r.event(Draining{o.service, pids})
		}
	case nudge:
		r.kernel.nudge(o.main, o.word)
	case setTimer:
		r.setTimer(o.timer, o.after)
	case suspend:
		if r.kernel.suspend(o.pids, o.halted, o.sig) {
			r.event(Suspended{o.sig})
		}
	case resume:
		r.kernel.resume(o.pids)
	case emit:
		r.event(o.event)
	}
}

func (r *runner) setTimer(t timer, after time.Duration) {
	if r.timers == nil {
		r.timers = map[timer]*time.Timer{}
	}
	r.timers[t] = time.AfterFunc(after, func() { r.posted <- expired{t} })
}

func asSyscall(sig os.Signal) syscall.Signal {
	s, _ := sig.(syscall.Signal) // every os.Signal on Linux is one
	return s
}
