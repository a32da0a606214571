package main

import (
	"encoding/json"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"ak-init/authentik"
	"ak-init/health"
	"ak-init/supervise"
)

// status is all that a running ak-init says of itself. Its JSON is what "ak-init status
// --output json" prints; names are not changed, only added.
type status struct {
	PID     int    `json:"pid"`
	Version string `json:"version"`
	Command string `json:"command"`
	// Phase is that of the first service that is not ready, else ready.
	Phase         health.Phase    `json:"phase"`
	UptimeSeconds float64         `json:"uptime_seconds"`
	OrphansReaped int             `json:"orphans_reaped"`
	Services      []serviceStatus `json:"services"`
	// Timeline is what the start took its time for, and every restart and outage since;
	// TimelineLeftOut counts what is no longer in there.
	Timeline        []span `json:"timeline"`
	TimelineLeftOut int    `json:"timeline_left_out,omitempty"`
}

type serviceStatus struct {
	Name  string       `json:"name"`
	Phase health.Phase `json:"phase"`
	// Reason is why it is not ready.
	Reason string `json:"reason,omitempty"`
	// PID is 0 while nothing runs.
	PID           int         `json:"pid"`
	UptimeSeconds float64     `json:"uptime_seconds"`
	Restarts      int         `json:"restarts"`
	LastExit      *exitStatus `json:"last_exit,omitempty"`
	// Exits is how often it has ended in which way, in no order.
	Exits []exitCount `json:"exits,omitempty"`
	// ProbeSeconds is how long each of its probes took last.
	ProbeSeconds map[health.Question]float64 `json:"probe_seconds,omitempty"`
	// RSSKiB is the resident memory of the service's Processes, each for itself.
	RSSKiB    int64 `json:"rss_kib"`
	Processes int   `json:"processes"`
}

// exitStatus is how a process ended: by a code or by a signal.
type exitStatus struct {
	At          time.Time `json:"at"`
	Code        int       `json:"exit_code"`
	Signal      string    `json:"signal,omitempty"`
	OutOfMemory bool      `json:"out_of_memory,omitempty"`
}

// exitWay is a way to end: a code, which is 128+n where signal n was it.
type exitWay struct {
	Code   int    `json:"exit_code"`
	Signal string `json:"signal,omitempty"`
}

// exitCount is how often it was that one.
type exitCount struct {
	exitWay
	Count int `json:"count"`
}

// ledger knows what has become of each service, for those who ask. It hears of
// everything from supervise's goroutine and is asked from others.
type ledger struct {
	command string
	begun   time.Time
	course  *course

	mu       sync.Mutex
	orphans  int
	services []*account
}

// account is one service's.
type account struct {
	name    string
	monitor *health.Monitor
	// migrates: it is never ready, and at work from the first.
	migrates bool

	pid      int
	since    time.Time
	starts   int
	lastExit *exitStatus
	exits    map[exitWay]int

	// liveTook and readyTook are how long a probe took last, in nanoseconds; 0: it was never
	// made.
	liveTook, readyTook atomic.Int64
}

// probes are a service's, timed. A program of the user's own is not probed.
func (a *account) probes(s servicePlan, threshold time.Duration) health.Probes {
	p := s.probes()
	p.Threshold = threshold
	if len(s.Health.Addresses) > 0 {
		p.Live, p.Ready = timed(p.Live, &a.liveTook), timed(p.Ready, &a.readyTook)
	}
	return p
}

func timed(p health.Probe, took *atomic.Int64) health.Probe {
	return func() error {
		defer func(begun time.Time) { took.Store(int64(time.Since(begun))) }(time.Now())
		return p()
	}
}

// took is how long each probe took last.
func (a *account) took() map[health.Question]float64 {
	all := map[health.Question]float64{}
	for q, took := range map[health.Question]*atomic.Int64{health.Live: &a.liveTook, health.Ready: &a.readyTook} {
		if d := time.Duration(took.Load()); d > 0 {
			all[q] = d.Round(time.Microsecond).Seconds()
		}
	}
	return all
}

func newLedger(p plan, c *course) *ledger {
	l := &ledger{command: p.Command, begun: c.begun, course: c}
	for _, s := range p.Services {
		a := &account{name: s.Name, migrates: s.migrates, exits: map[exitWay]int{}}
		a.monitor = health.NewMonitor(s.Name, a.probes(s, p.liveThreshold), c.turned)
		l.services = append(l.services, a)
	}
	return l
}

// stepPhase is the phase while a step runs.
func stepPhase(name string) health.Phase {
	switch name {
	case authentik.WaitName:
		return health.Waiting
	case authentik.MigrateName:
		return health.Migrating
	default:
		return health.Preparing
	}
}

// event takes note of what happens.
func (l *ledger) event(e supervise.Event) {
	if supervise.IsAside(e) {
		return // by its name it may be a service's
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch e := e.(type) {
	case supervise.Started:
		l.started(e)
	case supervise.Exited:
		if a := l.account(e.Command.Name); a != nil && !e.Step {
			a.exited(e)
		}
	case supervise.RestartScheduled:
		if a := l.account(e.Command.Name); a != nil {
			a.monitor.Resting()
		}
	case supervise.StopBegun:
		for _, a := range l.services {
			a.monitor.Stopping()
		}
	case supervise.OrphanReaped:
		l.orphans++
	}
}

func (l *ledger) started(e supervise.Started) {
	if e.Step {
		for _, a := range l.services {
			a.monitor.Before(stepPhase(e.Command.Name))
		}
		return
	}
	if a := l.account(e.Command.Name); a != nil {
		a.pid, a.since = e.PID, time.Now()
		a.starts++
		if a.migrates {
			a.monitor.Before(health.Migrating)
			return
		}
		a.monitor.Running(e.PID)
	}
}

func (a *account) exited(e supervise.Exited) {
	a.pid = 0
	a.lastExit = &exitStatus{At: time.Now().UTC(), Code: supervise.ExitCode(e.Status), OutOfMemory: e.OutOfMemory}
	if e.Status.Signaled() {
		a.lastExit.Signal = signalName(e.Status.Signal())
	}
	a.exits[exitWay{a.lastExit.Code, a.lastExit.Signal}]++
	a.monitor.Ended()
}

func (l *ledger) account(name string) *account {
	for _, a := range l.services {
		if a.name == name {
			return a
		}
	}
	return nil
}

// answer asks each service.
func (l *ledger) answer(q health.Question) []health.Answer {
	answers := make([]health.Answer, len(l.services))
	var askers sync.WaitGroup
	for i, a := range l.services { // the list itself never changes
		askers.Go(func() { answers[i] = a.monitor.Answer(q) })
	}
	askers.Wait()
	return answers
}

// status gives everything as one line of JSON.
func (l *ledger) status() []byte {
	answers := l.answer(health.Ready)
	l.mu.Lock()
	s := status{
		PID: os.Getpid(), Version: version, Command: l.command, Phase: health.Serving,
		UptimeSeconds: seconds(time.Since(l.begun)), OrphansReaped: l.orphans,
		Services: []serviceStatus{},
	}
	var pids []int
	for i, a := range l.services {
		one := serviceStatus{
			Name: a.name, Phase: answers[i].Phase, Reason: answers[i].Reason,
			PID: a.pid, Restarts: max(0, a.starts-1), LastExit: a.lastExit, ProbeSeconds: a.took(),
		}
		for way, n := range a.exits {
			one.Exits = append(one.Exits, exitCount{way, n})
		}
		if a.pid != 0 {
			one.UptimeSeconds = seconds(time.Since(a.since))
			pids = append(pids, a.pid)
		}
		if one.Phase != health.Serving && s.Phase == health.Serving {
			s.Phase = one.Phase
		}
		s.Services = append(s.Services, one)
	}
	l.mu.Unlock()
	s.Timeline, s.TimelineLeftOut = l.course.spans()
	usage := supervise.UsageOf(pids)
	for i := range s.Services {
		one := &s.Services[i]
		one.Processes, one.RSSKiB = usage[one.PID].Processes, usage[one.PID].RSS
	}
	line, err := json.Marshal(s)
	if err != nil {
		return []byte("{}") // nothing in there can fail
	}
	return line
}

// seconds has milliseconds' precision.
func seconds(d time.Duration) float64 { return d.Round(time.Millisecond).Seconds() }
