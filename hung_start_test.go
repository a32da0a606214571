package main

import (
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// within wants an end, or whatever else has just come, no later than this after the start.
func (r *running) within(begin time.Time, most time.Duration, what string) {
	r.t.Helper()
	if took := time.Since(begin); took > most {
		r.t.Errorf("%s came after %s, want %s at most", what, took.Round(time.Millisecond), most)
	}
}

// A directory of PATH on a server that is gone is passed over by ak-init. (What its children
// do with it is theirs: it comes last here.)
func TestHungDirectoryInPathIsPassedOver(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	dir := hungDir(s)
	s.must(os.Remove(s.root + "/ak-root/.venv/bin/gunicorn"))
	s.env = append(s.env, "PATH="+strings.Join([]string{s.root + "/lifecycle", s.root + "/ak-root/.venv/bin", s.root + "/bin", dir}, ":"))
	begin := time.Now()
	r := s.start("check", "server")
	if code := r.exitCode(); code != exitConfig {
		t.Errorf("exit code %d, want %d", code, exitConfig)
	}
	r.within(begin, 9*time.Second, "the end")
	r.row("file-systems", "warning", dir)
	if !strings.Contains(r.logs.String(), "gunicorn: not found in PATH=") {
		t.Errorf("it says\n%s", r.logs.String())
	}
}

func TestHungRootIsRefused(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	dir := hungDir(s)
	begin := time.Now()
	r := s.start("server", "--root", dir)
	if code := r.exitCode(); code != exitConfig {
		t.Errorf("exit code %d, want %d", code, exitConfig)
	}
	r.within(begin, 9*time.Second, "the end")
	r.says(dir, "it does not answer within 5s", `"check":"layout"`)
	s.nothingLeft()
}

// The next of the chain is taken, aloud. It is a /dev/shm of its own: the machine's is for
// everybody.
func TestHungTempDirOfTheEnvironmentIsReplaced(t *testing.T) {
	s := asRoot(t)
	dir := hungDir(s)
	s.env = append(s.env, "TMPDIR="+dir)
	s.wrap = []string{"unshare", "-m", "sh", "-c", `mount -t tmpfs none /dev/shm && exec "$@"`, "sh"}
	begin := time.Now()
	r := s.start("server")
	r.awaitText(s, `"event":"child started"`)
	r.within(begin, 9*time.Second, "the start")
	s.await("the server", func() bool { return len(s.starts("server")) > 0 })
	if got := s.starts("server")[0].Env["TMPDIR"]; got != "/dev/shm" {
		t.Errorf("TMPDIR is %s", got)
	}
	r.says("cannot write to "+dir+" (TMPDIR in the environment): it does not answer within 5s", `"level":"warning"`, `"check":"tmpdir"`)
	s.awaitEvent("alive")

	// Who is asked has the same environment, and the directory holds him up no longer than it may.
	ask := func(wrap []string, words ...string) (code int, said string) {
		begin := time.Now()
		cmd := exec.Command(wrap[0], slices.Concat(wrap[1:], []string{s.akInit}, words)...)
		cmd.Env = s.env
		out, _ := cmd.CombinedOutput()
		r.within(begin, 3*time.Second, "the answer to "+words[0])
		return cmd.ProcessState.ExitCode(), string(out)
	}
	beside := []string{"nsenter", "-m", "-t", strconv.Itoa(r.Process.Pid)}
	s.await("healthy", func() bool {
		code, _ := ask(beside, "healthcheck", "--ready")
		return code == exitHealthy
	})
	if code, said := ask(beside, "status"); code != 0 || !strings.Contains(said, "server") {
		t.Errorf("status: %d, %s", code, said)
	}
	r.stop()
	if code, said := ask(s.wrap, "healthcheck", "worker"); code != exitUnhealthy || !strings.Contains(said, dir+" does not answer within 300ms; ") {
		t.Errorf("healthcheck, where nobody is: %d, %s", code, said)
	}
	if code, said := ask(s.wrap, "status", "worker"); code != exitUnavailable || !strings.Contains(said, dir+" does not answer within 300ms") {
		t.Errorf("status, where nobody is: %d, %s", code, said)
	}
}

// Certificates that cannot be looked at are authentik's own matter: the worker starts.
func TestHungCertificatesAreAWarning(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	dir := hungDir(s)
	s.env = append(s.env, "AK_INIT_USER="+uid(), "AUTHENTIK_CERT_DISCOVERY_DIR="+dir)
	begin := time.Now()
	r := s.start("worker")
	r.awaitText(s, `"event":"child started"`)
	r.within(begin, 12*time.Second, "the start")
	r.says(dir+" (certificates): it does not answer within 5s", `"level":"warning"`, "look at what is mounted there")
	s.awaitHealth(0, "--started")
	r.stop()
	s.nothingLeft()
}

func TestHungCertificatesDoNotHoldUpACheck(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	dir := hungDir(s)
	s.env = append(s.env, "AK_INIT_USER="+uid(), "AUTHENTIK_CERT_DISCOVERY_DIR="+dir)
	begin := time.Now()
	r := s.start("check", "worker")
	if code := r.exitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	r.within(begin, 12*time.Second, "the end")
	r.row("ownership", "warning", "it does not answer within 5s")
}

// Blueprints that do not answer are not said to be missing.
func TestHungBlueprintsAreNotMissing(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	dir := hungDir(s)
	s.env = append(s.env, "AK_INIT_USER="+uid(), "AUTHENTIK_BLUEPRINTS_DIR="+dir, "AUTHENTIK_BOOTSTRAP_TOKEN=canary")
	begin := time.Now()
	r := s.start("check", "worker")
	if code := r.exitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	r.within(begin, 14*time.Second, "the end")
	r.row("ownership", "warning", dir+" (blueprints): it does not answer within 5s")
	if said := r.logs.String(); strings.Contains(said, "missing") || strings.Contains(said, "has none") {
		t.Errorf("it says\n%s", said)
	}
}

// A Nix image's blueprints cannot be copied: the worker starts with those that it has.
func TestHungBlueprintsAreAWarning(t *testing.T) {
	t.Parallel()
	s, _ := newNixScene(t)
	dir := hungDir(s)
	s.env = slices.Concat(s.env, []string{"AUTHENTIK_BLUEPRINTS_DIR=" + dir})
	begin := time.Now()
	r := s.start("worker")
	r.awaitText(s, `"event":"child started"`)
	r.within(begin, 9*time.Second, "the start")
	r.says("cannot write to "+dir+" (built-in blueprints): it does not answer within 5s", `"level":"warning"`, "set AUTHENTIK_BLUEPRINTS_DIR to another one")
	s.awaitHealth(0, "--started")
	r.stop()
	s.nothingLeft()
}
