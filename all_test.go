package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ak-init/supervise"
)

// status asks until somebody answers: on a loaded machine that may take more than once.
func (s *scene) status() (found []status) {
	s.t.Helper()
	s.await("a status", func() bool {
		cmd := exec.CommandContext(s.t.Context(), s.akInit, "status", "--output", "json")
		cmd.Env = s.env
		out, err := cmd.Output()
		if err != nil {
			return false
		}
		s.must(json.Unmarshal(out, &found))
		return len(found) > 0
	})
	return found
}

// newAllScene is a scene in which both services run, as ourselves.
func newAllScene(t *testing.T) *scene {
	t.Helper()
	s := newScene(t)
	s.env = append(s.env, "AK_INIT_USER="+uid(), "AUTHENTIK_LISTEN__METRICS="+freeAddress(t, s.dir+"metrics"))
	return s
}

func TestAllFromStartToStop(t *testing.T) {
	t.Parallel()
	s := newAllScene(t)
	s.env = append(s.env, "AUTHENTIK_BOOTSTRAP_TOKEN=canary", "STANDIN_WORKER_TASK=500ms")
	r := s.start("all")
	s.awaitHealth(0, "--started")
	if code, said := s.health("--ready"); code != 0 || said != "healthy: server ready\nhealthy: worker ready\n" {
		t.Errorf("ready: %d, %q", code, said)
	}
	if code, said := s.health("worker", "--ready"); code != 0 || said != "healthy: worker ready\n" {
		t.Errorf("the worker alone: %d, %q", code, said)
	}

	// Steps come first and once, in their order; then each has what is its own.
	var order []string
	for _, p := range s.starts("python") {
		order = append(order, strings.Join(p.Argv[1:], " "))
	}
	if diff := cmp.Diff([]string{"-m lifecycle.wait_for_db", "-m lifecycle.migrate"}, order); diff != "" {
		t.Errorf("before the services (-want +got):\n%s", diff)
	}
	server, worker, bootstrap := s.starts("server"), s.starts("worker"), s.starts("bootstrap")
	if len(server) != 1 || len(worker) != 1 || len(bootstrap) != 1 || bootstrap[0].Start > server[0].Start || s.starts("python")[1].Start > bootstrap[0].Start {
		t.Fatalf("started: server %+v, worker %+v, bootstrap %+v", server, worker, bootstrap)
	}
	for _, one := range []started{server[0], worker[0]} {
		dir := s.tmpdir + "/authentik-" + one.Role
		if one.Env["TMPDIR"] != dir || one.Env["PROMETHEUS_MULTIPROC_DIR"] != dir+"/authentik_prometheus_tmp" || one.Env["AUTHENTIK_SKIP_MIGRATIONS"] != "true" {
			t.Errorf("%s has TMPDIR=%s, PROMETHEUS_MULTIPROC_DIR=%s, AUTHENTIK_SKIP_MIGRATIONS=%s",
				one.Role, one.Env["TMPDIR"], one.Env["PROMETHEUS_MULTIPROC_DIR"], one.Env["AUTHENTIK_SKIP_MIGRATIONS"])
		}
	}
	if http := "AUTHENTIK_LISTEN__HTTP"; server[0].Env[http] != s.address || worker[0].Env[http] == s.address {
		t.Errorf("server and worker listen at %s and %s", server[0].Env[http], worker[0].Env[http])
	}

	got := s.status()
	if len(got) != 1 || got[0].Command != "all" || got[0].Phase != "ready" || len(got[0].Services) != 2 {
		t.Fatalf("status %+v", got)
	}
	for i, one := range []started{server[0], worker[0]} {
		if svc := got[0].Services[i]; svc.Name != one.Role || svc.PID != one.PID || svc.Phase != "ready" || svc.RSSKiB < 1000 || svc.Processes < 2 || svc.Restarts != 0 {
			t.Errorf("status of the %s: %+v", one.Role, svc)
		}
	}

	// The worker goes first, its task done; only then is gunicorn told.
	s.awaitEvent("task begin")
	answer := s.get("/slow?for=500ms")
	s.awaitEvent("request begin")
	r.stop()
	if got := <-answer; got.status != 200 {
		t.Errorf("the request has %+v", got)
	}
	s.inOrder("task end", "worker", "exit 0", "gunicorn", "signal TERM", "server", "signal TERM")
	s.nothingLeft()
}

// inOrder wants the stop of the worker, then of gunicorn, then of the server, each by
// its role and what is said of it.
func (s *scene) inOrder(task string, pairs ...string) {
	s.t.Helper()
	events := s.events("")
	last := slices.IndexFunc(events, func(e string) bool { return strings.Contains(e, task) })
	if last < 0 {
		s.t.Fatalf("no %q in\n%s", task, strings.Join(events, "\n"))
	}
	for i := 0; i < len(pairs); i += 2 {
		at := slices.IndexFunc(events[last:], func(e string) bool {
			return strings.Contains(e, " "+pairs[i]+" ") && strings.Contains(e, pairs[i+1])
		})
		if at < 0 {
			s.t.Fatalf("no %s %q behind line %d of\n%s", pairs[i], pairs[i+1], last, strings.Join(events, "\n"))
		}
		last += at
	}
}

func TestAllEndsWithTheCodeOfTheOneThatFailed(t *testing.T) {
	t.Parallel()
	s := newAllScene(t)
	s.env = append(s.env, "STANDIN_SERVER_EXIT=42")
	r := s.start("all")
	if code := r.exitCode(); code != 42 {
		t.Errorf("exit code %d, want the server's 42", code)
	}
	if !strings.Contains(r.logs.String(), `"ended":"server"`) || len(s.starts("worker")) != 1 {
		t.Error("the log does not say whose end it was")
	}
	s.nothingLeft()
}

func TestAllStartsNothingBehindAFailedMigration(t *testing.T) {
	t.Parallel()
	s := newAllScene(t)
	s.env = append(s.env, "STANDIN_MIGRATE_EXIT=3")
	r := s.start("all")
	if code := r.exitCode(); code != 3 {
		t.Errorf("exit code %d, want the migration's 3", code)
	}
	if len(s.starts("server"))+len(s.starts("worker")) != 0 {
		t.Error("a service was started")
	}
	s.nothingLeft()
}

func TestMigratingIsLiveAndNotReady(t *testing.T) {
	t.Parallel()
	s := newAllScene(t)
	s.env = append(s.env, "STANDIN_MIGRATE_DELAY=1h")
	r := s.start("all")
	s.await("the migration", func() bool { return len(s.starts("python")) == 2 })
	if code, said := s.health("--live"); code != 0 {
		t.Errorf("live: %q", said)
	}
	if code, said := s.health("--ready"); code != 1 || !strings.Contains(said, "unhealthy: server migrating") {
		t.Errorf("ready: %d, %q", code, said)
	}
	if got := s.status()[0]; got.Phase != "migrating" || got.Services[0].PID != 0 {
		t.Errorf("status %+v", got)
	}
	r.signal(syscall.SIGTERM)
	if code := r.exitCode(); code != 143 {
		t.Errorf("exit code %d, want the migration's 143", code)
	}
	s.nothingLeft()
}

// A server that dies is started again, with what it left gone before, while the worker
// goes on.
func TestServiceIsStartedAgain(t *testing.T) {
	t.Parallel()
	s := newAllScene(t)
	r := s.start("all", "--restart", "on-failure")
	s.awaitHealth(0, "--started")
	first := s.starts("server")[0]
	s.must(syscall.Kill(first.PID, syscall.SIGKILL))
	s.await("a second server", func() bool { return len(s.starts("server")) == 2 })
	s.awaitHealth(0, "--ready")
	got := s.status()[0].Services
	if last := got[0].LastExit; got[0].Restarts != 1 || last == nil || last.Signal != "SIGKILL" || last.Code != 137 || got[1].Restarts != 0 {
		t.Errorf("status %+v, last exit %+v", got, last)
	}
	if n := len(s.starts("worker")); n != 1 {
		t.Errorf("%d workers were started, want 1", n)
	}
	gunicorns := 0
	for _, left := range s.leftovers() {
		if strings.Contains(left.command, "gunicorn") && !strings.Contains(left.command, "--child") {
			gunicorns++
		}
	}
	if gunicorns > 2 { // master and worker process of the second server
		t.Errorf("of the first server is left: %v", s.leftovers())
	}
	r.stop()
	s.nothingLeft()
}

func TestRunIsAnInitForAnything(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.env = []string{"PATH=/usr/bin:/bin", "TMPDIR=" + s.tmpdir}
	for _, tt := range []struct {
		words []string
		code  int
		says  string
	}{
		{[]string{"run", "--", "sh", "-c", "exit 7"}, 7, "child exited"},
		{[]string{"run", "sh", "-c", "exit 0"}, 0, ""},
		{[]string{"run", "--success-exit", "143", "--", "sh", "-c", "kill -TERM $$"}, 0, ""},
		{[]string{"run", "--warn-on-reap", "--", "sh", "-c", "(sh -c 'exit 3' &); sleep 0.2"}, 0, `"event":"orphan reaped"`},
		{[]string{"run", "--restart", "on-failure", "--restart-limit", "1", "--", "sh", "-c", "exit 9"}, 9, "given up"},
		{[]string{"run", "--", "/etc/passwd"}, 126, "not executable"},
		{[]string{"run", "--", s.dir + "/nothing"}, 127, "not found"},
	} {
		r := s.start(tt.words...)
		if code := r.exitCode(); code != tt.code {
			t.Errorf("%q: exit code %d, want %d", tt.words, code, tt.code)
		}
		if said := r.logs.String(); !strings.Contains(said, tt.says) || tt.says == "" && said != "" {
			t.Errorf("%q says %q, want %q", tt.words, said, tt.says)
		}
	}
	if entries, err := os.ReadDir(s.tmpdir); err != nil || len(entries) > 0 {
		t.Errorf("left in TMPDIR: %v, %v", entries, err)
	}

	r := s.start("run", "--restart", "always", "--", "sleep", "1000")
	s.awaitHealth(0, "run")
	if code, said := s.health("--tmpdir", s.tmpdir); code != 1 {
		t.Errorf("a program of somebody's own answers for authentik: %q", said)
	}
	second := s.start("run", "sleep", "1000") // beside the first, unasked
	s.await("the second", func() bool { return childOf(second.Process.Pid) != 0 })
	if got := s.status()[0]; got.Command != "run" || got.Services[0].Name != "sleep" || got.Services[0].PID != childOf(r.Process.Pid) {
		t.Errorf("status %+v", got)
	}
	for _, r := range []*running{r, second} {
		r.signal(syscall.SIGTERM)
		if code := r.exitCode(); code != 143 {
			t.Errorf("exit code %d, want sleep's 143", code)
		}
	}
}

// childOf is a process's child that is not its guard, 0 for none.
func childOf(pid int) int {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid)) // the pattern is sound
	for _, file := range files {
		raw, _ := os.ReadFile(file)
		for word := range strings.FieldsSeq(string(raw)) {
			child, _ := strconv.Atoi(word)
			if line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", child)); err == nil && !strings.HasPrefix(string(line), supervise.GuardName) {
				return child
			}
		}
	}
	return 0
}

func TestStatusIsATableAndCanBeWatched(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.start("run", "--restart", "always", "--", "sh", "-c", "exit 3")
	s.await("a restart", func() bool { return len(s.status()) == 1 && s.status()[0].Services[0].Phase == "resting" })
	cmd := exec.CommandContext(t.Context(), s.akInit, "status")
	cmd.Env = s.env
	out, err := cmd.CombinedOutput()
	s.must(err)
	lines := strings.Split(string(out), "\n")
	if len(lines) != 4 || !strings.HasPrefix(lines[0], "ak-init "+version+" run, pid ") {
		t.Fatalf("it says\n%s", out)
	}
	if want := []string{"SERVICE", "PHASE", "PID", "UPTIME", "RESTARTS", "LAST", "EXIT", "RSS", "PROCESSES", "REASON"}; !slices.Equal(strings.Fields(lines[1]), want) {
		t.Errorf("head %q", lines[1])
	}
	if got := strings.Fields(lines[2]); !slices.Equal(got[:4], []string{"sh", "resting", "-", "-"}) || !slices.Equal(got[5:7], []string{"code", "3"}) {
		t.Errorf("row %q", lines[2])
	}

	watch := exec.Command(s.akInit, "status", "--watch", "--output", "json")
	watch.Env = s.env
	pages, err := watch.StdoutPipe()
	s.must(err, watch.Start())
	dec := json.NewDecoder(pages)
	for range 2 { // two drawings
		var found []status
		s.must(dec.Decode(&found))
		if len(found) != 1 {
			t.Errorf("watched %+v", found)
		}
	}
	s.must(watch.Process.Signal(syscall.SIGINT), watch.Wait())
}

// An orderly stop in the pause before a restart takes no time.
func TestStopInThePauseBeforeARestart(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	r := s.start("run", "--restart", "always", "--restart-limit", "0", "--stop-delay", "20s", "--", "sh", "-c", "exit 3")
	s.await("the third pause", func() bool { return strings.Count(r.logs.String(), "restart scheduled") >= 2 })
	begin := time.Now()
	r.signal(syscall.SIGTERM)
	if code := r.exitCode(); code != 3 {
		t.Errorf("exit code %d, want the last run's 3", code)
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
}

// A child that puts a link in the place of its TMPDIR does not lead root by it.
func TestRootIsNotLedByAServicesTempDir(t *testing.T) {
	t.Parallel()
	s := newAllScene(t)
	if os.Geteuid() != 0 {
		t.Skip("needs root: it tries what root is led to")
	}
	closed := s.dir + "/closed"
	s.must(os.Mkdir(closed, 0o700), os.Symlink(closed, s.tmpdir+"/authentik-worker"), os.Chown(s.tmpdir, 4711, 4711))
	r := s.start("all", "--user", "4711:4711", "--tmpdir", s.tmpdir)
	if code := r.exitCode(); code != exitCannotWrite {
		t.Errorf("exit code %d, want %d", code, exitCannotWrite)
	}
	if left, _ := os.ReadDir(closed); len(left) > 0 {
		t.Errorf("made %v in root's directory", left)
	}
	if want := "it is a link to " + closed; !strings.Contains(r.logs.String(), want) {
		t.Errorf("it does not say %q", want)
	}
	s.nothingLeft()
}
