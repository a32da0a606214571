package health

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"
)

// Probe asks a service one question and says why the answer was not a yes. It comes
// back within [ProbeTimeout].
type Probe func() error

// ProbeTimeout bounds one probe, and AnswerTimeout an answer: a probe, the look at the service's
// processes beside it, and what lies behind a failure. It is below the second that Kubernetes
// gives an exec probe by default, so that the asker hears why instead of being killed.
const (
	ProbeTimeout  = 700 * time.Millisecond
	AnswerTimeout = 800 * time.Millisecond
)

// errLate is for what takes longer than an answer may, as where others have the processor.
var errLate = fmt.Errorf("it cannot be looked at in time (%s)", AnswerTimeout)

// shareFor is how long one probe's outcome answers everybody: askers in a crowd
// cost the service one request.
const shareFor = 500 * time.Millisecond

// Probes are the ways to learn how a service is.
type Probes struct {
	Live, Ready Probe
	// Watch looks at the service's own processes, of which pid is the main one, beside a probe;
	// nil: nothing is known of them.
	Watch func(pid int) Look
	// Cause gives what lies behind a probe that failed, where a restart would not help: the live
	// question does not count then. Nil: nothing is known.
	Cause func(pid int) error
	// Threshold is for how long the service may be ill before a restart would help; 0: for
	// [Threshold].
	Threshold time.Duration
}

// Look is what a service's own processes show: nil for nothing wrong.
type Look struct {
	// Ill counts against every question, and also before the service has been ready.
	Ill error
	// Unready counts against the ready question alone.
	Unready error
}

// Monitor knows one service's state and answers for it. Its methods may be called
// from any goroutine.
type Monitor struct {
	service     string
	live, ready *shared[error]
	watch       *shared[Look]
	tell        func(Change)
	threshold   time.Duration

	mu       sync.Mutex
	running  bool
	resting  bool
	ended    bool
	stopping bool
	wasReady bool
	pid      int
	// before is the phase while nothing runs yet.
	before Phase
	// failingSince is the first bad answer to live in a row, failed the last.
	failingSince, failed time.Time
	// told is how it was when a change was last told.
	told Turn
	// unready is why it was not ready when that was asked last, unreadyAt when that was.
	unready   error
	unreadyAt time.Time
}

// forget is after how many thresholds without a look an earlier bad answer says nothing about
// now.
const forget = 10

// NewMonitor watches a service that is asked by these probes. It tells of each turn that
// it sees; tell may be called from any goroutine, and must not ask.
func NewMonitor(service string, p Probes, tell func(Change)) *Monitor {
	m := &Monitor{service: service, tell: tell, threshold: cmp.Or(p.Threshold, Threshold)}
	m.live = newShared(errLate, func() error {
		if err := p.Live(); err == nil || m.cause(p) == nil {
			return err
		}
		return nil
	})
	m.ready = newShared(errLate, func() error {
		err := p.Ready()
		if err == nil {
			return nil
		}
		if cause := m.cause(p); cause != nil {
			return fmt.Errorf("%w; %w", err, cause)
		}
		return err
	})
	m.watch = newShared(Look{Unready: errLate}, func() Look {
		if p.Watch == nil {
			return Look{}
		}
		return p.Watch(m.seen().pid)
	})
	return m
}

// cause is what lies behind a probe that failed.
func (m *Monitor) cause(p Probes) error {
	if p.Cause == nil {
		return nil
	}
	return p.Cause(m.seen().pid)
}

// Before says what is done before the service can run.
func (m *Monitor) Before(phase Phase) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.before = phase
}

// Running says that the service's process has been started. It boots anew, even if there
// was one before.
func (m *Monitor) Running(pid int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.running, m.resting, m.ended, m.wasReady, m.pid = true, false, false, false, pid
	m.failingSince, m.told = time.Time{}, ""
}

// Resting says that it has ended, and will be started again.
func (m *Monitor) Resting() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.running, m.resting, m.ended = false, true, false
}

// Ended says that it is gone, and that what it left is being ended.
func (m *Monitor) Ended() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.running, m.resting, m.ended = false, false, true
}

// Stopping says that a stop was asked for.
func (m *Monitor) Stopping() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stopping = true
}

// Answer judges the question now, probing where that is needed, and comes back within
// [AnswerTimeout]. A probe that is late has failed; a look that is late shows neither that the
// service is ready nor that a restart would help.
func (m *Monitor) Answer(q Question) Answer {
	s := m.seen()
	if !s.running || s.stopping {
		return judge(q, s)
	}
	// Until it has been ready once only that is of interest, whatever was asked.
	asked, probe := Live, m.live
	if q == Ready || !s.wasReady {
		asked, probe = Ready, m.ready
	}
	late, cancel := context.WithTimeout(context.Background(), AnswerTimeout)
	defer cancel()
	watched := make(chan Look, 1)
	go func() { watched <- m.watch.ask(late) }() // side by side both fit into the asker's time
	probed := probe.ask(late)
	change, turned := m.note(&s, asked, <-watched, probed)
	if turned && m.tell != nil {
		m.tell(change)
	}
	return judge(q, s)
}

func (m *Monitor) seen() seen {
	m.mu.Lock()
	defer m.mu.Unlock()
	return seen{
		service: m.service, threshold: m.threshold, pid: m.pid, before: m.before, running: m.running, resting: m.resting,
		ended: m.ended, stopping: m.stopping, wasReady: m.wasReady,
	}
}

// note writes down what came of a look at the processes and of a probe, unless they were of
// a process before this one, and gives what has changed by it.
func (m *Monitor) note(s *seen, asked Question, watched Look, probed error) (c Change, turned bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if asked == Ready {
		probed = cmp.Or(probed, watched.Unready)
	}
	s.probe = cmp.Or(watched.Ill, probed)
	if m.pid != s.pid || !m.running {
		return c, false
	}
	if asked == Ready {
		m.unready, m.unreadyAt = probed, time.Now()
	}
	// Not being ready, as in a database outage, is no reason for a restart.
	s.ill = watched.Ill != nil || asked == Live && probed != nil
	switch now := time.Now(); {
	case s.probe == nil:
		m.failingSince = time.Time{}
		m.wasReady = true // the first good answer is always one to the ready question
	case s.ill:
		if m.failingSince.IsZero() || now.Sub(m.failed) > forget*m.threshold {
			m.failingSince = now
		}
		m.failed = now
		s.failing = now.Sub(m.failingSince)
	}
	s.wasReady = m.wasReady
	was := m.told
	m.told = turnOf(was, asked, *s)
	s.unready = m.notReady()
	return Change{Service: m.service, Turn: m.told, Reason: judge(Live, *s).Reason}, m.told != was
}

// notReady is what is known of a service that lives and was not ready when that was asked last:
// who asks whether it lives wants to know that, too. m.mu is held.
func (m *Monitor) notReady() error {
	if m.told != Unready || m.unready == nil {
		return nil
	}
	return fmt.Errorf("not ready %s ago: %w", time.Since(m.unreadyAt).Round(time.Second), m.unready)
}

// shared is a probe whose outcome answers everybody who asks at about the same time.
// Each question has its own, so that nobody waits for more than one probe.
type shared[T any] struct {
	probe func() T
	// late is what it comes to for those who cannot wait for it.
	late T
	// turn holds one token: probes never overlap. (A channel, since a mutex stops the
	// clock of testing/synctest.)
	turn chan struct{}
	at   time.Time
	last T
}

func newShared[T any](late T, probe func() T) *shared[T] {
	return &shared[T]{probe: probe, late: late, turn: make(chan struct{}, 1)}
}

// ask gives the outcome, or what is known when ctx ends before there is one. The probe goes on
// then, and whoever asks later waits for it.
func (s *shared[T]) ask(ctx context.Context) T {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return s.late
	}
	if !s.at.IsZero() && time.Since(s.at) < shareFor {
		defer func() { <-s.turn }()
		return s.last
	}
	outcome := make(chan T, 1)
	go func() { // ends with its probe
		defer func() { <-s.turn }()
		s.last = s.probe()
		s.at = time.Now()
		outcome <- s.last
	}()
	select {
	case last := <-outcome:
		return last
	case <-ctx.Done():
		return s.late
	}
}
