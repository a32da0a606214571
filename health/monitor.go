package health

import (
	"sync"
	"time"
)

// Probe asks a service one question and says why the answer was not a yes. It comes
// back within [ProbeTimeout].
type Probe func() error

// ProbeTimeout bounds one probe. It is below the second that Kubernetes gives an
// exec probe by default, so that the asker hears why instead of being killed.
const ProbeTimeout = 800 * time.Millisecond

// shareFor is how long one probe's outcome answers everybody: askers in a crowd
// cost the service one request.
const shareFor = 500 * time.Millisecond

// Monitor knows one service's state and answers for it. Its methods may be called
// from any goroutine.
type Monitor struct {
	service     string
	live, ready Probe

	mu       sync.Mutex
	running  bool
	stopping bool
	wasReady bool

	// asking is held while a probe is under way: probes never overlap.
	asking       sync.Mutex
	asked        map[Question]outcome
	failingSince time.Time
}

type outcome struct {
	at  time.Time
	err error
}

// NewMonitor watches a service that is asked by these two probes.
func NewMonitor(service string, live, ready Probe) *Monitor {
	return &Monitor{service: service, live: live, ready: ready, asked: map[Question]outcome{}}
}

// Running says that the service's process has been started, or has ended.
func (m *Monitor) Running(yes bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.running = yes
}

// Stopping says that a stop was asked for.
func (m *Monitor) Stopping() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stopping = true
}

// Answer judges the question now, probing where that is needed.
func (m *Monitor) Answer(q Question) Answer {
	m.asking.Lock()
	defer m.asking.Unlock()
	s := m.seen()
	if s.running && !s.stopping {
		m.probe(q, &s)
	}
	return judge(q, s)
}

func (m *Monitor) seen() seen {
	m.mu.Lock()
	defer m.mu.Unlock()
	return seen{service: m.service, running: m.running, stopping: m.stopping, wasReady: m.wasReady}
}

// probe asks the service and writes down what came of it. Until it has been ready
// once there is only one question of interest, whatever was asked.
func (m *Monitor) probe(q Question, s *seen) {
	kind := Live
	if q == Ready || !s.wasReady {
		kind = Ready
	}
	last, known := m.asked[kind]
	if !known || time.Since(last.at) >= shareFor {
		err := m.ask(kind)
		last = outcome{at: time.Now(), err: err}
		m.asked[kind] = last
	}
	s.probe = last.err
	switch {
	case s.probe == nil:
		m.failingSince = time.Time{}
		m.noteReady(s)
	case kind == Live: // not being ready, as in a database outage, is no reason for a restart
		if m.failingSince.IsZero() {
			m.failingSince = last.at
		}
		s.failing = time.Since(m.failingSince)
	}
}

// noteReady writes down that the service has been ready once. The first good answer
// is always one to the ready question.
func (m *Monitor) noteReady(s *seen) {
	if s.wasReady {
		return
	}
	s.wasReady = true
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wasReady = true
}

func (m *Monitor) ask(kind Question) error {
	if kind == Live {
		return m.live()
	}
	return m.ready()
}
