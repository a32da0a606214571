package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"ak-init/testdata/standin/layout"
)

// releaseFlags are those that the Containerfile builds ak-init with: that is what is
// measured.
func releaseFlags() ([]string, error) {
	const file = "Containerfile"
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(raw)) {
		var argv []string
		list, ok := strings.CutPrefix(line, "RUN ")
		if !ok || json.Unmarshal([]byte(list), &argv) != nil {
			continue
		}
		if out := slices.Index(argv, "-o"); out > 2 && slices.Equal(argv[:2], []string{"go", "build"}) {
			return argv[2:out], nil
		}
	}
	return nil, errors.New("there is no go build in the " + file)
}

// helperFlags build what stands beside it.
func helperFlags() []string { return []string{"-trimpath", "-ldflags=-s -w"} }

// bed is where things run: binaries, two authentik roots, and their environment.
type bed struct {
	dir    string
	akInit string
	// programs of this directory
	empty, service, enter, receiver, orphans, sleeper, fileserver string
	// script is bash's way, and pythonEnv what it needs beside what all have; lacking are the
	// modules that its Python start should load and that are not there.
	script             string
	pythonEnv, lacking []string
	// quick has a server that only says that it runs; whole has the stand-in.
	quick, whole string
	env          []string
	// asPID1 tells that candidates can be PID 1 of a namespace; whyNot says why they cannot.
	asPID1 bool
	whyNot error
	// runs is how often start-up and health check are measured.
	runs int
	// live are our own children that run and are to be left alone.
	live map[int]bool
	// faults is the file that all candidates write their stderr to.
	faults *os.File
}

func newBed(ctx context.Context, runs int) (*bed, error) {
	dir, err := os.MkdirTemp("", "ak-bench-")
	if err != nil {
		return nil, err
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	b := &bed{
		dir: dir, runs: runs, akInit: in("ak-init"), empty: in("empty"), service: in("service"), enter: in("enter"),
		receiver: in("receiver"), orphans: in("orphans"), sleeper: in("sleeper"), fileserver: in("fileserver"), script: os.Getenv("AK_SCRIPT"),
		quick: in("quick"), whole: in("whole"), live: map[int]bool{},
	}
	// What outlives its init is re-parented to us, and b.sweep ends it.
	err = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	if err == nil {
		err = b.furnish(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, b.close())
	}
	return b, nil
}

func (b *bed) furnish(ctx context.Context) (err error) {
	if b.faults, err = os.OpenFile(b.dir+"/stderr", os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600); err != nil {
		return err
	}
	flags, err := releaseFlags()
	if err != nil {
		return err
	}
	if err := build(ctx, b.akInit, flags, "."); err != nil {
		return err
	}
	if err := build(ctx, b.dir+"/", helperFlags(), "./bench/empty", "./bench/service", "./bench/enter",
		"./bench/receiver", "./bench/orphans", "./bench/sleeper", "./bench/fileserver", "./testdata/standin"); err != nil {
		return err
	}
	if err := errors.Join(
		layout.Image(b.quick, b.service), layout.Image(b.whole, b.dir+"/standin"), os.Mkdir(b.dir+"/t", 0o700),
	); err != nil {
		return err
	}
	address, err := freeAddress()
	if err != nil {
		return err
	}
	b.env = []string{
		"PATH=" + b.quick + "/bin:/usr/local/bin:/usr/bin:/bin", "TMPDIR=" + b.dir + "/t",
		"AUTHENTIK_SECRET_KEY=bench", "PROMETHEUS_MULTIPROC_DIR=" + b.dir + "/t/metrics", "AUTHENTIK_LISTEN__HTTP=" + address,
		"AK_INIT_WAIT_DATABASE=0", // there is none
	}
	if err := b.python(ctx); err != nil {
		return err
	}
	if b.script == "" {
		b.script = b.dir + "/ak"
		if err := os.WriteFile(b.script, []byte(script), 0o755); err != nil {
			return err
		}
	}
	// While what was built, here and before, is written to disk, whoever makes a file waits for that.
	unix.Sync()
	b.whyNot = b.tryPID1(ctx)
	b.asPID1 = b.whyNot == nil
	return ctx.Err()
}

func build(ctx context.Context, out string, flags []string, packages ...string) error {
	cmd := exec.CommandContext(ctx, "go", slices.Concat([]string{"build"}, flags, []string{"-o", out}, packages)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("build %v: %w", packages, err)
	}
	return nil
}

// freeAddress is one that nobody listens on now.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// tryPID1 finds out whether this user may make PID namespaces.
func (b *bed) tryPID1(ctx context.Context) error {
	p, err := b.start(ctx, true, nil, b.empty)
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err
	}
	if err != nil {
		return err
	}
	return p.wait()
}

// close ends what still runs and removes all that was made.
func (b *bed) close() error {
	b.sweep()
	if b.faults != nil {
		_ = b.faults.Close()
	}
	return os.RemoveAll(b.dir)
}

// tempDir makes a TMPDIR of its own for a candidate that runs beside others.
func (b *bed) tempDir() (string, error) { return os.MkdirTemp(b.dir, "tmp-") }
