package main

import (
	"slices"
	"time"

	"ak-init/health"
	"ak-init/logs"
	"ak-init/supervise"
)

// Health is probed when somebody asks, and nobody may: while services start, and only then,
// ak-init asks itself, so that the moment when they are ready is known. A service is asked
// after 250 ms, then whenever its age has grown by half, at the latest after a second.
const (
	firstLook = 250 * time.Millisecond
	lastLook  = time.Second
)

// stillEvery is how often a line says what still lasts.
const stillEvery = 30 * time.Second

// watch asks and says what still lasts, until nothing does.
func (c *course) watch() {
	for {
		c.mu.Lock()
		pause := c.timeline.nextLook(time.Now())
		c.watched = pause > 0
		c.mu.Unlock()
		if pause == 0 {
			supervise.LetGo() // of what asking has read
			return
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
			c.look()
		case <-c.changed:
			timer.Stop()
		}
	}
}

// look asks, where there is anybody to ask, and says what has lasted for long.
func (c *course) look() {
	c.mu.Lock()
	starts := c.timeline.starts()
	c.mu.Unlock()
	var answers []health.Answer
	if starts {
		answers = c.ask(health.Started) // who is ready is told of by turned
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range answers {
		if a.Phase == health.Starting {
			c.timeline.because(a.Service, a.Reason)
		}
	}
	still := c.timeline.still(time.Now())
	for _, s := range still {
		c.log.still(s)
	}
	c.manager.state(c.timeline.text(), c.timeline.patience())
	if by := c.timeline.patience(); by > 0 && len(still) > 0 {
		c.manager.extend(by)
	}
}

// still is the line about what lasts: the phase, whose, for how long, and why.
func (l *logger) still(s span) {
	if s.quiet {
		return
	}
	role := s.Service
	if role == "" {
		role = s.Phase
	}
	fields := []logs.Field{logs.Str("role", role), logs.Dur("for", s.took().Truncate(time.Second))}
	if s.Reason != "" {
		fields = append(fields, logs.Str("reason", s.Reason))
	}
	l.Info("still "+s.verb(), fields...)
}

// verb is what is done in a span.
func (s span) verb() string {
	switch health.Phase(s.Phase) {
	case health.Starting:
		return "starting"
	case health.Migrating:
		return "migrating"
	case health.Waiting:
		return "waiting for the database"
	default:
		return "at work before the start"
	}
}

// underWay tells whether it is waited for that a span ends.
func (s span) underWay() bool {
	waiting := []string{string(health.Resting), string(health.Degraded), string(health.Stopping), string(health.Preparing)}
	return s.End.IsZero() && !slices.Contains(waiting, s.Phase)
}

// starts tells whether a service does.
func (t *timeline) starts() bool {
	return slices.ContainsFunc(t.spans, func(s span) bool { return s.underWay() && s.Phase == string(health.Starting) })
}

// nextLook is how long after now there is something to ask or to say, 0 for never.
func (t *timeline) nextLook(now time.Time) time.Duration {
	var next time.Duration
	for _, s := range t.spans {
		if !s.underWay() {
			continue
		}
		age := now.Sub(s.Begin)
		pause := stillEvery - age%stillEvery
		if s.Phase == string(health.Starting) {
			pause = min(pause, max(firstLook, min(age/2, lastLook)))
		}
		if next == 0 || pause < next {
			next = pause
		}
	}
	return next
}

// still gives what has lasted for another half minute.
func (t *timeline) still(now time.Time) (all []span) {
	for i := range t.spans {
		s := &t.spans[i]
		age := now.Sub(s.Begin)
		if n := int(age / stillEvery); s.underWay() && n > s.said {
			s.said, s.Seconds = n, seconds(age)
			all = append(all, *s)
		}
	}
	return all
}
