package main

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"time"

	"ak-init/bench/clock"
)

// orphanCount is how many orphans there are in one run; a stream takes longer than a burst.
const orphanCount, burstRuns, streamRuns = 10_000, 5, 3

// reaper is one init with what it took it to reap.
type reaper struct {
	peer
	burst, stream reaping
}

// reaping is of one kind of orphans; cpu is the init's own.
type reaping struct{ wall, cpu samples }

func measureReaping(ctx context.Context, b *bed) (f finding, err error) {
	peers, missing := b.peers()
	var all []*reaper
	for _, p := range peers {
		if p.supervisor || p.name == dumbInit && !b.asPID1 {
			continue
		}
		all = append(all, &reaper{peer: p})
	}
	for i := range burstRuns {
		for _, r := range all {
			err := r.run(ctx, b, "burst", &r.burst)
			if err == nil && i < streamRuns {
				err = r.run(ctx, b, "stream", &r.stream)
			}
			if err != nil {
				return f, fmt.Errorf("%s: %w", r.name, err)
			}
		}
	}
	f = reapingFinding(all, b.asPID1)
	f.tables[len(f.tables)-1].noteMissing(missing)
	return f, nil
}

// run lets the helper make orphans; it says what that took, and ends, and so does the init.
func (r *reaper) run(ctx context.Context, b *bed, kind string, to *reaping) error {
	argv, err := r.command(b, b.asPID1, b.orphans, kind, strconv.Itoa(orphanCount))
	if err != nil {
		return err
	}
	p, err := b.start(ctx, b.asPID1, nil, argv...)
	if err != nil {
		return err
	}
	line, err := p.line()
	if err != nil {
		p.kill()
		return err
	}
	var wall, cpu int64
	if _, err := fmt.Sscan(line, &wall, &cpu); err != nil {
		p.kill()
		return fmt.Errorf("%q: %w", line, err)
	}
	to.wall, to.cpu = append(to.wall, time.Duration(wall)), append(to.cpu, time.Duration(cpu))
	return p.wait()
}

// line reads one line from its stdout.
func (p *process) line() (string, error) {
	var text []byte
	for end := clock.Now() + patience; clock.Now() < end; {
		var c [1]byte
		if _, err := p.read(c[:]); err != nil {
			return "", err
		}
		if text = append(text, c[0]); c[0] == '\n' {
			break
		}
	}
	return string(bytes.TrimSpace(text)), nil
}

func reapingFinding(all []*reaper, pid1 bool) (f finding) {
	as := "as PID 1"
	if !pid1 {
		as = "as child subreaper"
	}
	for _, kind := range []struct {
		name string
		of   func(*reaper) reaping
	}{
		{"in a burst", func(r *reaper) reaping { return r.burst }},
		{"in a stream", func(r *reaper) reaping { return r.stream }},
	} {
		t := &table{
			title: fmt.Sprintf("Reaping %d orphans %s, %s", orphanCount, kind.name, as),
			head:  []string{"until the last is reaped", "runs", "median ms", "min", "/ tini", "init's cpu, µs an orphan", "cpu / tini"},
		}
		var reference, ours reaping
		for _, r := range all {
			switch r.name {
			case tini:
				reference = kind.of(r)
			case akInitRun:
				ours = kind.of(r)
			}
		}
		for _, r := range all {
			o := kind.of(r)
			t.row(r.name, fmt.Sprint(len(o.wall)), ms(o.wall.median()), ms(o.wall.quantile(0)), times(ratio(o.wall.median(), reference.wall.median())),
				us(o.cpu.median()/orphanCount), times(ratio(o.cpu.median(), reference.cpu.median())))
		}
		f.tables = append(f.tables, t)
		f.bounds = append(f.bounds, bound{
			what: fmt.Sprintf("reaping %d orphans %s / tini's", orphanCount, kind.name), value: ratio(ours.wall.median(), reference.wall.median()), limit: 2,
		})
	}
	if last := f.tables[len(f.tables)-1]; !pid1 {
		last.note("dumb-init is left out: it reaps orphans as PID 1 only.")
	}
	return f
}
