package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"ak-init/prepare"
	"ak-init/supervise"
	"ak-init/testdata/postgres"
	"ak-init/testdata/standin/layout"
)

// TestMain makes this test binary ak-init itself when it is called by that name, so
// that what the tests run is what they were built from, race detector included.
func TestMain(m *testing.M) {
	testscript.Main(beds{m}, map[string]func(){ownName: main, scriptName: main, pauseName: main, supervise.GuardName: main})
}

// beds are a run of tests, behind which the servers that they had are ended, and what was built
// for them is removed.
type beds struct{ *testing.M }

func (b beds) Run() int {
	defer postgres.Close()
	code := b.M.Run()
	if dir, err := buildDir(); err == nil {
		_ = os.RemoveAll(dir)
	}
	return code
}

// TestScript runs testdata/script/*.txtar: bad input, and what is printed.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			// Short, since sockets lie below it, and nothing of the machine's own.
			env.Setenv("TMPDIR", filepath.Join(env.WorkDir, "t"))
			env.Setenv("STANDIN_RECORD", filepath.Join(env.WorkDir, "record"))
			env.Setenv("AUTHENTIK_SECRET_KEY", "canary-of-the-scripts")
			env.Setenv("UID", strconv.Itoa(os.Geteuid()))
			env.Setenv("GID", strconv.Itoa(os.Getegid()))
			akInit, err := exec.LookPath("ak-init")
			if err != nil {
				return err
			}
			env.Setenv("AKINIT", akInit)
			env.Setenv("AK_INIT_WAIT_DATABASE", "0") // there is none
			return errors.Join(os.Mkdir(filepath.Join(env.WorkDir, "t"), 0o700), os.Mkdir(filepath.Join(env.WorkDir, "record"), 0o700))
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"claimed": claimed,
			"exits":   exits,
			"layout":  layOut,
			"listens": func(ts *testscript.TestScript, _ bool, args []string) {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				ts.Check(err)
				ts.Defer(func() { _ = l.Close() })
				ts.Setenv(args[0], l.Addr().String())
			},
			"mkfifo": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Check(syscall.Mkfifo(ts.MkAbs(args[0]), 0o600))
			},
			"nothing": nothing,
			"oneline": oneLineOnly,
			"socket":  socket,
		},
		Condition: func(name string) (bool, error) {
			if flags, ok := strings.CutPrefix(name, "unshare:"); ok { // whether such namespaces can be had
				return exec.Command("unshare", "-"+flags, "true").Run() == nil, nil
			}
			if name == "root" {
				return os.Geteuid() == 0, nil
			}
			return false, fmt.Errorf("unknown condition %q", name)
		},
	})
}

// exits CODE PROGRAM [ARG...] runs a program and wants this exit code.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		code = exit.ExitCode()
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
}

// layout image|rust|two|checkout|nix|nixpkgs DIR lays the stand-in out; of nix, $STORE and $SERVER
// are set, of nixpkgs $SERVER. two are the programs of 2026.5.
func layOut(ts *testscript.TestScript, _ bool, args []string) {
	standin, err := standIn()
	ts.Check(err)
	dir := ts.MkAbs(args[1])
	switch args[0] {
	case "image":
		ts.Check(layout.Image(dir, standin))
		return
	case "rust", "two":
		ts.Check(errors.Join(layout.Image(dir, standin), layout.Rust(dir, standin, args[0] == "two")))
		return
	case "checkout":
		ts.Check(layout.Checkout(dir, standin))
		return
	case "nixpkgs":
		bin, err := layout.Nixpkgs(dir, standin)
		ts.Check(err)
		ts.Setenv("SERVER", bin)
		return
	}
	nix, err := layout.Nix(dir, standin)
	ts.Check(err)
	ts.Setenv("STORE", nix.Django)
	ts.Setenv("SERVER", nix.ServerBin)
}

// nothing started|left: no child was recorded; TMPDIR is as empty as it was.
func nothing(ts *testscript.TestScript, _ bool, args []string) {
	dir := map[string]string{"started": ts.Getenv("STANDIN_RECORD"), "left": ts.Getenv("TMPDIR")}[args[0]]
	entries, err := os.ReadDir(dir)
	ts.Check(err)
	if len(entries) > 0 {
		ts.Fatalf("%s holds %v", dir, entries)
	}
}

// oneline wants exactly one line on stderr that holds no stack trace.
func oneLineOnly(ts *testscript.TestScript, _ bool, _ []string) {
	text := ts.ReadFile("stderr")
	if strings.Count(text, "\n") != 1 || regexp.MustCompile(`goroutine|panic`).MatchString(text) {
		ts.Fatalf("not one line: %q", text)
	}
}

// claimed DIR claims it, as a live ak-init does.
func claimed(ts *testscript.TestScript, _ bool, args []string) {
	claim, err := prepare.Take(ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Defer(claim.Release)
}

// socket live|dead PATH makes one on which somebody listens, or which a killed server left.
func socket(ts *testscript.TestScript, _ bool, args []string) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: ts.MkAbs(args[1]), Net: "unix"})
	ts.Check(err)
	if args[0] == "live" {
		ts.Defer(func() { _ = l.Close() })
		return
	}
	l.SetUnlinkOnClose(false)
	ts.Check(l.Close())
}
