package supervise

import (
	"cmp"
	"syscall"
	"time"
)

func (m *machine) stopSignalled(sig, stopWith syscall.Signal) []order {
	if m.asked != 0 {
		return m.kill("second stop signal")
	}
	m.asked, m.stopWith = sig, stopWith
	begun := emit{StopBegun{Signal: sig, Grace: m.spec.Grace, StopDelay: m.spec.StopDelay}}
	if m.state > serving { // ending on our own account already: the grace period runs, and no delay is left
		return []order{emit{StopBegun{Signal: sig, Grace: m.spec.Grace}}}
	}
	switch m.state {
	case idle:
		m.state, m.code = done, 128+int(sig)
		return []order{begun}
	default:
		return append([]order{begun}, m.stop(m.spec.StopDelay)...)
	}
}

// stop begins the stop sequence.
func (m *machine) stop(delay time.Duration) []order {
	m.graceSet = true
	for i := range m.services { // who rests stays down, and nobody waits for it
		if s := &m.services[m.whose(i)]; s.life == resting {
			s.life = gone
			m.code = cmp.Or(m.code, s.code)
		}
	}
	orders := append(m.tellAsides(),
		setTimer{timer{kind: graceNearlyOver}, m.nearlyOver()},
		setTimer{timer{kind: graceOver}, m.spec.Grace},
	)
	switch {
	case m.state == stepping:
		m.state = stopping
		return append(orders, m.termStep()...)
	case delay > 0 && len(m.running()) > 0:
		m.state = delaying
		return append(orders, setTimer{timer{kind: delayOver}, delay})
	default:
		return append(orders, m.takeTurns(0)...)
	}
}

// nearlyOver is when the whole tree is told, so that it can put its work away before
// SIGKILL takes it.
func (m *machine) nearlyOver() time.Duration { return m.spec.Grace * 4 / 5 }

// takeTurns stops one service after another, the last started first. Each begins its
// stop when the one before has ended, at the latest when that one's share of what is
// left of the grace period is over, so that all have some of it.
func (m *machine) takeTurns(passed time.Duration) []order {
	m.state = stopping
	orders := m.nextTurn()
	n := len(m.services)
	for i := m.turn; i < n; i++ {
		left := max(0, m.nearlyOver()-passed)
		orders = append(orders, setTimer{timer{turnOver, m.whose(i - 1)}, left * time.Duration(i) / time.Duration(n)})
	}
	return orders
}

// whose gives the service whose turn it is.
func (m *machine) whose(turn int) int { return len(m.services) - 1 - turn }

// nextTurn begins the stop of the next service that runs.
func (m *machine) nextTurn() []order {
	for m.turn < len(m.services) {
		s := &m.services[m.whose(m.turn)]
		m.turn++
		if s.life == up {
			return m.quit(s)
		}
		s.life = gone
	}
	if len(m.running()) == 0 {
		return m.sweep() // they were all at rest
	}
	return nil
}

// quit begins the stop of one service: its helpers first.
func (m *machine) quit(s *service) []order {
	if s.Drain == "" {
		return m.term(s)
	}
	s.life = draining
	who := m.whose(m.turn - 1)
	return []order{drain{who, s.pid, s.Name, s.Drain}, setTimer{timer{nudgeDue, who}, firstNudge}}
}

// firstNudge is when helpers that drain have their children told to end once more, and
// then after twice the time each. gunicorn sends TERM to its workers once, and one that it
// has forked just before takes that for the master's and loses it: without a second one
// the stop would take gunicorn's 30 s (gunicorn 25.0.3, arbiter.py, stop and spawn_worker;
// seen in 1 of 22 stops behind a start). To those who have heard it another TERM says
// nothing new (uvicorn 0.40.0, server.py, handle_exit).
const firstNudge = time.Second

func (m *machine) nudge(who int) []order {
	s := &m.services[who]
	if s.life != draining || m.state != stopping {
		return nil
	}
	s.nudges++
	return []order{nudge{s.pid, s.Drain}, setTimer{timer{nudgeDue, who}, firstNudge << s.nudges}}
}

// drained looks again where there were helpers: the successor of one that was ending is
// found once that one has ended and it has been re-parented to us, as gunicorn's new master
// after USR2 is.
func (m *machine) drained(in drained) []order {
	s := &m.services[in.who]
	switch {
	case s.life != draining || m.state != stopping:
		return nil
	case in.some:
		return []order{drain{in.who, s.pid, s.Name, s.Drain}}
	default:
		return m.term(s)
	}
}

func (m *machine) term(s *service) []order {
	s.life = told
	sig := m.stopSignal()
	return []order{send{s.pid, sig, m.spec.Group}, emit{StopSent{s.Name, s.pid, sig}}}
}

func (m *machine) termStep() []order {
	sig := m.stopSignal()
	return []order{send{m.stepPID, sig, m.spec.Group}, emit{StopSent{m.spec.Steps[m.step].Name, m.stepPID, sig}}}
}

// stopSignal is what children are told to end with.
func (m *machine) stopSignal() syscall.Signal {
	if m.stopWith != 0 {
		return m.stopWith
	}
	if sig := m.spec.Rewrite[syscall.SIGTERM]; sig != 0 {
		return sig
	}
	return syscall.SIGTERM
}

// expired is a deadline that has come. What it was set for may have come about already.
func (m *machine) expired(t timer) []order {
	switch t.kind {
	case restOver:
		return m.again(t.who)
	case nudgeDue:
		return m.nudge(t.who)
	case delayOver:
		if m.state == delaying {
			return m.takeTurns(m.spec.StopDelay)
		}
	case turnOver:
		if m.state == stopping && m.turn > 0 && m.whose(m.turn-1) == t.who {
			return m.nextTurn()
		}
	case graceNearlyOver:
		return m.graceNearlyOver()
	case graceOver:
		return m.kill("grace period over")
	case killOver:
		return m.giveUp()
	}
	return nil
}

func (m *machine) graceNearlyOver() []order {
	if m.state >= sweeping || m.whole() {
		return nil
	}
	m.state, m.turn = stopping, len(m.services)
	for i := range m.services {
		if s := &m.services[i]; s.pid != 0 {
			s.life = told
		}
	}
	return []order{sendTree{syscall.SIGTERM, func(n int) Event { return GraceNearlyOver{n} }, m.companion.pid}}
}

func (m *machine) giveUp() []order {
	if m.state != killing {
		return nil
	}
	m.state = done
	if m.code == 0 && len(m.running()) > 0 {
		m.code = 128 + int(syscall.SIGKILL)
	}
	return []order{emit{GaveUp{}}}
}

// sweep ends the companion and what the children left behind, within the grace period. Whether there is
// anything is known once all the dead are reaped: settled says so.
func (m *machine) sweep() []order {
	m.state = sweeping
	orders := m.tellCompanion()
	if m.graceSet {
		return orders
	}
	m.graceSet = true
	return append(orders, setTimer{timer{kind: graceOver}, m.spec.Grace})
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
		return []order{sendTree{sig: syscall.SIGTERM, told: func(n int) Event { return Swept{n} }}}
	case m.state == sweeping:
		return []order{sendTree{sig: syscall.SIGTERM}} // forked since the last look
	default:
		return []order{sendTree{sig: syscall.SIGKILL}}
	}
}

func (m *machine) kill(why string) []order {
	if m.state == killing || m.state == done {
		return nil
	}
	m.state = killing
	return []order{
		sendTree{sig: syscall.SIGKILL, told: func(n int) Event { return Killed{why, n} }},
		setTimer{timer{kind: killOver}, killWait},
	}
}
