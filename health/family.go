package health

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Process is one of a service's own, as /proc shows it.
type Process struct {
	PID, Parent int
	// Age is for how long it has run.
	Age time.Duration
	// Zombie: it is dead, and its parent has not reaped it. Stopped: it stands still, by
	// SIGSTOP.
	Zombie, Stopped bool
	// CatchesTERM: it has a handler for SIGTERM.
	CatchesTERM bool
}

// Bounds on what a family may look like for a while.
const (
	// settled is the age from which on a process behind a service counts as one that stays:
	// more than a crash takes, and less than the 30 s for which authentik's waits for its
	// database before it gives up (lifecycle/wait_for_db.py, 2026.2), which is no crash.
	settled = 20 * time.Second
	// unreaped is how long a zombie may wait for its parent.
	unreaped = 10 * time.Second
	// newcomers is how many processes in a row that did not stay are too many.
	newcomers = 3
)

// Family judges a service by its processes, over time. Its methods must not be called at
// the same time.
type Family struct {
	// Backend is what the process behind the service is called: the service starts it again
	// and again where it ends (internal/gounicorn/gounicorn.go). Empty: there is none.
	Backend string
	// Workers: the service is its main process' children, once they are there.
	Workers bool

	// main is whom all that follows is about.
	main int
	// newest is the backend that was seen last, and came counts those seen since one stayed.
	newest, came int
	since, last  time.Time
	// grown: the workers have been there.
	grown bool
	// zombies are those seen last, since when.
	zombies map[int]time.Time
}

// Saw takes in what is to be seen now: the main process first, then all that descends from
// it, and what else is its backend. It gives what is wrong with it, nil for nothing.
func (f *Family) Saw(now time.Time, all []Process) error {
	if len(all) == 0 {
		return nil // /proc shows nothing; that the main process is gone is heard by itself
	}
	if all[0].PID != f.main { // started again
		*f = Family{Backend: f.Backend, Workers: f.Workers, main: all[0].PID}
	}
	unreaped := f.unreaped(now, all)
	switch stopped := pidsOf(all, func(p Process) bool { return p.Stopped }); {
	case all[0].Stopped:
		return fmt.Errorf("its main process, pid %d, is stopped, as by SIGSTOP", all[0].PID)
	case len(stopped) > 0:
		return fmt.Errorf("%s stopped, as by SIGSTOP", are("process", stopped))
	case len(unreaped) > 0:
		return fmt.Errorf("%s dead, and not reaped by its parent", are("process", unreaped))
	}
	main, rest := all[0], slices.DeleteFunc(slices.Clone(all[1:]), func(p Process) bool { return p.Zombie })
	switch {
	case f.Backend != "":
		return f.sawBackend(now, main, rest)
	case f.Workers:
		return f.sawWorkers(main, rest)
	default:
		return nil
	}
}

// sawBackend looks for one that stays.
func (f *Family) sawBackend(now time.Time, main Process, rest []Process) error {
	if now.Sub(f.last) > settled {
		f.came = 0 // one may have come, stayed and gone meanwhile
	}
	f.last = now
	young := youngest(main, rest)
	if young != nil && young.Age >= settled {
		f.came, f.newest = 0, young.PID
		return nil
	}
	if young != nil && young.PID != f.newest {
		if f.came++; f.came == 1 {
			f.since = now
		}
		f.newest = young.PID
	}
	switch {
	case f.came >= newcomers:
		return fmt.Errorf("%s ends and is started again: %d of them seen in %s, none for long", f.Backend, f.came, now.Sub(f.since).Round(time.Second))
	case young == nil:
		return fmt.Errorf("no %s runs behind it", f.Backend)
	default:
		return nil
	}
}

// youngest gives the youngest of the processes behind a service, but what they have started
// themselves; of several the new one is what a reload leaves.
func youngest(main Process, rest []Process) (young *Process) {
	for i, p := range rest {
		if isBehind(p, main, rest) && (young == nil || p.Age < young.Age) {
			young = &rest[i]
		}
	}
	return young
}

// isBehind tells whether a process is the service's backend, and not what one has started.
func isBehind(p, main Process, rest []Process) bool {
	return p.Parent == main.PID || !slices.ContainsFunc(rest, func(q Process) bool { return q.PID == p.Parent })
}

// sawWorkers looks whether any is left. dramatiq handles SIGTERM once all of its workers have
// been started, and Celery just before; a HUP has dramatiq end them and execute itself anew
// (dramatiq/cli.py, main, 1.17; celery/apps/worker.py, on_start, 5.5). So a main process that
// does not handle it boots, and its children are helpers. On gVisor, whose /proc knows no
// handlers, nothing is said.
func (f *Family) sawWorkers(main Process, rest []Process) error {
	if !main.CatchesTERM {
		f.grown = false
		return nil
	}
	some := slices.ContainsFunc(rest, func(p Process) bool { return p.Parent == main.PID })
	f.grown = f.grown || some
	if f.grown && !some {
		return fmt.Errorf("its main process, pid %d, has no worker processes any more", main.PID)
	}
	return nil
}

// unreaped gives the zombies that have been seen for longer than any parent needs.
func (f *Family) unreaped(now time.Time, all []Process) []int {
	seen := map[int]time.Time{}
	for _, p := range all {
		if !p.Zombie || !f.missed(p, all) {
			continue
		}
		seen[p.PID] = now
		if since, before := f.zombies[p.PID]; before {
			seen[p.PID] = since
		}
	}
	f.zombies = seen
	return pidsOf(all, func(p Process) bool {
		since, counts := seen[p.PID]
		return counts && now.Sub(since) >= unreaped
	})
}

// missed tells whether the service lacks a dead process: a child of the main process or of the
// backend, which look after their workers. What a worker starts is the worker's own affair. Of
// workers' siblings one that is older than all who live does not count: dramatiq, executed anew
// after a HUP, never hears of the forks that it had before.
func (f *Family) missed(dead Process, all []Process) bool {
	main, rest := all[0], all[1:]
	if f.Workers {
		return dead.Parent == main.PID && slices.ContainsFunc(rest, func(p Process) bool {
			return p.Parent == main.PID && !p.Zombie && p.Age >= dead.Age
		})
	}
	return dead.Parent == main.PID || slices.ContainsFunc(rest, func(p Process) bool {
		return p.PID == dead.Parent && isBehind(p, main, rest)
	})
}

func pidsOf(all []Process, which func(Process) bool) (pids []int) {
	for _, p := range all {
		if which(p) {
			pids = append(pids, p.PID)
		}
	}
	return pids
}

// are says how many, and names some: "process 12 is", "5 processes (12, 13, 14 …) are".
func are(what string, pids []int) string {
	if len(pids) == 1 {
		return fmt.Sprintf("%s %d is", what, pids[0])
	}
	var names []string
	for _, pid := range pids[:min(3, len(pids))] {
		names = append(names, strconv.Itoa(pid))
	}
	more := ""
	if len(pids) > len(names) {
		more = " …"
	}
	return fmt.Sprintf("%d %ses (%s%s) are", len(pids), what, strings.Join(names, ", "), more)
}
