package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"ak-init/health"
)

// How often, and for how long, one ak-init is asked.
const (
	askedEvery = 10 * time.Millisecond
	askedFor   = 10 * time.Second
)

// measureAsked asks for live and for ready, each a hundred times a second over the socket, and
// takes what ak-init's processor time is meanwhile.
func measureAsked(ctx context.Context, b *bed) (f finding, err error) {
	server, env, err := b.startWhole(ctx)
	if err != nil {
		return f, err
	}
	defer server.kill()
	check := &runner{name: akInitHealth, command: fixed(b.akInit, "healthcheck", "--started"), env: env, whole: true}
	if err := b.awaitHealthy(ctx, check); err != nil {
		return f, err
	}
	t := &table{
		title: fmt.Sprintf("Asked every %d ms for %.0f s", askedEvery.Milliseconds(), askedFor.Seconds()),
		head:  []string{"question", "asked", "ak-init's cpu ms", "cpu µs a question", "% of a core"},
	}
	f.tables = []*table{t}
	socket := fmt.Sprintf("%s/ak-init-%d-server/sock", server.tmpdir, unix.Geteuid())
	for _, q := range []health.Question{health.Live, health.Ready} {
		asked, cpu, took, err := askAgainAndAgain(ctx, socket, q, server.pid())
		if err != nil {
			return f, err
		}
		share := ratio(cpu, took)
		t.row(string(q), fmt.Sprint(asked), ms(cpu), us(cpu/time.Duration(asked)), fmt.Sprintf("%.2f", 100*share))
		f.bounds = append(f.bounds, bound{
			what:  fmt.Sprintf("%% of a core that ak-init takes, asked for %s %d times a second", q, time.Second/askedEvery),
			value: 100 * share, limit: 5,
		})
	}
	return f, nil
}

func askAgainAndAgain(ctx context.Context, socket string, q health.Question, pid int) (asked int, cpu, took time.Duration, err error) {
	before, err := processorTime(pid)
	if err != nil {
		return 0, 0, 0, err
	}
	var askers sync.WaitGroup
	var unwell atomic.Int64
	begin := time.Now()
	tick := time.NewTicker(askedEvery)
	defer tick.Stop()
	for ; time.Since(begin) < askedFor && ctx.Err() == nil; <-tick.C {
		asked++
		askers.Go(func() {
			if a, err := health.Ask(socket, q, patience); err != nil || !a[0].Healthy {
				unwell.Add(1)
			}
		})
	}
	askers.Wait()
	took = time.Since(begin)
	after, err := processorTime(pid)
	if n := unwell.Load(); n > 0 {
		err = errors.Join(err, fmt.Errorf("%d of %d are not told that all is well", n, asked))
	}
	return asked, after - before, took, errors.Join(err, ctx.Err())
}

// processorTime is the processor time that all threads of a process have had. The number of such a clock
// is made of the pid (man 3 clock_getcpuclockid; include/linux/posix-timers_types.h,
// MAKE_PROCESS_CPUCLOCK).
func processorTime(pid int) (time.Duration, error) {
	const scheduled = 2 // CPUCLOCK_SCHED
	var t unix.Timespec
	err := unix.ClockGettime(int32(^pid<<3|scheduled), &t)
	return time.Duration(t.Nano()), err
}
