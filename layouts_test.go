package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ak-init/testdata/standin/layout"
)

// newRustScene is an image whose binary is Rust's; with goServer it is 2026.5's.
func newRustScene(t *testing.T, goServer bool) *scene {
	t.Helper()
	s := newScene(t)
	standin, err := standIn()
	s.must(err, layout.Rust(s.root, standin, goServer))
	s.env = append(s.env, "AUTHENTIK_WEB__PATH=/below/", "AK_INIT_USER="+uid()) // which moves nothing there
	return s
}

// said are the events of a role, without their times and pids.
func (s *scene) said(role, word string) []string {
	var all []string
	for _, e := range s.events(" " + role + " ") {
		if words := strings.Join(strings.Fields(e)[3:], " "); strings.HasPrefix(words, word) {
			all = append(all, words)
		}
	}
	return all
}

// The child of Rust's binary asks for its parent's pid to say that it is ready: nobody is in
// between. To ak-init such signals mean nothing, and they go no further. The stop is told to the
// main child alone, which tells its own.
func TestRustServices(t *testing.T) {
	t.Parallel()
	for command, child := range map[string]struct{ role, ready, word string }{
		"worker": {"rust-worker", "USR2", "python -m lifecycle.worker_process 1000 "},
		"server": {"rust-gunicorn", "USR1", "gunicorn --bind unix://"},
	} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			s := newRustScene(t, false)
			s.env = append(s.env, "AUTHENTIK_BOOTSTRAP_TOKEN=canary", "STANDIN_RUST_DELAY=200ms")
			r := s.start(command)
			s.awaitHealth(0, "--started")
			main, behind := s.starts("rust")[0], s.starts(child.role)[0]
			if !slices.Equal(main.Argv, []string{"authentik", command}) || main.PPID != r.Process.Pid || behind.PPID != main.PID {
				t.Errorf("%q has parent %d, its child %d", main.Argv, main.PPID, behind.PPID)
			}
			if line := strings.Join(behind.Argv, " "); !strings.HasPrefix(line, child.word) {
				t.Errorf("its child is %s", line)
			}
			if got := s.starts("bootstrap"); len(got) > 0 {
				t.Errorf("credentials are its own affair: %+v", got)
			}
			for _, sig := range []syscall.Signal{syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH} {
				r.signal(sig)
			}
			s.awaitEvent("signal WINCH") // behind which the others would have come
			if code, said := s.health("--ready"); code != 0 {
				t.Errorf("%d, %s", code, said)
			}
			if health := s.said("rust", "health"); len(health) == 0 || slices.ContainsFunc(health, func(e string) bool { return !strings.HasPrefix(e, "health /-/health/") }) {
				t.Errorf("asked by %q", health)
			}
			r.stop()
			s.nothingLeft()
			if diff := cmp.Diff([]string{"signal " + child.ready, "signal WINCH", "signal TERM"}, s.said("rust", "signal")); diff != "" {
				t.Errorf("signals (-want +got):\n%s", diff)
			}
			if got := s.said(child.role, "signal"); !slices.Equal(got, []string{"signal TERM"}) {
				t.Errorf("its child got %q", got)
			}
		})
	}
}

func TestRustEndsWithItsChild(t *testing.T) {
	t.Parallel()
	s := newRustScene(t, true)
	r := s.start("worker")
	s.awaitHealth(0, "--started")
	s.must(syscall.Kill(s.starts("rust-worker")[0].PID, syscall.SIGKILL))
	if code := r.exitCode(); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	s.nothingLeft()
}

// A child whose parent is gone has ak-init for one, and tells that one: the server of the same
// container, to which USR2 means a reload, hears nothing of it.
func TestAnOrphansMessageGoesNoFurther(t *testing.T) {
	t.Parallel()
	s := newRustScene(t, true)
	s.env = append(s.env, "STANDIN_RUST_DELAY=700ms", "AK_INIT_MIGRATE=never")
	r := s.start("all", "--restart", "always")
	s.await("a worker", func() bool { return len(s.starts("rust-worker")) > 0 })
	s.must(syscall.Kill(s.starts("rust")[0].PID, syscall.SIGKILL))
	s.awaitEvent(fmt.Sprintf("ready to %d", r.Process.Pid))
	s.awaitHealth(0, "--started")
	if got := s.starts("gunicorn"); len(got) != 1 {
		t.Errorf("gunicorn was started %d times", len(got))
	}
	if got := s.starts("server"); len(got) != 1 || !slices.Equal(got[0].Argv, []string{"authentik-server"}) {
		t.Errorf("servers: %+v", got)
	}
	r.stop()
	s.nothingLeft()
}

// Two services as everywhere, each with a socket of its own.
func TestAllOfRust(t *testing.T) {
	t.Parallel()
	s := newRustScene(t, false)
	r := s.start("all")
	s.awaitHealth(0, "--started")
	var got []string
	for _, one := range s.starts("rust") {
		got = append(got, fmt.Sprintf("%q %s", one.Argv, strings.TrimPrefix(one.Env["TMPDIR"], s.tmpdir)))
	}
	if diff := cmp.Diff([]string{`["authentik" "server"] /authentik-server`, `["authentik" "worker"] /authentik-worker`}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	r.stop()
	s.nothingLeft()
}

func TestRustWithoutAnInitIsAsked(t *testing.T) {
	t.Parallel()
	s := newRustScene(t, false)
	s.env = append(s.env, "PATH="+s.root+"/ak-root/.venv/bin:"+s.root+"/bin")
	r := s.startOther([]string{s.root + "/bin/authentik", "worker"})
	s.awaitHealth(0)
	if code, said := s.health("--ready", "worker"); code != 0 || said != "healthy: worker without ak-init\n" {
		t.Errorf("%d, %q", code, said)
	}
	r.signal(syscall.SIGTERM)
	_ = r.exitCode()
	if code, said := s.health("worker", "--tmpdir", s.tmpdir); code != 1 {
		t.Errorf("%d, %q", code, said)
	}
}

// lifecycle/ak is the binary itself: its words are the commands, and who it lets itself become is
// its own affair.
func TestRustEntryIsDelegatedTo(t *testing.T) {
	t.Parallel()
	s := newRustScene(t, false)
	s.env = append(s.env, "AK_INIT_USER=")
	s.must(os.Remove(s.root+"/lifecycle/ak"), os.Symlink("../bin/authentik", s.root+"/lifecycle/ak"))
	r := s.start("worker")
	s.awaitHealth(0, "--started")
	if got := s.starts("rust")[0]; !slices.Equal(got.Argv, []string{"authentik", "worker"}) || got.UID != os.Geteuid() {
		t.Errorf("runs %q as %d", got.Argv, got.UID)
	}
	r.stop()
}

// "go run" stays between ak-init and the server: gunicorn is found behind it all the same, and
// finishes its request first.
func TestCheckoutWithoutABinary(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	standin, err := standIn()
	s.must(err, os.RemoveAll(s.root), layout.Checkout(s.root, standin), os.Mkdir(s.dir+"/go", 0o755), os.Mkdir(s.dir+"/built", 0o755),
		os.Symlink(s.root+"/.venv/bin/python", s.dir+"/built/authentik"))
	s.must(os.WriteFile(s.dir+"/go/go", []byte("#!/bin/sh\necho \"$@\" >"+s.dir+"/words\n"+s.dir+"/built/authentik\n"), 0o755))
	s.env = append(s.env, "PATH="+s.dir+"/go:/usr/bin:/bin")
	r := s.start("server")
	s.awaitHealth(0, "--started")
	if words, err := os.ReadFile(s.dir + "/words"); string(words) != "run -v ./cmd/server/\n" {
		t.Errorf("go %s, %v", words, err)
	}
	if got := s.starts("gunicorn")[0]; got.Env["VIRTUAL_ENV"] != s.root+"/.venv" {
		t.Errorf("VIRTUAL_ENV is %s", got.Env["VIRTUAL_ENV"])
	}
	reply := s.get("/slow?for=1s")
	s.awaitEvent("request begin")
	r.signal(syscall.SIGTERM)
	if got := <-reply; got.err != nil || got.status != 200 {
		t.Errorf("the request: %+v", got)
	}
	if code := r.exitCode(); code != 128+int(syscall.SIGTERM) { // go's, which TERM ends
		t.Errorf("exit code %d", code)
	}
	s.nothingLeft()
}

func TestNixpkgsLayout(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	standin, err := standIn()
	s.must(err)
	bin, err := layout.Nixpkgs(s.dir, standin)
	s.must(err, os.Remove(s.root+"/manage.py"), os.RemoveAll(s.root+"/lifecycle"))
	s.env = slices.DeleteFunc(s.env, func(e string) bool { return strings.HasPrefix(e, "AK_INIT_ROOT=") })
	s.env = append(s.env, "PATH="+bin+":/usr/bin:/bin", "AUTHENTIK_STORAGE__FILE__PATH="+s.dir+"/data", "AK_INIT_USER="+uid())
	for role, argv0 := range map[string]string{"server": "authentik", "worker": "python"} {
		r := s.start(role)
		s.awaitHealth(0, "--started")
		if got := s.starts(role)[0]; filepath.Base(got.Cwd) != "site-packages" || got.Argv[0] != argv0 || got.Env["PYTHONUNBUFFERED"] != "1" {
			t.Errorf("%s runs %q in %s", role, got.Argv, got.Cwd)
		}
		r.stop()
	}
}

// What nobody knows is run through its own ak, and health is asked where authentik always answers.
func TestOwnAK(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.must(os.Remove(s.root+"/manage.py"), os.Rename(s.root+"/authentik", s.root+"/app"),
		os.WriteFile(s.root+"/lifecycle/ak", []byte("#!/bin/sh\necho \"$@\" >>"+s.dir+"/words\nexport PATH="+s.root+"/bin:"+s.root+"/ak-root/.venv/bin\n[ $1 = server ] && exec authentik\n"), 0o755))
	s.env = append(s.env, "AK_INIT_USER="+uid())
	r := s.start("server")
	s.awaitHealth(0, "--started")
	if words, err := os.ReadFile(s.dir + "/words"); string(words) != "server\n" {
		t.Errorf("ak %s, %v", words, err)
	}
	r.says(`"level":"warning"`, "lacks manage.py, authentik; it is started through "+s.root+"/lifecycle/ak", `"check":"layout"`)
	r.stop()
	s.nothingLeft()
}

// A link to ak-init by the name of ak would start itself.
func TestOwnAKIsNotAKInit(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.must(os.RemoveAll(s.root), os.MkdirAll(s.root+"/lifecycle", 0o755), os.Symlink(s.akInit, s.root+"/lifecycle/ak"))
	r := s.start("server")
	if code := r.exitCode(); code != exitConfig {
		t.Errorf("exit code %d", code)
	}
	r.says("lacks manage.py, authentik")
}
