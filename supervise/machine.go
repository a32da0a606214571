package supervise

import (
	"cmp"
	"errors"
	"io/fs"
	"syscall"
	"time"
)

// state is where a run is; doc.go draws the ways between them.
type state int

const (
	idle     state = iota
	stepping       // a step runs
	serving        // the service runs
	delaying       // stop asked for; the service goes on serving for StopDelay
	draining       // its helpers end first
	stopping       // the running child was sent TERM
	sweeping       // the running child is gone, what it left was sent TERM
	killing        // what is left was sent SIGKILL
	done
)

// timer names a deadline. Each is set at most once in a run.
type timer int

const (
	delayOver timer = iota
	graceNearlyOver
	graceOver
	killOver
)

// killWait is how long processes may take to vanish after SIGKILL. Only what
// sleeps uninterruptibly in the kernel takes any time at all.
const killWait = 2 * time.Second

// input is what can happen to a run.
type input interface{ input() }

type (
	begun   struct{}
	started struct{ pid int }
	failed  struct{ err error }
	exited  struct {
		pid    int
		status syscall.WaitStatus
		maxRSS int64
		uptime time.Duration
	}
	// settled follows each batch of exits: everything dead has been reaped.
	settled   struct{ childless bool }
	signalled struct{ sig syscall.Signal }
	expired   struct{ timer timer }
	drained   struct{}
)

func (begun) input()     {}
func (started) input()   {}
func (failed) input()    {}
func (exited) input()    {}
func (settled) input()   {}
func (signalled) input() {}
func (expired) input()   {}
func (drained) input()   {}

// order is what the shell around the machine is to do.
type order interface{ order() }

type (
	start struct{ command Command }
	send  struct {
		pid   int
		sig   syscall.Signal
		group bool
	}
	// sendTree goes to every descendant that has not had this signal yet; told
	// makes the event, nil none.
	sendTree struct {
		sig  syscall.Signal
		told func(n int) Event
	}
	// drain tells helpers of main to end and feeds drained when they have.
	drain struct {
		main int
		word string
	}
	setTimer struct {
		timer timer
		after time.Duration
	}
	emit struct{ event Event }
)

func (start) order()    {}
func (send) order()     {}
func (sendTree) order() {}
func (drain) order()    {}
func (setTimer) order() {}
func (emit) order()     {}

// machine is the pure core of a run: inputs go in, orders come out. It reads no
// clock and touches no process.
type machine struct {
	spec  Spec
	state state
	// step is the index of the running step; len(spec.Steps) is the service.
	step int
	// pid is the running child, 0 for none.
	pid int
	// code is the exit code when done.
	code int
	// asked is the first stop signal, 0 for none; stopWith is what the child gets for it.
	asked, stopWith syscall.Signal
	// graceSet says that graceOver runs; swept that what was left has been told.
	graceSet, swept bool
}

// feed takes one input in and gives the orders that follow from it.
func (m *machine) feed(in input) []order {
	switch in := in.(type) {
	case begun:
		if m.state != idle {
			return nil // stopped before it began
		}
		return m.startNext()
	case started:
		m.pid = in.pid
		return []order{emit{Started{m.command(), in.pid, m.inStep()}}}
	case failed:
		m.code = startFailure(in.err)
		return append([]order{emit{StartFailed{m.command(), in.err}}}, m.next()...)
	case exited:
		return m.exited(in)
	case settled:
		return m.settled(in.childless)
	case signalled:
		return m.signalled(in.sig)
	case expired:
		return m.expired(in.timer)
	case drained:
		if m.state == draining {
			return m.term()
		}
	}
	return nil
}

// command is what runs now, or what was to run.
func (m *machine) command() Command {
	if m.inStep() {
		return m.spec.Steps[m.step].Command
	}
	return m.spec.Service.Command
}

func (m *machine) startNext() []order {
	m.state = serving
	if m.inStep() {
		m.state = stepping
	}
	return []order{start{m.command()}}
}

func (m *machine) exited(in exited) []order {
	if in.pid != m.pid {
		return []order{emit{OrphanReaped{in.pid, in.status}}}
	}
	m.pid = 0
	m.code = ExitCode(in.status)
	orders := []order{emit{Exited{
		Command: m.command(), PID: in.pid, Status: in.status, Uptime: in.uptime, MaxRSS: in.maxRSS,
		Asked: m.asked != 0, Step: m.inStep(),
	}}}
	if m.state == killing {
		return orders
	}
	return append(orders, m.next()...)
}

// next is what comes when the running child is gone: what follows a step that went well
// or need not, else the end.
func (m *machine) next() []order {
	if m.state == stepping && (m.code == 0 || m.spec.Steps[m.step].Optional) {
		m.step++
		return m.startNext()
	}
	return m.sweep()
}

// inStep tells a step from the service.
func (m *machine) inStep() bool { return m.step < len(m.spec.Steps) }

// sweep ends what the main child left behind, within the grace period. Whether there is
// anything is known once all the dead are reaped: settled says so.
func (m *machine) sweep() []order {
	m.state = sweeping
	if m.graceSet {
		return nil
	}
	m.graceSet = true
	return []order{setTimer{graceOver, m.spec.Grace}}
}

func (m *machine) settled(childless bool) []order {
	switch {
	case m.state != sweeping && m.state != killing:
		return nil
	case childless:
		m.state = done
		return nil
	case m.state == sweeping && !m.swept:
		m.swept = true
		return []order{sendTree{syscall.SIGTERM, func(n int) Event { return Swept{n} }}}
	case m.state == sweeping:
		return []order{sendTree{syscall.SIGTERM, nil}} // forked since the last look
	default:
		return []order{sendTree{syscall.SIGKILL, nil}}
	}
}

func (m *machine) signalled(sig syscall.Signal) []order {
	sent, rewritten := m.spec.Rewrite[sig]
	switch {
	case rewritten && sent == 0:
		return nil
	case isStop(sig) || isStop(sent):
		return m.stopSignalled(sig, cmp.Or(sent, syscall.SIGTERM))
	case m.pid == 0:
		return nil
	}
	sent = cmp.Or(sent, sig)
	return []order{m.toChild(sent), emit{Forwarded{sig, sent, m.pid}}}
}

func (m *machine) toChild(sig syscall.Signal) order { return send{m.pid, sig, m.spec.Group} }

func (m *machine) stopSignalled(sig, stopWith syscall.Signal) []order {
	if m.asked != 0 {
		return m.kill("second stop signal")
	}
	m.asked, m.stopWith = sig, stopWith
	begun := emit{StopBegun{sig, m.spec.Grace, m.spec.StopDelay}}
	switch m.state {
	case idle:
		m.state, m.code = done, 128+int(sig)
		return []order{begun}
	case stepping, serving:
		return append([]order{begun}, m.stop()...)
	default: // sweeping on our own account already: the grace period runs
		return []order{begun}
	}
}

// stop begins the stop sequence.
func (m *machine) stop() []order {
	m.graceSet = true
	orders := []order{
		setTimer{graceNearlyOver, m.spec.Grace * 4 / 5},
		setTimer{graceOver, m.spec.Grace},
	}
	switch {
	case m.state == stepping:
		return append(orders, m.term()...)
	case m.spec.StopDelay > 0:
		m.state = delaying
		return append(orders, setTimer{delayOver, m.spec.StopDelay})
	default:
		return append(orders, m.drain()...)
	}
}

func (m *machine) drain() []order {
	if m.spec.Service.Drain == "" {
		return m.term()
	}
	m.state = draining
	return []order{drain{m.pid, m.spec.Service.Drain}}
}

func (m *machine) term() []order {
	m.state = stopping
	return []order{m.toChild(m.stopWith), emit{StopSent{m.pid, m.stopWith}}}
}

func (m *machine) expired(t timer) []order {
	switch {
	case t == delayOver && m.state == delaying:
		return m.drain()
	case t == graceNearlyOver && m.pid != 0 && m.state < sweeping:
		m.state = stopping
		return []order{sendTree{syscall.SIGTERM, func(n int) Event { return GraceNearlyOver{n} }}}
	case t == graceOver && m.state < killing:
		return m.kill("grace period over")
	case t == killOver && m.state == killing:
		m.state = done
		if m.pid != 0 {
			m.code = 128 + int(syscall.SIGKILL)
		}
		return []order{emit{GaveUp{}}}
	default:
		return nil // what it was set for has come about already
	}
}

func (m *machine) kill(why string) []order {
	if m.state == killing || m.state == done {
		return nil
	}
	m.state = killing
	return []order{
		sendTree{syscall.SIGKILL, func(n int) Event { return Killed{why, n} }},
		setTimer{killOver, killWait},
	}
}

// isStop tells the signals that start the stop sequence from those that are
// handed on.
func isStop(sig syscall.Signal) bool {
	return sig == syscall.SIGTERM || sig == syscall.SIGINT || sig == syscall.SIGQUIT
}

// startFailure is the exit code of a command that could not be started, as a
// shell gives it (POSIX, Shell Command Language 2.8.2): 127 not found, 126 not
// executable.
func startFailure(err error) int {
	if errors.Is(err, fs.ErrNotExist) {
		return 127
	}
	return 126
}
