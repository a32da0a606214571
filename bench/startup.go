package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Start-up and health check are measured in turn, after a few runs that do not count; slow
// candidates have one run in slowEvery.
const warmUps, slowEvery = 5, 25

// runner is one thing whose run is measured from exec on.
type runner struct {
	name    string
	command func(pid1 bool) ([]string, error)
	env     []string
	// whole: its end counts, and not its first byte.
	whole bool
	// stays: it does not end by itself. Its processor time is not known then: part of it
	// is of helpers that nobody waits for.
	stays, slow bool
	wall, cpu   samples
}

// The first two runners of start-up, by place.
const (
	emptyProgram = iota
	serviceAlone
)

const (
	akInitServer = "ak-init server"
	scriptServer = "bash ak server"
)

func measureStartUp(ctx context.Context, b *bed) (finding, error) {
	var all finding
	for _, pid1 := range []bool{true, false} {
		if pid1 && !b.asPID1 {
			continue
		}
		runners, missing := b.startUpRunners()
		if err := b.inTurn(ctx, pid1, runners); err != nil {
			return all, err
		}
		t := startUpTable(pid1, runners)
		t.noteMissing(missing)
		if !b.asPID1 {
			t.note("Not measured as PID 1: %v.", b.whyNot)
		}
		all.tables = append(all.tables, t)
		all.bounds = append(all.bounds, startUpBounds(pid1, runners)...)
	}
	return all, nil
}

func (b *bed) startUpRunners() (all []*runner, missing []string) {
	all = []*runner{
		emptyProgram: {name: "empty Go program, whole run", command: fixed(b.empty), whole: true},
		serviceAlone: {name: "the service alone", command: fixed(b.service)},
	}
	peers, missing := b.peers()
	for _, p := range peers {
		all = append(all, &runner{
			name: p.name, slow: p.slow, stays: p.supervisor,
			command: func(pid1 bool) ([]string, error) { return p.command(b, pid1, b.service) },
		})
		if p.name == akInitRun {
			all = append(all, &runner{name: akInitServer, command: fixed(b.akInit, "server", "--root", b.quick)})
		}
	}
	// Python comes last, and the service that all others have is found before it.
	env := append(slices.Clip(b.pythonEnv), strings.Replace(b.pythonEnv[0], "PATH=", "PATH="+b.quick+"/bin:", 1))
	return append(all, &runner{name: scriptServer, command: fixed(b.script, "server"), env: env}), missing
}

func fixed(argv ...string) func(bool) ([]string, error) {
	return func(bool) ([]string, error) { return argv, nil }
}

// inTurn measures each of them once, and then each of them again.
func (b *bed) inTurn(ctx context.Context, pid1 bool, all []*runner) error {
	for i := range b.runs + warmUps {
		for _, r := range all {
			if r.slow && i%slowEvery != 0 {
				continue
			}
			wall, cpu, err := r.measure(ctx, b, pid1)
			if err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
			if i >= warmUps {
				r.wall, r.cpu = append(r.wall, wall), append(r.cpu, cpu)
			}
		}
	}
	return nil
}

func (r *runner) measure(ctx context.Context, b *bed, pid1 bool) (wall, cpu time.Duration, err error) {
	argv, err := r.command(pid1)
	if err != nil {
		return 0, 0, err
	}
	p, err := b.start(ctx, pid1, r.env, argv...)
	if err != nil {
		return 0, 0, err
	}
	var at time.Duration
	if r.whole {
		at, err = p.awaitEnd()
	} else {
		at, err = p.read(make([]byte, 1))
	}
	if err != nil {
		p.kill()
		return 0, 0, err
	}
	before, begin, err := p.stamp()
	if err != nil || r.stays {
		p.kill()
		return at - begin, 0, err
	}
	if err := p.wait(); err != nil {
		return 0, 0, err
	}
	state := p.cmd.ProcessState
	return at - begin, state.UserTime() + state.SystemTime() - before, nil
}

func startUpTable(pid1 bool, all []*runner) *table {
	t := &table{
		title: "Start-up as PID 1",
		head:  []string{"from exec to the first byte of the service", "runs", "median ms", "min", "p90", "cpu ms", "less the service's ms", "/ empty", "/ tini"},
	}
	if !pid1 {
		t.title = "Start-up as an ordinary process"
		t.note("Outside PID 1 ak-init starts a second process before the service: the guard, which ends " +
			"the service should ak-init be killed. The others have none.")
	}
	for i, r := range all {
		own, cpu := nothing, nothing
		if i > serviceAlone {
			own = ms(r.wall.median() - all[serviceAlone].wall.median())
		}
		if !r.stays {
			cpu = ms(r.cpu.median())
		}
		t.row(r.name, fmt.Sprint(len(r.wall)), ms(r.wall.median()), ms(r.wall.quantile(0)), ms(r.wall.quantile(0.9)), cpu, own,
			times(ratio(r.wall.median(), all[emptyProgram].wall.median())), times(ratio(r.wall.median(), wallOf(all, tini))))
	}
	return t
}

// wallOf is the median of the runner of that name, 0 where there is none.
func wallOf(all []*runner, name string) time.Duration {
	for _, r := range all {
		if r.name == name {
			return r.wall.median()
		}
	}
	return 0
}

func startUpBounds(pid1 bool, all []*runner) []bound {
	as := "as PID 1"
	if !pid1 {
		as = "as an ordinary process, guard included"
	}
	empty, alone := all[emptyProgram].wall.median(), all[serviceAlone].wall.median()
	own, script := wallOf(all, akInitServer)-alone, wallOf(all, scriptServer)-alone
	return []bound{
		{what: "exec of ak-init server to exec of the service / empty program, " + as, value: ratio(own, empty), limit: 4},
		{what: "the same of bash ak / of ak-init, " + as, value: ratio(script, own), limit: 1, atLeast: true},
	}
}
