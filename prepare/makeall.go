package prepare

import (
	"errors"
	"time"
)

// MakeAll makes directories that are missing and tests each by writing as id, all at the
// same time, so that those that do not answer cost one bound together. One that lies below
// another of the list comes after it, and is not touched if that one hangs.
func MakeAll(bound time.Duration, dirs []Dir, id Identity) []Outcome {
	return all(bound, dirs, id, func(d Dir) Outcome { return d.outcome(id, d.ensure) })
}

// LookAll tells what [MakeAll] would find, and changes nothing: Made is what would be made,
// Given what would be given, as far as rights tell. What is there is tested by writing to a file without a name,
// or, where there are none, to one that is removed again.
func LookAll(bound time.Duration, dirs []Dir, id Identity) []Outcome {
	return all(bound, dirs, id, func(d Dir) Outcome { return d.outcome(id, d.foresee) })
}

func all(bound time.Duration, dirs []Dir, id Identity, one func(Dir) Outcome) []Outcome {
	outcomes := make([]Outcome, len(dirs))
	done := make([]chan struct{}, len(dirs))
	for i := range dirs {
		done[i] = make(chan struct{})
	}
	for i, d := range dirs {
		first := above(dirs, i)
		go func() { // ends within the bound of each that it waits for, and its own
			defer close(done[i])
			if first >= 0 {
				<-done[first]
				if fault := outcomes[first].Fault; errors.Is(fault, ErrHung) {
					outcomes[i] = d.silent(id, &hungError{d.Path, bound})
					return
				}
			}
			out, err := Within(bound, d.Path, func() (Outcome, error) { return one(d), nil })
			if err != nil {
				out = d.silent(id, err)
			}
			outcomes[i] = out
		}()
	}
	for i := range dirs {
		<-done[i]
	}
	return outcomes
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
