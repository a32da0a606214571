package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ak-init/bench/clock"
	"ak-init/prepare"
)

// ownedDirs times ownedFiles is how many files there are; all belong to the children
// already, as at every start but the first.
const ownedDirs, ownedFiles, ownershipRuns = 1000, 100, 7

// owned is whose they are.
const owned = 1000

// owner is one way to see to a tree's ownership, with what it took.
type owner struct {
	name string
	see  func(context.Context, string) (cpu time.Duration, err error)
	// back is what it takes to write to disk what was changed, whole the sum with wall.
	wall, cpu, back, whole samples
}

// measureOwnership looks through a tree in which nothing is wrong, again and again, in
// memory and on disk.
func measureOwnership(ctx context.Context, _ *bed) (f finding, err error) {
	if os.Geteuid() != 0 {
		t := &table{title: "Ownership"}
		t.note("Not measured: only root gives files away.")
		return finding{[]*table{t}, []bound{ownershipBound("in memory", math.NaN(), inMemory), ownershipBound("on disk", math.NaN(), onDisk)}}, nil
	}
	for _, place := range []struct {
		name, dir string
		limit     float64
	}{{"in memory", "/dev/shm", inMemory}, {"on disk", "/var/tmp", onDisk}} {
		t, b, err := ownershipIn(ctx, place.name, place.dir, place.limit)
		if err != nil {
			return f, fmt.Errorf("%s: %w", place.dir, err)
		}
		f.tables, f.bounds = append(f.tables, t), append(f.bounds, b)
	}
	return f, nil
}

// Both ways make one system call a file, and most of either is the kernel's looking for its
// name: what can be gained is the writing, and another core.
const inMemory, onDisk = 1.5, 2

func ownershipBound(place string, value, limit float64) bound {
	return bound{what: "chown -R until all is written / ak-init's look, " + place, value: value, limit: limit, atLeast: true}
}

func ownershipIn(ctx context.Context, name, place string, limit float64) (t *table, b bound, err error) {
	dir, err := os.MkdirTemp(place, "ak-bench-")
	if err != nil {
		return nil, b, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := plant(dir); err != nil {
		return nil, b, err
	}
	ours := &owner{name: "ak-init", see: seeOurs}
	theirs := &owner{name: "`chown -R`", see: seeTheirs}
	before, err := changed(dir)
	if err != nil {
		return nil, b, err
	}
	for i := range ownershipRuns {
		if err := ours.run(ctx, dir); err != nil {
			return nil, b, err
		}
		if i == 0 { // later it is chown that has written
			if after, err := changed(dir); err != nil || after != before {
				return nil, b, errors.Join(err, errors.New("ak-init has written to a tree in which nothing is wrong"))
			}
		}
		if err := theirs.run(ctx, dir); err != nil {
			return nil, b, err
		}
	}
	t = &table{
		title: fmt.Sprintf("Ownership of %d files in %d directories, nothing wrong, %s", ownedDirs*ownedFiles, ownedDirs, name),
		head:  []string{"from first to last", "runs", "median ms", "min", "cpu ms", "/ ak-init", "to write back, ms", "with that / ak-init"},
	}
	for _, o := range []*owner{ours, theirs} {
		t.row(o.name, strconv.Itoa(len(o.wall)), ms(o.wall.median()), ms(o.wall.quantile(0)), ms(o.cpu.median()),
			times(ratio(o.wall.median(), ours.wall.median())), ms(o.back.median()), times(ratio(o.whole.median(), ours.whole.median())))
	}
	return t, ownershipBound(name, ratio(theirs.whole.median(), ours.whole.median()), limit), nil
}

func (o *owner) run(ctx context.Context, dir string) error {
	if err := writeBack(dir); err != nil { // nobody pays for what was before
		return err
	}
	begin := clock.Now()
	cpu, err := o.see(ctx, dir)
	seen := clock.Now()
	err = errors.Join(err, writeBack(dir))
	end := clock.Now()
	o.wall, o.cpu = append(o.wall, seen-begin), append(o.cpu, cpu)
	o.back, o.whole = append(o.back, end-seen), append(o.whole, end-begin)
	return err
}

func writeBack(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	return unix.Syncfs(int(d.Fd()))
}

// seeOurs calls what ak-init is made of in this process: nothing of its start is in it.
func seeOurs(ctx context.Context, dir string) (time.Duration, error) {
	id := prepare.Identity{UID: owned, GID: owned, Groups: []int{owned}}
	before := cpuOf(unix.RUSAGE_SELF)
	r := prepare.Tree{Path: dir, For: "a benchmark"}.Own(ctx, id, prepare.FixWrong, nil)
	cpu := cpuOf(unix.RUSAGE_SELF) - before
	if r.Looked != 1+ownedDirs*(1+ownedFiles) || r.Wrong+r.Failed > 0 {
		return 0, fmt.Errorf("%+v", r)
	}
	return cpu, nil
}

func seeTheirs(ctx context.Context, dir string) (time.Duration, error) {
	cmd := exec.CommandContext(ctx, "chown", "-R", fmt.Sprintf("%d:%d", owned, owned), dir)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	if err != nil {
		return 0, err
	}
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), nil
}

func cpuOf(who int) time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(who, &u) // it fails for a bad argument only
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func plant(dir string) error {
	if err := os.Chown(dir, owned, owned); err != nil {
		return err
	}
	for d := range ownedDirs {
		below := filepath.Join(dir, strconv.Itoa(d))
		if err := errors.Join(os.Mkdir(below, 0o750), os.Chown(below, owned, owned)); err != nil {
			return err
		}
		for n := range ownedFiles {
			file := filepath.Join(below, strconv.Itoa(n))
			if err := errors.Join(os.WriteFile(file, nil, 0o640), os.Chown(file, owned, owned)); err != nil {
				return err
			}
		}
	}
	return nil
}

// changed sums up when inodes were last written.
func changed(dir string) (sum int64, err error) {
	err = filepath.Walk(dir, func(_ string, info os.FileInfo, err error) error {
		if err == nil {
			sum += info.Sys().(*syscall.Stat_t).Ctim.Nano()
		}
		return err
	})
	return sum, err
}
