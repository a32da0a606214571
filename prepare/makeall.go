package prepare

import (
	"errors"
	"slices"
	"sync/atomic"
	"time"
)

// MakeAll makes directories that are missing and tests each by writing as id. None waits
// long for another, so that those that do not answer cost little more than one bound. One
// that lies below another of the list comes after it, and is not touched if that one hangs,
// and neither made nor given if it has a fault.
func MakeAll(bound time.Duration, dirs []Dir, id Identity) []Outcome {
	return all(bound, dirs, id, func(d Dir) Outcome { return d.outcome(id, d.ensure) })
}

// LookAll tells what [MakeAll] would find, and changes nothing: Made is what would be made,
// Given what would be given, as far as rights tell. What is there is tested by writing to a
// file without a name, or, where there are none, to one that is removed again.
func LookAll(bound time.Duration, dirs []Dir, id Identity) []Outcome {
	return all(bound, dirs, id, func(d Dir) Outcome { return d.outcome(id, d.foresee) })
}

// slow is when a directory is taken for one that may hang, and the others no longer wait
// for it: long for a disk, short for a bound.
const slow = 50 * time.Millisecond

// job is one directory's way through all.
type job struct {
	Dir
	// first is the job that comes before it, nil if none has to.
	first *job
	taken atomic.Bool
	// failed is the outcome, where it has a fault, before the answer is given.
	failed atomic.Pointer[Outcome]
	// answer holds what came of it, if it ever answers; done is closed when outcome may
	// be read.
	answer  chan Outcome
	done    chan struct{}
	outcome Outcome
}

// all lets one goroutine go through the list, since a goroutine each costs threads, and
// no longer relies on it when it stands still.
func all(bound time.Duration, dirs []Dir, id Identity, one func(Dir) Outcome) []Outcome {
	jobs := jobsOf(dirs)
	work := func(j *job) {
		if j.taken.CompareAndSwap(false, true) {
			out, known := j.belowFault(id)
			if !known {
				out = one(j.Dir)
			}
			if out.Fault != nil {
				j.failed.Store(&out)
			}
			j.answer <- out
		}
	}
	order := parentsFirst(jobs)
	go func() { // ends with the list, or with the process where one hangs
		for _, j := range order {
			work(j)
		}
	}()
	timer := time.NewTimer(slow)
	defer timer.Stop()
	waiting := order
	for standing := false; len(waiting) > 0 && !standing; {
		select {
		case waiting[0].outcome = <-waiting[0].answer:
			close(waiting[0].done)
			waiting = waiting[1:]
			timer.Reset(slow)
		case <-timer.C:
			standing = true
		}
	}
	for _, j := range waiting {
		go func() { // ends within the bound of each that it waits for, and its own
			defer close(j.done)
			j.outcome = j.await(bound, id, work)
		}()
	}
	outcomes := make([]Outcome, len(jobs))
	for i, j := range jobs {
		<-j.done
		outcomes[i] = j.outcome
	}
	return outcomes
}

// belowFault is the outcome of a directory below one that has a fault, known only there. It
// may be a mount that the children can write to; root makes and gives nothing, since what has
// a fault may be a link that somebody put there to lead it.
func (j *job) belowFault(id Identity) (out Outcome, known bool) {
	if j.first == nil || j.first.Path == j.Path {
		return out, false
	}
	above := j.first.failed.Load()
	if above == nil {
		return out, false
	}
	if j.IfThere && !exists(j.Path) || j.try(id) == nil {
		return out, true
	}
	e := j.failure(writeTo, id, errBelow)
	e.Found, e.Fix = j.first.Path+" cannot be used", "put that one right"
	return Outcome{Fault: e, Warning: j.IfThere || !j.Required && above.Warning}, true
}

// errBelow is for a directory that is not made ready.
var errBelow = errors.New("nothing is made there")

// await gives what comes of a job, after the one before it.
func (j *job) await(bound time.Duration, id Identity, work func(*job)) Outcome {
	if j.first != nil {
		<-j.first.done
		if errors.Is(j.first.outcome.Fault, ErrHung) {
			return j.silent(id, &hungError{j.Path, bound})
		}
	}
	out, err := Within(bound, j.Path, func() (Outcome, error) {
		work(j)
		return <-j.answer, nil
	})
	if err != nil {
		return j.silent(id, err)
	}
	return out
}

func jobsOf(dirs []Dir) []*job {
	jobs := make([]*job, len(dirs))
	for i, d := range dirs {
		jobs[i] = &job{Dir: d, answer: make(chan Outcome, 1), done: make(chan struct{})}
	}
	for i := range jobs {
		if first := above(dirs, i); first >= 0 {
			jobs[i].first = jobs[first]
		}
	}
	return jobs
}

// parentsFirst sorts jobs so that each comes after the one that has to come before it.
func parentsFirst(jobs []*job) []*job {
	return slices.SortedStableFunc(slices.Values(jobs), func(a, b *job) int { return len(a.Path) - len(b.Path) })
}

// silent is the outcome of a directory that does not answer. Somebody has mounted it, so
// it is a fault unless nothing was to be made there.
func (d Dir) silent(id Identity, err error) Outcome {
	return Outcome{Fault: hung(*d.failure(writeTo, id, err), err), Warning: d.IfThere}
}

// above gives the directory of the list that the i-th lies below, the nearest, or that has
// its path and comes first; -1 if there is none.
func above(dirs []Dir, i int) int {
	nearest := -1
	for j, d := range dirs {
		same := d.Path == dirs[i].Path
		if same && j >= i || !below(dirs[i].Path, d.Path) {
			continue
		}
		if nearest < 0 || len(d.Path) >= len(dirs[nearest].Path) {
			nearest = j
		}
	}
	return nearest
}
