package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"ak-init/chart"
	"ak-init/health"
	"ak-init/supervise"
)

// span is a time in which ak-init, or one of its services, was in one phase.
type span struct {
	// Phase is one of health's, or the name of a step that has none.
	Phase string `json:"phase"`
	// Service is whose, empty for what comes before the services, and for the stop.
	Service string    `json:"service,omitempty"`
	Begin   time.Time `json:"begin"`
	// End is missing while it lasts.
	End     time.Time `json:"end,omitzero"`
	Seconds float64   `json:"seconds"`
	// Next is the phase that ended it.
	Next string `json:"next,omitempty"`
	// Reason is why it was not ready, when somebody last asked.
	Reason string `json:"reason,omitempty"`

	// said counts the lines that said that it still lasts; quiet: it says so itself.
	said  int
	quiet bool
}

// Phases that only the timeline has.
const (
	phaseEnded   = "ended"
	phaseRunning = "running" // of which nothing is known but that
)

// A timeline holds so many spans: of a service that ends again and again the first ones and
// the last ones are of interest.
const firstSpans, lastSpans = 32, 32

// maxReason bounds a reason, in bytes: all spans have to fit into a reply.
const maxReason = 200

// timeline is what was when. It reads no clock.
type timeline struct {
	spans []span
	// leftOut counts those that were forgotten.
	leftOut int
}

// open gives a service's span that lasts, nil for none; of "" that of ak-init itself.
func (t *timeline) open(service string) *span {
	for i := range t.spans {
		if s := &t.spans[i]; s.Service == service && s.End.IsZero() {
			return s
		}
	}
	return nil
}

// turn ends the span that lasts, if there is one, and begins that of another phase.
func (t *timeline) turn(service, phase string, now time.Time) {
	if s := t.open(service); s != nil {
		if s.Phase == phase {
			return
		}
		s.End, s.Next = now, phase
	}
	if noSpan(service, phase) {
		return
	}
	t.spans = append(t.spans, span{Service: service, Phase: phase, Begin: now})
	if len(t.spans) > firstSpans+lastSpans {
		over := firstSpans + slices.IndexFunc(t.spans[firstSpans:], func(s span) bool { return !s.End.IsZero() })
		t.spans = slices.Delete(t.spans, over, over+1) // one that lasts stays: there is one a service
		t.leftOut++
	}
}

// noSpan tells the phases in which there is nothing to be seen. A stop is ak-init's own.
func noSpan(service, phase string) bool {
	switch phase {
	case "", phaseEnded, phaseRunning, string(health.Serving):
		return true
	default:
		return service != "" && phase == string(health.Stopping)
	}
}

// because notes why a service is not ready.
func (t *timeline) because(service, reason string) {
	if s := t.open(service); s != nil {
		s.Reason = strings.ToValidUTF8(reason[:min(len(reason), maxReason)], "")
	}
}

// event takes note of what happens. phases are what each service is in while it runs.
func (t *timeline) event(e supervise.Event, phases map[string]string, now time.Time) {
	if supervise.IsAside(e) {
		return
	}
	switch e := e.(type) {
	case supervise.Started:
		if e.Step {
			t.turn("", spanOfStep(e.Command.Name), now)
		} else {
			t.turn("", "", now)
			t.turn(e.Command.Name, phases[e.Command.Name], now)
		}
	case supervise.Exited:
		switch {
		case !e.Step:
			t.turn(e.Command.Name, phaseEnded, now)
		case !t.stopping(): // else the stop goes on
			t.turn("", "", now)
		}
	case supervise.RestartScheduled:
		t.turn(e.Command.Name, string(health.Resting), now)
	case supervise.StopBegun:
		for name := range phases {
			t.turn(name, string(health.Stopping), now)
		}
		t.turn("", string(health.Stopping), now)
	case supervise.Swept: // the last one has ended by itself
		t.turn("", string(health.Stopping), now)
	}
}

// stopping tells whether a stop is under way.
func (t *timeline) stopping() bool {
	s := t.open("")
	return s != nil && s.Phase == string(health.Stopping)
}

// turned takes note of how a service was found. One that has not been ready yet goes on
// starting, whatever is wrong with it.
func (t *timeline) turned(change health.Change, now time.Time) {
	s := t.open(change.Service)
	switch {
	case change.Turn == health.BecameReady || change.Turn == health.Recovered:
		t.turn(change.Service, string(health.Serving), now)
	case s == nil:
		t.turn(change.Service, string(health.Degraded), now)
	}
	t.because(change.Service, change.Reason)
}

// spanOfStep is the phase while a step runs, which the log and the timeline have by its name
// where health has none of its own.
func spanOfStep(name string) string {
	if phase := stepPhase(name); phase != health.Preparing {
		return string(phase)
	}
	return name
}

// phasesOf says what each service is in when it has been started: of server and worker it can
// be asked how far they are, migrations are at work from the first.
func phasesOf(p plan) map[string]string {
	phases := map[string]string{}
	for _, s := range p.Services {
		switch {
		case s.Health.Ready != "" || s.Health.isWorkers():
			phases[s.Name] = string(health.Starting)
		case s.migrates:
			phases[s.Name] = string(health.Migrating)
		default:
			phases[s.Name] = phaseRunning
		}
	}
	return phases
}

// snapshot gives the spans as they are now, for others. All times are by the clock as it is
// now: one that was set right meanwhile moves nothing against the rest.
func (t *timeline) snapshot(now time.Time) []span {
	all := slices.Clone(t.spans)
	byClock := func(at time.Time) time.Time { return now.Add(at.Sub(now)).UTC().Truncate(time.Millisecond) }
	for i := range all {
		s := &all[i]
		s.Seconds = seconds(cmp.Or(s.End, now).Sub(s.Begin))
		s.Begin = byClock(s.Begin)
		if !s.End.IsZero() {
			s.End = byClock(s.End)
		}
	}
	return all
}

// label is how a span is called.
func (s span) label() string {
	if s.Service == "" {
		return s.Phase
	}
	return s.Service + " " + s.Phase
}

// took is how long it took, or has lasted so far.
func (s span) took() time.Duration { return time.Duration(s.Seconds * float64(time.Second)) }

// until is its end, or the moment that it has lasted to.
func (s span) until() time.Time { return s.Begin.Add(s.took()) }

// boot is how long a start took, part by part, or has taken so far.
type boot struct {
	total time.Duration
	parts []part
	// done: each service has been ready once.
	done bool
}

type part struct {
	label string
	took  time.Duration
}

// bootOf is pure. A service's start is from its first process to its first yes, however many
// processes that took.
func bootOf(spans []span, services []string) (b boot) {
	if len(spans) == 0 {
		return b
	}
	begun, until := spans[0].Begin, spans[0].until()
	for _, s := range spans {
		if s.Service == "" && s.Phase != string(health.Stopping) {
			b.parts = append(b.parts, part{s.label(), s.took()})
			until = s.until()
		}
	}
	b.done = len(services) > 0
	for _, name := range services {
		first, last, ready := startOf(spans, name)
		b.done = b.done && ready
		if first.Service == name {
			b.parts = append(b.parts, part{first.label(), last.until().Sub(first.Begin)})
			if last.until().After(until) {
				until = last.until()
			}
		}
	}
	b.total = until.Sub(begun)
	return b
}

// startOf gives the first span of a service that started, and the one that made it ready for
// the first time, or else the last.
func startOf(spans []span, service string) (first, last span, ready bool) {
	for _, s := range spans {
		if s.Service != service || s.Phase != string(health.Starting) {
			continue
		}
		if first.Service == "" {
			first = s
		}
		if last = s; s.Next == string(health.Serving) {
			return first, last, true
		}
	}
	return first, last, false
}

// String is one line.
func (b boot) String() string {
	parts := make([]string, len(b.parts))
	for i, p := range b.parts {
		parts[i] = p.label + " " + chart.Short(p.took)
	}
	word := "not ready after "
	if b.done {
		word = "ready after "
	}
	return word + chart.Short(b.total) + ": " + strings.Join(parts, ", ")
}

// boot is one line about the start, empty where there is nothing to say.
func (s status) boot() string {
	b := s.started()
	lasts := slices.ContainsFunc(s.Timeline, func(one span) bool {
		return one.underWay() && (one.Service == "" || one.Phase == string(health.Starting))
	})
	if !b.done && !lasts {
		return ""
	}
	return b.String()
}

func (s status) started() boot {
	var names []string
	for _, one := range s.Services {
		names = append(names, one.Name)
	}
	return bootOf(s.Timeline, names)
}

// heading is the line above a chart.
func (s status) heading() string {
	line := fmt.Sprintf("ak-init %s %s, pid %d, phase %s", s.Version, s.Command, s.PID, s.Phase)
	if b := s.started(); b.done {
		line += ", ready after " + chart.Short(b.total)
	}
	return line
}

// charted is what a status has to draw.
func (s status) charted() chart.Chart {
	c := chart.Chart{Heading: s.heading(), LeftOut: s.TimelineLeftOut}
	for _, one := range s.Timeline {
		c.Bars = append(c.Bars, chart.Bar{
			Label: one.label(), Begin: one.Begin, Took: one.took(), Lasts: one.End.IsZero(),
			Note: one.fate(), More: one.outcome(), Kind: one.Phase,
		})
	}
	return c
}

// fate is what became of a service that did not start as it should, or of one that did and
// left it again.
func (s span) fate() string {
	switch {
	case s.Next == phaseEnded:
		return "it ended"
	case s.Phase == string(health.Starting) && s.Next == string(health.Serving):
		return "" // whatever it was waiting for
	default:
		return s.Reason
	}
}

// outcome is what ended a span, and why it was not ready.
func (s span) outcome() string {
	switch {
	case s.Next == "":
		return s.Reason
	case s.Reason == "":
		return "then " + s.Next
	default:
		return "then " + s.Next + ": " + s.Reason
	}
}
