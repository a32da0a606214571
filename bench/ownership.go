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

// owned is whose the files are.
const owned = 1000

// answerTime is what a file server takes for an answer: one in the same data centre.
const answerTime = 500 * time.Microsecond

// place has a tree of dirs times files that all belong to the children already, as at every
// start but the first.
type place struct {
	name              string
	dirs, files, runs int
	// limit is by how much chown is to be slower.
	limit float64
	// plant makes the tree, and end what is left of it afterwards.
	plant func(context.Context, *bed, place) (dir string, end func() error, err error)
}

// Where all is in the kernel's caches both ways make one system call a file, and most of
// either is the kernel's looking for its name: what can be gained is the writing, and another
// core. A file server answers many as fast as one.
func places() []place {
	server := fmt.Sprintf("on a file server that takes %v for an answer", answerTime)
	return []place{
		{"in memory", 1000, 100, 7, 1.5, plantIn("/dev/shm")},
		{"on disk", 1000, 100, 7, 2, plantIn("/var/tmp")},
		{"on disk and in one directory", 1, 20_000, 7, 2, plantIn("/var/tmp")},
		{server, 10, 50, 3, 5, plantFar},
	}
}

// owner is one way to see to a tree's ownership, with what it took.
type owner struct {
	name string
	see  func(context.Context, string) (cpu time.Duration, err error)
	// back is what it takes to write to disk what was changed, whole the sum with wall.
	wall, cpu, back, whole samples
}

// measureOwnership looks through trees in which nothing is wrong, again and again.
func measureOwnership(ctx context.Context, b *bed) (f finding, err error) {
	for _, p := range places() {
		t, value, err := measureIn(ctx, b, p)
		if whyNot, ok := errors.AsType[*unmeasuredError](err); ok {
			t, value = &table{title: p.title()}, math.NaN()
			t.note("Not measured: %v.", whyNot)
		} else if err != nil {
			return f, fmt.Errorf("%s: %w", p.name, err)
		}
		f.tables = append(f.tables, t)
		f.bounds = append(f.bounds, bound{
			what: "chown -R until all is written / ak-init's look, " + p.name, value: value, limit: p.limit, atLeast: true,
		})
	}
	return f, nil
}

// unmeasuredError says why there is nothing to measure here.
type unmeasuredError struct{ why string }

func (e *unmeasuredError) Error() string { return e.why }

func (p place) title() string {
	return fmt.Sprintf("Ownership of %d × %d files %s, nothing wrong", p.dirs, p.files, p.name)
}

// entries are the files, their directories and what has those.
func (p place) entries() int { return 1 + p.dirs*(1+p.files) }

func measureIn(ctx context.Context, b *bed, p place) (t *table, value float64, err error) {
	if os.Geteuid() != 0 {
		return nil, 0, &unmeasuredError{"only root gives files away"}
	}
	dir, end, err := p.plant(ctx, b, p)
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, end()) }()
	ours := &owner{name: "ak-init", see: p.seeOurs}
	theirs := &owner{name: "`chown -R`", see: seeTheirs}
	before, err := changed(dir)
	if err != nil {
		return nil, 0, err
	}
	for i := range p.runs {
		if err := ours.run(ctx, dir); err != nil {
			return nil, 0, err
		}
		if i == 0 { // later it is chown that has written
			if after, err := changed(dir); err != nil || after != before {
				return nil, 0, errors.Join(err, errors.New("ak-init has written to a tree in which nothing is wrong"))
			}
		}
		if err := theirs.run(ctx, dir); err != nil {
			return nil, 0, err
		}
	}
	t = &table{
		title: p.title(),
		head:  []string{"from first to last", "runs", "median ms", "min", "cpu ms", "/ ak-init", "to write back, ms", "with that / ak-init"},
	}
	for _, o := range []*owner{ours, theirs} {
		t.row(o.name, strconv.Itoa(len(o.wall)), ms(o.wall.median()), ms(o.wall.quantile(0)), ms(o.cpu.median()),
			times(ratio(o.wall.median(), ours.wall.median())), ms(o.back.median()), times(ratio(o.whole.median(), ours.whole.median())))
	}
	return t, ratio(theirs.whole.median(), ours.whole.median()), nil
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
func (p place) seeOurs(ctx context.Context, dir string) (time.Duration, error) {
	id := prepare.Identity{UID: owned, GID: owned, Groups: []int{owned}}
	before := cpuOf(unix.RUSAGE_SELF)
	r := prepare.Tree{Path: dir, For: "a benchmark"}.Own(ctx, id, prepare.FixWrong, nil)
	cpu := cpuOf(unix.RUSAGE_SELF) - before
	if r.Looked != p.entries() || r.Wrong+r.Failed > 0 {
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

// plantIn makes a tree of real files in a directory below above.
func plantIn(above string) func(context.Context, *bed, place) (string, func() error, error) {
	return func(_ context.Context, _ *bed, p place) (string, func() error, error) {
		dir, err := os.MkdirTemp(above, "ak-bench-")
		if err != nil {
			return "", nil, err
		}
		end := func() error { return os.RemoveAll(dir) }
		if err := p.fill(dir); err != nil {
			return "", nil, errors.Join(err, end())
		}
		return dir, end, nil
	}
}

func (p place) fill(dir string) error {
	if err := os.Chown(dir, owned, owned); err != nil {
		return err
	}
	for d := range p.dirs {
		below := filepath.Join(dir, strconv.Itoa(d))
		if err := errors.Join(os.Mkdir(below, 0o750), os.Chown(below, owned, owned)); err != nil {
			return err
		}
		for n := range p.files {
			file := filepath.Join(below, strconv.Itoa(n))
			if err := errors.Join(os.WriteFile(file, nil, 0o640), os.Chown(file, owned, owned)); err != nil {
				return err
			}
		}
	}
	return nil
}

// plantFar mounts a tree of a file server, see bench/fileserver.
func plantFar(ctx context.Context, b *bed, p place) (string, func() error, error) {
	if _, err := os.Stat("/dev/fuse"); err != nil {
		return "", nil, &unmeasuredError{"there is no /dev/fuse"}
	}
	dir, err := os.MkdirTemp(b.dir, "far-")
	if err != nil {
		return "", nil, err
	}
	cmd := exec.CommandContext(ctx, b.fileserver, dir, strconv.Itoa(p.dirs), strconv.Itoa(p.files), strconv.Itoa(owned), answerTime.String())
	cmd.Stderr = b.faults
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	stdin, err1 := cmd.StdinPipe()
	stdout, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		return "", nil, err
	}
	end := func() error { return errors.Join(stdin.Close(), cmd.Wait()) }
	if _, err := stdout.Read(make([]byte, 1)); err != nil {
		return "", nil, &unmeasuredError{fmt.Sprintf("the file server has ended: %v", end())}
	}
	return dir, end, nil
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
