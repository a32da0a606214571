package prepare

import (
	"runtime"
	"slices"
	"sync/atomic"
	"time"
)

// Patiently gives what fn gives, which looks by the reader alone and changes nothing. A look
// that hangs for the bound is left behind with all of fn, and fn is run anew by a reader that
// knows of it. So no look costs a goroutine of its own: a start has dozens. Between its looks
// fn only computes; should it stand still there for [idleBounds] bounds all the same, there is
// no mount to be passed over next time, and the error is [ErrHung].
func Patiently[T any](bound time.Duration, fn func(*Reader) T) (T, error) {
	silent := met{bound: bound}
	for {
		r := &Reader{met: &met{bound: bound, silent: slices.Clone(silent.silent), now: newAttended()}}
		done := make(chan T, 1)
		go func() { done <- fn(r) }() // ends with fn, or when the look ends with which it was left behind
		value, stuck := attend(bound, done, r.now)
		switch {
		case stuck == nil:
			return value, nil
		case stuck.idle:
			return value, &hungError{"what looks at this machine", idleBounds * bound}
		}
		silent.silenced(stuck.path)
	}
}

// idleBounds is how many bounds may pass between two looks. It is a net below what no look
// covers: long, since a machine that is short of processors must not fall into it.
const idleBounds = 4

// attended is what one goroutine does while another one may leave it behind. Nil has been
// left behind.
type attended struct{ atomic.Pointer[looking] }

// looking is one look that has begun and not ended, or the time between two.
type looking struct {
	path  string
	idle  bool
	since time.Time
}

func newAttended() *attended {
	var a attended
	a.Store(&looking{idle: true, since: time.Now()})
	return &a
}

func (a *attended) begin(path string) { a.next(&looking{path: path, since: time.Now()}) }

func (a *attended) end() { a.next(&looking{idle: true, since: time.Now()}) }

// next ends the goroutine if it was left behind: what it would find nobody waits for, and
// whoever runs in its place may be at work.
func (a *attended) next(to *looking) {
	if now := a.Load(); now == nil || !a.CompareAndSwap(now, to) {
		runtime.Goexit()
	}
}

// attend waits for what is done, or leaves behind a look that takes longer than the bound and
// gives that.
func attend[T any](bound time.Duration, done <-chan T, now *attended) (value T, stuck *looking) {
	timer := time.NewTimer(bound)
	defer timer.Stop()
	for {
		select {
		case value := <-done:
			return value, nil
		case <-timer.C:
		}
		at := now.Load()
		limit := bound
		if at.idle {
			limit = idleBounds * bound
		}
		left := limit - time.Since(at.since)
		if left <= 0 && now.CompareAndSwap(at, nil) {
			return value, at
		}
		timer.Reset(max(left, time.Millisecond))
	}
}
