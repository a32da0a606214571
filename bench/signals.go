package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"ak-init/bench/clock"
)

// Each candidate gets so many signals, in blocks, after a block that does not count.
const signalsEach, signalBlock = 2000, 100

// signalPause is between two signals: everybody is asleep again when the next comes, as
// with signals that mean something.
const signalPause = time.Millisecond

// receiver is one init with the program that takes the signals.
type receiver struct {
	name string
	*process
	late samples
}

// direct has no init: the floor.
const direct = "no init, straight to the program"

func measureSignals(ctx context.Context, b *bed) (f finding, err error) {
	all, missing, err := b.startReceivers(ctx)
	defer func() {
		for _, r := range all {
			r.kill()
		}
	}()
	if err != nil {
		return f, err
	}
	for sent := -signalBlock; sent < signalsEach; sent += signalBlock {
		for _, r := range all {
			late, err := r.block(ctx)
			if err != nil {
				return f, fmt.Errorf("%s: %w", r.name, err)
			}
			if sent >= 0 {
				r.late = append(r.late, late...)
			}
		}
	}
	t := signalTable(all, b.asPID1)
	t.noteMissing(missing)
	return finding{[]*table{t}, []bound{{
		what:  "signal forwarding, median / tini's",
		value: ratio(lateOf(all, akInitRun).median(), lateOf(all, tini).median()), limit: 2,
	}}}, nil
}

// startReceivers starts them all; what is started is to be ended even if the error says
// that something was not.
func (b *bed) startReceivers(ctx context.Context) (all []*receiver, missing []string, err error) {
	peers, missing := b.peers()
	none := func(*bed, bool, ...string) ([]string, error) { return []string{b.receiver}, nil }
	for _, p := range append([]peer{{name: direct, command: none}}, peers...) {
		if p.supervisor {
			continue
		}
		r, err := b.startReceiver(ctx, p)
		if err != nil {
			return all, missing, fmt.Errorf("%s: %w", p.name, err)
		}
		all = append(all, &receiver{name: p.name, process: r})
	}
	return all, missing, nil
}

// startReceiver waits until the program below the init says that it is there.
func (b *bed) startReceiver(ctx context.Context, p peer) (*process, error) {
	argv, err := p.command(b, b.asPID1, b.receiver)
	if err != nil {
		return nil, err
	}
	r, err := b.startBeside(ctx, b.asPID1, argv)
	if err != nil {
		return nil, err
	}
	if _, err := r.report(); err != nil {
		r.kill()
		return nil, err
	}
	return r, nil
}

// startBeside starts a candidate with a TMPDIR of its own, since it runs beside others.
func (b *bed) startBeside(ctx context.Context, pid1 bool, argv []string) (*process, error) {
	dir, err := b.tempDir()
	if err != nil {
		return nil, err
	}
	return b.start(ctx, pid1, []string{"TMPDIR=" + dir}, argv...)
}

// report is the moment that the program says.
func (p *process) report() (time.Duration, error) {
	var message [8]byte
	_, err := p.read(message[:])
	return time.Duration(binary.NativeEndian.Uint64(message[:])), err
}

// block sends signals one at a time.
func (r *receiver) block(ctx context.Context) (samples, error) {
	var late samples
	pause := unix.NsecToTimespec(signalPause.Nanoseconds())
	for range signalBlock {
		_ = unix.Nanosleep(&pause, nil) // on this thread, that wakes up as it will to send
		begin := clock.Now()
		if err := unix.Kill(r.pid(), unix.SIGUSR1); err != nil {
			return nil, err
		}
		at, err := r.report()
		if err != nil {
			return nil, err
		}
		late = append(late, at-begin)
	}
	return late, ctx.Err()
}

func signalTable(all []*receiver, pid1 bool) *table {
	t := &table{
		title: "Signal forwarding as PID 1",
		head:  []string{"from kill to the program", "signals", "p50 µs", "p99 µs", "p50 / tini", "p50 less direct, / tini"},
	}
	if !pid1 {
		t.title = "Signal forwarding as an ordinary process"
	}
	floor, reference := lateOf(all, direct).median(), lateOf(all, tini).median()
	for _, r := range all {
		own := nothing
		if r.name != direct {
			own = times(ratio(r.late.median()-floor, reference-floor))
		}
		t.row(r.name, fmt.Sprint(len(r.late)), us(r.late.median()), us(r.late.quantile(0.99)),
			times(ratio(r.late.median(), reference)), own)
	}
	t.note("dumb-init sends to the program's whole process group, which has one member here. s6 and supervisord " +
		"are left out: s6-svscan and supervisord take signals as orders to themselves and hand none on.")
	return t
}

func lateOf(all []*receiver, name string) samples {
	for _, r := range all {
		if r.name == name {
			return r.late
		}
	}
	return nil
}
