package health

import (
	"cmp"
	"fmt"
	"time"
)

// Question is one of Kubernetes' three (Kubernetes documentation, "Liveness,
// Readiness, and Startup Probes").
type Question string

// The questions, by their names on the wire and on the command line.
const (
	Live    Question = "live"
	Ready   Question = "ready"
	Started Question = "started"
)

// Phase is where ak-init is.
type Phase string

// The phases, in the order in which they come about.
const (
	Preparing   Phase = "preparing"
	Waiting     Phase = "waiting-for-database"
	Migrating   Phase = "migrating"
	Starting    Phase = "starting"
	Serving     Phase = "ready"
	Degraded    Phase = "degraded"
	Resting     Phase = "resting"
	Stopping    Phase = "stopping"
	notAnswered       = "it has not answered yet"
)

// Threshold is how long, unless told otherwise, a service may be ill before a restart would
// help: three probes in a row at Kubernetes' default period of 10 s.
const Threshold = 30 * time.Second

// Answer is what an asker hears.
type Answer struct {
	Healthy bool
	Phase   Phase
	// Service is whom it is about.
	Service string
	// Reason is why not, or what is not well though the answer is yes; one line.
	Reason string
}

// Turn is how a service's health was found to have changed.
type Turn string

// The turns.
const (
	// BecameReady: it has answered its ready question for the first time.
	BecameReady Turn = "ready"
	// Unready: it is well, and its answer to the ready question is no.
	Unready Turn = "unready"
	// Faltered: it is not well, and may come back.
	Faltered Turn = "faltered"
	// Died: it has not been well for its threshold; a restart would help.
	Died Turn = "not live"
	// Recovered: it answers again.
	Recovered Turn = "recovered"
)

// Change is a turn that was seen while somebody asked.
type Change struct {
	Service string
	Turn    Turn
	// Reason is why, where it is none for the better.
	Reason string
}

// turnOf is pure: how it was last, and what has been seen now upon which question, give how
// it is.
func turnOf(last Turn, asked Question, s seen) Turn {
	if s.probe != nil {
		return turnForWorse(last, s)
	}
	switch {
	case last == "":
		return BecameReady
	case last == Died || last == Faltered:
		return Recovered
	case last == Unready && asked == Ready: // that it lives says nothing of why it was not ready
		return Recovered
	default:
		return last
	}
}

// turnForWorse is for what is not as it should be. While it boots that is so only where it
// will never be ready.
func turnForWorse(last Turn, s seen) Turn {
	switch {
	case s.ill && s.failing >= s.threshold:
		return Died
	case !s.wasReady || last == Died:
		return last
	case s.ill:
		return Faltered
	case last != Faltered:
		return Unready
	default:
		return last
	}
}

// seen is what is known when a question is judged.
type seen struct {
	service string
	// threshold is for how long it may be ill.
	threshold time.Duration
	// pid is its main process.
	pid int
	// before is the phase while nothing runs yet; empty: preparing.
	before  Phase
	running bool
	// resting: it has ended, and will be started again.
	resting bool
	// ended: it is gone, and what it left is being ended.
	ended bool
	// stopping: a stop was asked for.
	stopping bool
	// wasReady: it has answered its ready question once.
	wasReady bool
	// probe is what the service answered just now, nil for well.
	probe error
	// unready is why it was not ready when somebody asked that last, where it lives and nobody has
	// found otherwise since.
	unready error
	// ill: what is wrong counts against live.
	ill bool
	// failing is for how long it has been ill.
	failing time.Duration
}

// judge is pure: what is known, and what is asked, give the answer.
func judge(q Question, s seen) Answer {
	a := Answer{Service: s.service, Phase: phaseOf(s)}
	if why := cmp.Or(s.probe, s.unready); why != nil {
		a.Reason = why.Error()
	}
	switch a.Phase {
	case Serving:
		a.Healthy = true
	case Stopping:
		a.Healthy = q == Live || q == Started && s.wasReady
		a.Reason = stopReason(s)
	case Degraded:
		a.Healthy = q != Ready && s.failing < s.threshold
		if s.failing >= time.Second {
			a.Reason = fmt.Sprintf("%s, for %s now", a.Reason, s.failing.Round(time.Second))
		}
	case Resting:
		// It is started again already: nothing would be won by a restart from without.
		a.Healthy = q == Live
		a.Reason = "it has ended, and will be started again"
	default: // on the way to be ready, unless its own processes show that it will never be
		a.Healthy = q == Live && s.failing < s.threshold
		a.Reason = cmp.Or(a.Reason, notAnswered)
	}
	return a
}

func stopReason(s seen) string {
	if s.ended {
		return "it has ended"
	}
	return "it was told to stop"
}

func phaseOf(s seen) Phase {
	switch {
	case s.stopping || s.ended:
		return Stopping
	case s.resting:
		return Resting
	case !s.running:
		return cmp.Or(s.before, Preparing)
	case !s.wasReady:
		return Starting
	case s.probe != nil || s.unready != nil:
		return Degraded
	default:
		return Serving
	}
}
