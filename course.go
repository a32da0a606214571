package main

import (
	"slices"
	"strings"
	"sync"
	"time"

	"ak-init/health"
	"ak-init/logs"
	"ak-init/notify"
	"ak-init/supervise"
)

// course follows a run from its first moment on: it says how long the start took, tells the
// service manager, and sees to it that somebody asks while services start. It hears of events
// from supervise's goroutine, and of turns from whoever asks.
type course struct {
	begun   time.Time
	log     *logger
	manager *manager
	// asked are the services that can be asked whether they are ready.
	asked  []string
	phases map[string]string
	// quiet is a program that says itself what it waits for.
	quiet string
	// changed wakes the watch up: what it waits for may be over.
	changed chan struct{}
	// ask asks all services.
	ask func(health.Question) []health.Answer

	mu       sync.Mutex
	timeline timeline
	// reported: all services have been ready once. watched: the watch runs.
	reported, watched bool
}

func newCourse(p plan, begun time.Time, log *logger, m *manager) *course {
	c := &course{
		begun: begun, log: log, manager: m, phases: phasesOf(p), quiet: p.Database.Program,
		changed: make(chan struct{}, 1),
	}
	for _, s := range p.Services {
		if c.phases[s.Name] == string(health.Starting) {
			c.asked = append(c.asked, s.Name)
		}
	}
	c.timeline.turn("", string(health.Preparing), begun)
	return c
}

// event takes note of what happens. It never waits.
func (c *course) event(e supervise.Event) {
	if _, orphan := e.(supervise.OrphanReaped); orphan {
		return // there may be thousands at a time
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	stopped := c.timeline.stopping()
	c.timeline.event(e, c.phases, time.Now())
	if s, ok := e.(supervise.Started); ok && s.Step && s.Command.Path == c.quiet {
		c.timeline.open("").quiet = true
	}
	if !stopped && c.timeline.stopping() {
		c.manager.say(notify.Stopping)
	}
	if _, end := e.(supervise.Exited); !end { // what comes of it is told next
		c.manager.state(c.timeline.text(), c.timeline.patience())
	}
	if !c.watched && c.timeline.nextLook(time.Now()) > 0 {
		c.watched = true
		go c.watch() // ends when nothing starts any more
	}
	select {
	case c.changed <- struct{}{}:
	default: // it will look anyway
	}
}

// turned takes note of how a service was found.
func (c *course) turned(change health.Change) {
	c.log.turned(change)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timeline.turned(change, time.Now())
	c.report()
	c.manager.state(c.timeline.text(), c.timeline.patience())
}

// report says, once, that all services have been ready, and how long it took.
func (c *course) report() {
	if c.reported {
		return
	}
	b := bootOf(c.timeline.snapshot(time.Now()), c.asked)
	if !b.done {
		return
	}
	c.reported = true
	fields := []logs.Field{logs.Dur("total", b.total)}
	for _, p := range b.parts {
		fields = append(fields, logs.Dur(strings.NewReplacer("-", "_", " ", "_").Replace(p.label), p.took))
	}
	c.log.Info("ready", fields...)
	c.manager.sayReady()
}

// spans gives the timeline, and how many of it were left out.
func (c *course) spans() ([]span, int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.timeline.snapshot(time.Now()), c.timeline.leftOut
}

// text says in one line where everything is.
func (t *timeline) text() string {
	var all []string
	for _, s := range t.spans {
		if !s.End.IsZero() {
			continue
		}
		line := s.label()
		if s.Reason != "" {
			line += ": " + s.Reason
		}
		all = append(all, line)
	}
	if len(all) == 0 {
		return string(health.Serving)
	}
	return strings.Join(all, "; ")
}

// patience is how much longer a service manager should wait for what lasts now, 0 for no
// longer than it would anyway: how long PostgreSQL and migrations take is not for us to say.
func (t *timeline) patience() time.Duration {
	patient := []string{string(health.Preparing), string(health.Waiting), string(health.Migrating)}
	if slices.ContainsFunc(t.spans, func(s span) bool { return s.End.IsZero() && slices.Contains(patient, s.Phase) }) {
		return 3 * stillEvery
	}
	return 0
}
