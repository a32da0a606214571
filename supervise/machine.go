package supervise

import (
	"cmp"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"syscall"
	"time"
)

// state is where a run is; doc.go draws the ways between them.
type state int

const (
	idle     state = iota
	stepping       // a step runs
	serving        // the services run
	delaying       // stop asked for; the services go on serving for StopDelay
	stopping       // the children are told to end, one service after another
	sweeping       // the children are gone, what they left was sent TERM
	killing        // what is left was sent SIGKILL
	done
)

// life is where one service is.
type life int

const (
	waiting  life = iota // not started yet
	up                   // it serves
	resting              // it has ended and will be started again
	draining             // its helpers are to end first
	told                 // it was sent the stop signal
	gone                 // it has ended for good
)

// service is one service's part of the machine.
type service struct {
	Service
	life life
	// pid is its process, 0 for none; last is the one before, which ended with code.
	pid, last, code int
	record          record
	// nudges counts how often its helpers' children have been told again.
	nudges int
}

// machine is the pure core of a run: inputs go in, orders come out. It reads no
// clock and touches no process.
type machine struct {
	spec  Spec
	state state
	// step is the index of the running step; len(spec.Steps) means that all are done.
	step int
	// stepPID is the running step, 0 for none.
	stepPID  int
	services []service
	// asides are the steps that run beside, by pid.
	asides    map[int]Command
	companion companion
	// code is the exit code when done: of the services' ends for good, the first that is
	// not 0.
	code int
	// asked is the first stop signal, 0 for none; stopWith is what the main child gets for
	// it.
	asked, stopWith syscall.Signal
	// turn counts the services whose turn to stop has come.
	turn int
	// graceSet says that graceOver runs; swept that what was left has been told.
	graceSet, swept bool
	// jitter gives a number from 0 up to 1, not included.
	jitter func() float64
}

func newMachine(spec Spec, jitter func() float64) machine {
	m := machine{spec: spec, jitter: jitter, asides: map[int]Command{}}
	for _, s := range spec.Services {
		m.services = append(m.services, service{Service: s})
	}
	return m
}

// feed takes one input in and gives the orders that follow from it.
//
//nolint:cyclop // a table: one flat case a kind of input
func (m *machine) feed(in input) []order {
	switch in := in.(type) {
	case begun:
		return m.begin()
	case started:
		return m.started(in.who, in.pid)
	case failed:
		return m.failed(in.who, in.err)
	case exited:
		return m.exited(in)
	case halted:
		return m.halted(in)
	case settled:
		return m.settled(in.childless)
	case signalled:
		return m.signalled(in.sig)
	case hungUp:
		return m.hungUp()
	case expired:
		return m.expired(in.timer)
	case drained:
		return m.drained(in)
	case unguarded:
		return []order{emit{Unguarded{errGuardGone}}}
	default:
		return nil
	}
}

func (m *machine) begin() []order {
	if m.state != idle {
		return nil // stopped before it began
	}
	return append(m.startCompanion(), m.startNext()...)
}

// inStep tells a step from the services.
func (m *machine) inStep() bool { return m.step < len(m.spec.Steps) }

// startNext starts the step that is due, or the first of the services that wait.
func (m *machine) startNext() []order {
	if m.inStep() {
		m.state = stepping
		return []order{start{theStep, m.spec.Steps[m.step].Command}}
	}
	m.state = serving
	for i, s := range m.services {
		if s.life == waiting {
			return []order{start{i, s.Command}}
		}
	}
	return nil
}

func (m *machine) started(who, pid int) []order {
	switch who {
	case theStep:
		return m.startedStep(m.spec.Steps[m.step], pid)
	case theCompanion:
		return m.startedCompanion(pid)
	}
	s := &m.services[who]
	s.life, s.pid = up, pid
	// The next one waits for this one to run, so that a failure here keeps it from starting.
	return append([]order{emit{Started{Command: s.Command, PID: pid}}}, m.startNext()...)
}

func (m *machine) failed(who int, err error) []order {
	switch who {
	case theCompanion:
		return append([]order{emit{StartFailed{*m.spec.Companion, err}}}, m.restCompanion(0)...)
	case theStep:
		m.code = startFailure(err)
		return append([]order{emit{StartFailed{m.spec.Steps[m.step].Command, err}}}, m.afterStep()...)
	}
	s := &m.services[who]
	orders := []order{emit{StartFailed{s.Command, err}}}
	if passing(err) && m.spec.Restart.wants(startFailure(err)) {
		return append(orders, m.rest(who, startFailure(err), 0)...)
	}
	return append(orders, m.ended(who, startFailure(err))...)
}

func (m *machine) exited(in exited) []order {
	event := Exited{
		PID: in.pid, Status: in.status, Uptime: in.uptime, MaxRSS: in.maxRSS, OutOfMemory: in.oom,
		Asked: m.state > serving,
	}
	if in.pid == m.stepPID {
		m.stepPID = 0
		m.code = ExitCode(in.status)
		event.Command, event.Code, event.Step = m.spec.Steps[m.step].Command, m.code, true
		return append([]order{emit{event}}, m.afterStep()...)
	}
	if in.pid == m.companion.pid {
		return m.endedCompanion(event)
	}
	if aside, ok := m.asides[in.pid]; ok {
		delete(m.asides, in.pid)
		event.Command, event.Aside = aside, true // whose code counts as 0
		return []order{emit{event}}
	}
	who := slices.IndexFunc(m.services, func(s service) bool { return s.pid == in.pid })
	if who < 0 {
		return []order{emit{OrphanReaped{in.pid, in.status}}}
	}
	s := &m.services[who]
	s.pid, s.last = 0, in.pid
	code := m.spec.code(in.status)
	event.Command, event.Code = s.Command, code
	if m.state == serving && m.spec.Restart.wants(code) {
		return append([]order{emit{event}}, m.rest(who, code, in.uptime)...)
	}
	return append([]order{emit{event}}, m.ended(who, code)...)
}

// rest is the pause before a service is started again. What its last run left is ended
// meanwhile: it may hold the sockets that the next run needs.
func (m *machine) rest(who, code int, uptime time.Duration) []order {
	s := &m.services[who]
	after, ok := s.record.ended(m.spec.Restart, uptime, m.jitter())
	if !ok {
		return append([]order{emit{RestartsExhausted{s.Command, s.record.quick}}}, m.ended(who, code)...)
	}
	s.life, s.code = resting, code
	orders := []order{
		emit{RestartScheduled{Command: s.Command, After: after, Quick: s.record.quick, Limit: m.spec.Restart.Limit}},
		setTimer{timer{restOver, who}, after},
	}
	if s.last != 0 {
		orders = append(orders, sendLeft{s.last, syscall.SIGTERM})
	}
	return orders
}

// again starts a service whose pause is over.
func (m *machine) again(who int) []order {
	if who == theCompanion {
		return m.startCompanion()
	}
	s := &m.services[who]
	if s.life != resting || m.state != serving {
		return nil
	}
	orders := []order{start{who, s.Command}}
	if s.last != 0 {
		orders = slices.Insert(orders, 0, order(sendLeft{s.last, syscall.SIGKILL}))
	}
	return orders
}

// ended says that a service has ended for good.
func (m *machine) ended(who, code int) []order {
	s := &m.services[who]
	s.life = gone
	m.code = cmp.Or(m.code, code)
	switch {
	case m.state == killing:
		return nil // settled sees to the rest
	case !slices.ContainsFunc(m.services, service.lives):
		return m.sweep()
	case m.state == serving:
		return append([]order{emit{StopBegun{Ended: s.Name, Grace: m.spec.Grace}}}, m.stop(0)...)
	case m.state == stopping && m.turn < len(m.services) && who == m.whose(m.turn-1):
		return m.nextTurn()
	default:
		return nil // it is not the one whose end the others wait for
	}
}

// lives tells whether something of the service runs, or will.
func (s service) lives() bool { return s.life != gone && (s.pid != 0 || s.life == resting) }

var errGuardGone = errors.New("somebody has ended the guard")

// startFailure is the exit code of a command that could not be started, as a
// shell gives it (POSIX, Shell Command Language 2.8.2): 127 not found, 126 not
// executable.
func startFailure(err error) int {
	if errors.Is(err, fs.ErrNotExist) {
		return 127
	}
	return 126
}

// children are all that ak-init started and that live.
func (m *machine) children() []int {
	pids := append(m.running(), slices.Sorted(maps.Keys(m.asides))...)
	if m.companion.pid != 0 {
		pids = append(pids, m.companion.pid)
	}
	return pids
}

// running are those that the end is waited for.
func (m *machine) running() []int {
	var pids []int
	if m.stepPID != 0 {
		pids = append(pids, m.stepPID)
	}
	for _, s := range m.services {
		if s.pid != 0 {
			pids = append(pids, s.pid)
		}
	}
	return pids
}

func (m *machine) signalled(sig syscall.Signal) []order {
	sent, rewritten := m.spec.Rewrite[sig]
	switch {
	case rewritten && sent == 0:
		return nil
	case isStop(sig) || isStop(sent):
		return m.stopSignalled(sig, cmp.Or(sent, syscall.SIGTERM))
	case sig == syscall.SIGTSTP && !rewritten:
		return []order{suspend{pids: m.children(), sig: sig}}
	case sig == syscall.SIGCONT && !rewritten:
		return []order{resume{m.children()}}
	case len(m.services) == 0 || m.services[0].pid == 0:
		return []order{emit{Unheard{sig}}}
	}
	sent = cmp.Or(sent, sig)
	pid := m.services[0].pid
	return []order{send{pid, sent, m.spec.Group}, emit{Forwarded{sig, sent, pid}}}
}

// hungUp begins the stop: nobody is there to want anything of us any more, or to begin it
// later. One who works at the terminal is told as a shell would tell him; told twice he
// might drop what he saves. The kernel tells more than once, and each time is the same.
func (m *machine) hungUp() []order {
	sent, rewritten := m.spec.Rewrite[syscall.SIGHUP]
	if m.asked != 0 || rewritten && sent == 0 {
		return nil
	}
	with := syscall.SIGTERM
	if len(m.services) > 0 && m.services[0].Foreground {
		with = syscall.SIGHUP
	}
	return m.stopSignalled(syscall.SIGHUP, with)
}

// halted hands a stop of the child that has the terminal up to us: whoever waits for us,
// such as a shell, sees us stop only.
func (m *machine) halted(in halted) []order {
	for _, s := range m.services {
		if s.pid == in.pid && s.Foreground {
			return []order{suspend{halted: in.pid, sig: in.sig}}
		}
	}
	return nil
}

// isStop tells the signals that start the stop sequence from those that are
// handed on.
func isStop(sig syscall.Signal) bool {
	return sig == syscall.SIGTERM || sig == syscall.SIGINT || sig == syscall.SIGQUIT
}
