package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// idleWindow is how long context switches are counted.
const idleWindow = 60 * time.Second

// idler is one init with a child that sleeps, and what it has.
type idler struct {
	name string
	*process
	// members are the init and its helpers, without the child.
	members      []int
	pss, dirty   int64
	before, done int64
}

const (
	idleAkInit  = "ak-init run"
	idleGuarded = "ak-init run and its guard, outside PID 1"
)

func measureIdle(ctx context.Context, b *bed) (f finding, err error) {
	all, missing, err := b.startIdlers(ctx)
	defer func() {
		for _, i := range all {
			i.kill()
		}
	}()
	if err != nil {
		return f, err
	}
	if err := awaitCalm(ctx, all); err != nil {
		return f, err
	}
	for _, i := range all {
		if i.pss, i.dirty, err = memory(i.members); err != nil {
			return f, err
		}
	}
	for _, i := range all {
		if i.before, err = switches(i.members); err != nil {
			return f, err
		}
	}
	select {
	case <-ctx.Done():
		return f, ctx.Err()
	case <-time.After(idleWindow):
	}
	for _, i := range all {
		if i.done, err = switches(i.members); err != nil {
			return f, err
		}
	}
	t := idleTable(all, b.asPID1)
	t.noteMissing(missing)
	return finding{[]*table{t}, idleBounds(all)}, nil
}

// startIdlers starts all of them, as PID 1 where that can be, and ak-init outside as well.
func (b *bed) startIdlers(ctx context.Context) (all []*idler, missing []string, err error) {
	peers, missing := b.peers()
	add := func(name string, p peer, pid1 bool) error {
		r, err := b.startSleeper(ctx, p, pid1)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, &idler{name: name, process: r, members: family(r.pid(), b.sleeper)})
		return nil
	}
	for _, p := range peers {
		if p.name == akInitRun {
			if err := add(idleGuarded, b.ownFile(p), false); err != nil {
				return all, missing, err
			}
			if !b.asPID1 {
				continue
			}
			p = b.ownFile(p)
		}
		if err := add(p.name, p, b.asPID1); err != nil {
			return all, missing, err
		}
	}
	return all, missing, nil
}

// startSleeper waits until the child below the init says that it is there.
func (b *bed) startSleeper(ctx context.Context, p peer, pid1 bool) (*process, error) {
	argv, err := p.command(b, pid1, b.sleeper)
	if err != nil {
		return nil, err
	}
	r, err := b.startBeside(ctx, pid1, argv)
	if err != nil {
		return nil, err
	}
	if _, err := r.read(make([]byte, 1)); err != nil {
		r.kill()
		return nil, err
	}
	return r, nil
}

// ownFile gives a candidate a copy of the binary: of a file that two candidates map, each
// would be charged for half.
func (b *bed) ownFile(p peer) peer {
	command := p.command
	p.command = func(b *bed, pid1 bool, program ...string) ([]string, error) {
		argv, err := command(b, pid1, program...)
		if err != nil {
			return nil, err
		}
		dir, err := b.tempDir()
		if err != nil {
			return nil, err
		}
		from := argv[0]
		argv[0] = filepath.Join(dir, "ak-init")
		return argv, copySynced(argv[0], from)
	}
	return p
}

// copySynced makes a file whose pages are clean: until they are on the disk, whoever maps
// them would be charged for them as for what he has written himself.
func copySynced(to, from string) error {
	raw, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o700)
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	return errors.Join(err, f.Sync(), f.Close())
}

// awaitCalm waits until nobody starts any more: a second in which none has more switches
// than those who look around once a second have.
func awaitCalm(ctx context.Context, all []*idler) error {
	const polling = 4
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		calm := true
		for _, i := range all {
			n, err := switches(i.members)
			if err != nil {
				return err
			}
			calm = calm && i.before != 0 && n-i.before <= polling
			i.before = n
		}
		if calm {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return errors.New("somebody does not become idle")
}

func idleTable(all []*idler, pid1 bool) *table {
	t := &table{
		title: "Idle with a sleeping child, as PID 1",
		head:  []string{"init and its helpers", "processes", "Pss KiB", "private dirty KiB", fmt.Sprintf("context switches in %.0f s", idleWindow.Seconds()), "Pss / tini"},
	}
	if !pid1 {
		t.title = "Idle with a sleeping child, as an ordinary process"
	}
	var reference int64
	for _, i := range all {
		if i.name == tini {
			reference = i.pss
		}
	}
	for _, i := range all {
		t.row(i.name, fmt.Sprint(len(i.members)), fmt.Sprint(i.pss/1024), fmt.Sprint(i.dirty/1024),
			fmt.Sprint(i.done-i.before), times(ratio(i.pss, reference)))
	}
	return t
}

func idleBounds(all []*idler) (bounds []bound) {
	for _, i := range all {
		if i.name == idleAkInit || i.name == idleGuarded {
			bounds = append(bounds,
				bound{what: "idle Pss in bytes, " + i.name, value: float64(i.pss), limit: 6e6},
				bound{what: fmt.Sprintf("context switches in %.0f s, %s", idleWindow.Seconds(), i.name), value: float64(i.done - i.before), limit: 0})
		}
	}
	return bounds
}
