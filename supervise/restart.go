package supervise

import (
	"errors"
	"slices"
	"syscall"
	"time"
)

// Policy says whether a service that has ended is started again.
type Policy string

// The policies, by their names on the command line.
const (
	Never     Policy = "never"
	OnFailure Policy = "on-failure"
	Always    Policy = "always"
)

// Restart is how services are started again. The zero value never does.
type Restart struct {
	Policy Policy
	// Limit is how often in a row a service may end within its first Soon, whatever its
	// exit code, before it is given up; 0 is no limit.
	Limit int
	Soon  time.Duration
	// First is the delay before the first restart. It doubles with each, up to Max, and
	// begins anew behind a run of at least Healthy. A tenth of it at most is added at
	// random, so that replicas do not come back in step.
	First, Max, Healthy time.Duration
}

// DefaultRestart are the figures for a policy. Backing off within hides a crash from
// those who watch the container, so the limit is low: Kubernetes and Docker go on from
// there with a backoff of their own.
func DefaultRestart(p Policy) Restart {
	return Restart{
		Policy: p, Limit: 5, Soon: 10 * time.Second,
		First: time.Second, Max: 60 * time.Second, Healthy: 60 * time.Second,
	}
}

// delay is the pause before the nth restart in a row, counted from 1. jitter is at least
// 0 and below 1.
func (r Restart) delay(n int, jitter float64) time.Duration {
	d := r.First
	for range n - 1 {
		if d = min(2*d, r.Max); d == r.Max {
			break
		}
	}
	return d + time.Duration(jitter*float64(d)/10)
}

// wants tells whether an end with this code is followed by a restart.
func (r Restart) wants(code int) bool {
	return r.Policy == Always || r.Policy == OnFailure && code != 0
}

// passing tells whether a failure to start may go by itself: no process or no memory is
// to be had now (man 2 fork).
func passing(err error) bool {
	return errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.ENOMEM)
}

// record is what is remembered about one service's runs.
type record struct {
	// inRow counts restarts since the last healthy run, quick those runs that ended soon.
	inRow, quick int
}

// ended takes one more end into account and gives the delay before the next start; ok is
// false when there have been too many.
func (r *record) ended(policy Restart, uptime time.Duration, jitter float64) (after time.Duration, ok bool) {
	if uptime >= policy.Healthy {
		r.inRow = 0
	}
	if r.quick++; uptime >= policy.Soon {
		r.quick = 0
	}
	if policy.Limit > 0 && r.quick >= policy.Limit {
		return 0, false
	}
	r.inRow++
	return policy.delay(r.inRow, jitter), true
}

// code is what a service's end counts as.
func (s Spec) code(ws syscall.WaitStatus) int {
	if code := ExitCode(ws); !slices.Contains(s.Success, code) {
		return code
	}
	return 0
}
