package database

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	// A server that starts is there within a second or two: ask soon, and then less
	// often, since each try costs the server a process.
	firstDelay = 100 * time.Millisecond
	lastDelay  = 2 * time.Second
)

// Policy says how long to wait.
type Policy struct {
	// For is the longest wait; with 0 there is one attempt.
	For time.Duration
	// PermanentFor is how long a permanent cause is borne while it stays the same: a
	// role, its password and its database may just be being made.
	PermanentFor time.Duration
	// ReportEvery is the shortest time between two events of the same cause.
	ReportEvery time.Duration
	// Again gives the settings anew for each attempt after the first: a password may be
	// in a file that is being changed. Without it they stay.
	Again func() Settings

	// probe and jitter are for tests.
	probe  func(context.Context, Settings) (State, error)
	jitter func(time.Duration) time.Duration
}

// DefaultPolicy waits five minutes, ten seconds where waiting hardly helps, and says
// something every ten seconds.
func DefaultPolicy() Policy {
	return Policy{For: 5 * time.Minute, PermanentFor: 10 * time.Second, ReportEvery: 10 * time.Second}
}

// Event is an attempt that failed and is worth a line.
type Event struct {
	Err      *Error
	Attempts int
	// Waited is since the first attempt, Left until the wait is given up if nothing
	// changes.
	Waited, Left time.Duration
}

// Wait asks until PostgreSQL can be used and written to. It gives up with an [*Error] when
// the policy says so, and at once, with the context's cause, when the context ends. An
// attempt that runs when time is up is not cut: what it finds is the answer.
func Wait(ctx context.Context, s Settings, p Policy, event func(Event)) (State, error) {
	p = p.complete(s)
	w := patience{policy: p, begun: time.Now(), said: map[Cause]time.Time{}}
	for delay := firstDelay; ; delay = min(2*delay, lastDelay) {
		state, err := p.probe(ctx, s)
		if err == nil && !state.ReadOnly {
			return state, nil
		}
		if ctx.Err() != nil {
			return state, context.Cause(ctx)
		}
		e := s.verdict(state, err)
		now := time.Now()
		left, report := w.note(e, now)
		if left <= 0 {
			if w.attempts > 1 {
				e.Waited = now.Sub(w.begun)
			}
			return state, e
		}
		if report && event != nil {
			event(Event{Err: e, Attempts: w.attempts, Waited: now.Sub(w.begun), Left: left})
		}
		if !sleep(ctx, min(p.jitter(delay), left)) {
			return state, context.Cause(ctx)
		}
		s = p.Again()
	}
}

// complete fills in what a policy leaves open.
func (p Policy) complete(s Settings) Policy {
	if p.Again == nil {
		p.Again = func() Settings { return s }
	}
	if p.probe == nil {
		p.probe = Probe
	}
	if p.jitter == nil {
		p.jitter = halfJitter
	}
	return p
}

// verdict is what keeps a server from being used, if it is only that it cannot be
// written to.
func (s Settings) verdict(state State, err error) *Error {
	switch {
	case err != nil:
		return s.explain(err)
	case state.InRecovery:
		return s.fault(ReadOnly, "it is in recovery, a standby, and can only be read", nil)
	default:
		return s.fault(ReadOnly, "it is set to read only (default_transaction_read_only)", nil)
	}
}

// patience is how long is still to be waited, and what is worth saying. It has no clock.
type patience struct {
	policy   Policy
	begun    time.Time
	attempts int
	cause    Cause
	// since is when the cause was first met in a row.
	since time.Time
	// said is when each cause was last reported, so that two that take turns do not
	// fill the log either.
	said map[Cause]time.Time
}

func (w *patience) note(e *Error, now time.Time) (left time.Duration, report bool) {
	w.attempts++
	if w.attempts == 1 || e.Cause != w.cause {
		w.cause, w.since = e.Cause, now
	}
	left = w.policy.For - now.Sub(w.begun)
	switch {
	case e.Cause == Malformed: // the settings do not change while we wait
		left = 0
	case !e.Cause.Passing():
		left = min(left, w.policy.PermanentFor-now.Sub(w.since))
	}
	last, before := w.said[e.Cause]
	report = left > 0 && (!before || now.Sub(last) >= w.policy.ReportEvery)
	if report {
		w.said[e.Cause] = now
	}
	return left, report
}

// halfJitter keeps replicas that were started together from asking together.
func halfJitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }

// sleep is false when the context ended it.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
