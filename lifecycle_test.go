package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ak-init/prepare"
)

func TestServerFromStartToStop(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.env = append(s.env, "WORKSPACE_DIR=/", "KEEP=two words")
	r := s.start("server")
	s.awaitHealth(0, "--started")
	for _, question := range []string{"--live", "--ready"} {
		if code, said := s.health(question); code != 0 || said != "healthy: server ready\n" {
			t.Errorf("%s: %d, %q", question, code, said)
		}
	}

	server := s.starts("server")
	if len(server) != 1 || len(s.starts("python")) != 0 {
		t.Fatalf("started: %+v and python %+v; want one server and no python", server, s.starts("python"))
	}
	got := server[0]
	if diff := cmp.Diff([]string{"authentik"}, got.Argv); diff != "" {
		t.Errorf("argv (-want +got):\n%s", diff)
	}
	want := map[string]string{
		"TMPDIR":                   s.tmpdir,
		"PROMETHEUS_MULTIPROC_DIR": s.tmpdir + "/authentik_prometheus_tmp",
		"PATH":                     fmt.Sprintf("%[1]s/lifecycle:%[1]s/ak-root/.venv/bin:%[1]s/bin:/usr/local/bin:/usr/bin:/bin", s.root),
		"VENV_PATH":                s.root + "/ak-root/.venv",
		"PYTHONDONTWRITEBYTECODE":  "1",
		"PYTHONUNBUFFERED":         "1",
		"STANDIN_RECORD":           s.record,
		"AUTHENTIK_LISTEN__HTTP":   s.address,
		"AUTHENTIK_SECRET_KEY":     "canary-of-the-scene",
		"AK_INIT_ROOT":             s.root,
		"AK_INIT_LOG_LEVEL":        "debug",
		"AK_INIT_WAIT_DATABASE":    "0",
		"KEEP":                     "two words",
	}
	if diff := cmp.Diff(want, got.Env); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
	if got.Cwd != s.root || got.UID != os.Geteuid() || got.PPID != r.Process.Pid {
		t.Errorf("directory %s, uid %d, parent %d; want %s, %d, %d", got.Cwd, got.UID, got.PPID, s.root, os.Geteuid(), r.Process.Pid)
	}
	if mode, err := os.ReadFile(s.tmpdir + "/authentik-mode"); err != nil || string(mode) != "server\n" {
		t.Errorf("mode file: %q, %v", mode, err)
	}

	r.stop()
	s.nothingLeft()
	// By --tmpdir nobody else's ak-init on this machine is asked.
	if code, said := s.health("--tmpdir", s.tmpdir); code != 1 || !strings.HasPrefix(said, "unhealthy: authentik not running") {
		t.Errorf("after the end: %d, %q", code, said)
	}
	left, _ := filepath.Glob(s.tmpdir + "/ak-init*")
	if mode, err := os.Stat(s.tmpdir + "/authentik-mode"); err == nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", mode, left)
	}
}

// TestRealGunicornFinishesItsRequest has the same with the real one, and under dumb-init.
func TestStopLosesNoRequest(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	r := s.start("server")
	s.awaitHealth(0, "--started")
	answer := s.get("/slow?for=700ms")
	s.awaitEvent("request begin")
	r.signal(syscall.SIGTERM)
	if got := <-answer; got.status != 200 || got.body != "done" {
		t.Errorf("the client has %+v, want 200 done", got)
	}
	if code := r.exitCode(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	// gunicorn had ended before the server was told. Events are in order of time.
	all := s.events("")
	ended := slices.IndexFunc(all, func(e string) bool { return strings.Contains(e, " gunicorn ") && strings.HasSuffix(e, " exit 0") })
	told := slices.IndexFunc(all, func(e string) bool { return strings.Contains(e, " server ") && strings.HasSuffix(e, " signal TERM") })
	if ended < 0 || told < ended {
		t.Errorf("gunicorn ended at %d, the server was told at %d:\n%s", ended, told, strings.Join(all, "\n"))
	}
	s.nothingLeft()
}

func TestServerIsNotReadyWhileItStops(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	r := s.start("server", "--stop-delay", "2s")
	s.awaitHealth(0, "--started")
	answer := s.get("/slow?for=3s")
	s.awaitEvent("request begin")
	r.signal(syscall.SIGINT)
	said := s.awaitHealth(1, "--ready")
	if !strings.Contains(said, "server stopping") {
		t.Errorf("ready: %q", said)
	}
	if code, said := s.health("--live"); code != 0 {
		t.Errorf("live: %d, %q; an orderly stop is never shot", code, said)
	}
	if got := <-s.get("/still"); got.status != 200 {
		t.Errorf("in the stop delay it answers %+v", got)
	}
	if got := <-answer; got.status != 200 {
		t.Errorf("the client has %+v", got)
	}
	if code := r.exitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestBootIsLiveAndNotReady(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.env = append(s.env, "STANDIN_GUNICORN_DELAY=1h")
	r := s.start("server")
	s.awaitEvent("gunicorn")
	s.awaitHealth(0, "--live")
	for _, q := range []string{"--ready", "--started"} {
		if code, said := s.health(q); code != 1 || !strings.Contains(said, "server starting: ") {
			t.Errorf("%s: %d, %q", q, code, said)
		}
	}
	// gunicorn has no handlers yet: TERM kills it, the server starts another at once, and
	// that one is ended as well.
	r.stop()
	s.nothingLeft()
}

func TestExitCodeIsTheServices(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.env = append(s.env, "STANDIN_SERVER_EXIT=42")
	r := s.start("server")
	if code := r.exitCode(); code != 42 {
		t.Errorf("exit code %d, want 42", code)
	}
	s.nothingLeft()
}

func TestServiceKilledBySignal(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	r := s.start("server")
	s.awaitHealth(0, "--started")
	s.must(syscall.Kill(s.starts("server")[0].PID, syscall.SIGKILL))
	if code := r.exitCode(); code != 137 {
		t.Errorf("exit code %d, want 137", code)
	}
	if !strings.Contains(r.logs.String(), `"signal":"SIGKILL"`) {
		t.Error("the log does not say why")
	}
	s.nothingLeft()
}

func TestWorkerFromStartToStop(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.env = append(s.env, "AUTHENTIK_BOOTSTRAP_TOKEN=canary", "STANDIN_BOOTSTRAP_EXIT=1", "STANDIN_WORKER_TASK=500ms")
	// A pid file of an earlier run whose pid is somebody's by now.
	s.must(os.WriteFile(s.tmpdir+"/authentik-worker.pid", []byte("1\n"), 0o644))
	s.env = append(s.env, "AK_INIT_USER="+uid())
	r := s.start("worker", "two words", "--", "--watch")
	s.awaitHealth(0, "--started")
	worker, bootstrap := s.starts("worker"), s.starts("bootstrap")
	if len(worker) == 0 || len(bootstrap) != 1 || bootstrap[0].Start > worker[0].Start {
		t.Fatalf("started: worker %+v, bootstrap %+v", worker, bootstrap)
	}
	want := []string{"python", "-m", "manage", "worker", "--pid-file", s.tmpdir + "/authentik-worker.pid", "two words", "--watch"}
	if diff := cmp.Diff(want, worker[0].Argv); diff != "" {
		t.Errorf("argv (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"python", "-m", "manage", "apply_blueprint", "system/bootstrap.yaml"}, bootstrap[0].Argv); diff != "" {
		t.Errorf("bootstrap (-want +got):\n%s", diff)
	}
	if worker[0].Cwd != s.root || worker[0].Env["AUTHENTIK_BOOTSTRAP_TOKEN"] != "canary" {
		t.Errorf("the worker runs in %s with %q", worker[0].Cwd, worker[0].Env["AUTHENTIK_BOOTSTRAP_TOKEN"])
	}
	s.awaitEvent("task begin")
	r.stop()
	if len(s.events("task end")) != 1 || len(s.events("task dropped")) != 0 {
		t.Errorf("the task was not finished:\n%s", strings.Join(s.events(""), "\n"))
	}
	if strings.Contains(r.logs.String(), "canary") {
		t.Error("a secret is in the log")
	}
	s.nothingLeft()
}

func TestSecondInstanceIsRefused(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	first := s.start("server")
	s.awaitHealth(0, "--live")
	second := s.start("server")
	if code := second.exitCode(); code != exitConfig {
		t.Errorf("exit code %d, want %d", code, exitConfig)
	}
	if !strings.Contains(second.logs.String(), "another ak-init") {
		t.Errorf("it says %s", second.logs.String())
	}
	if code, said := s.health("--live"); code != 0 {
		t.Errorf("the first one is %q", said)
	}
	first.signal(syscall.SIGTERM)
	first.exitCode()
}

func TestWorkerRunningUnderAnotherInitIsNotTouched(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pidFile := s.tmpdir + "/authentik-worker.pid"
	s.env = append(s.env, "AK_INIT_USER="+uid())
	other := s.startOther([]string{s.root + "/ak-root/.venv/bin/python", "-m", "manage", "worker", "--pid-file", pidFile})
	s.awaitHealth(0, "worker") // asked directly: there is no ak-init
	r := s.start("worker")
	if code := r.exitCode(); code != exitConfig {
		t.Errorf("exit code %d, want %d", code, exitConfig)
	}
	if raw, err := os.ReadFile(pidFile); err != nil || strings.TrimSpace(string(raw)) != fmt.Sprint(other.Process.Pid) {
		t.Errorf("its pid file holds %q, %v", raw, err)
	}
	other.signal(syscall.SIGTERM)
	other.exitCode()
}

// Without ak-init's socket authentik itself is asked, as "authentik healthcheck" does.
func TestHealthcheckWithoutAkInit(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.env = append(s.env, "PATH="+s.root+"/ak-root/.venv/bin:/usr/bin:/bin")
	if code, said := s.health("server"); code != 1 || !strings.Contains(said, "refused") {
		t.Errorf("nobody listens: %d, %q", code, said)
	}
	other := s.startOther([]string{s.root + "/bin/authentik"})
	s.awaitHealth(0, "server")
	s.must(os.WriteFile(s.tmpdir+"/authentik-mode", []byte("server"), 0o644)) // 2026.8 writes no newline
	if code, said := s.health(); code != 0 {
		t.Errorf("with the mode found in its file: %d, %q", code, said)
	}
	other.signal(syscall.SIGTERM)
	other.exitCode()
}

func TestUSR2ReplacesGunicornAndTheStopFindsTheNewOne(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	r := s.start("server")
	s.awaitHealth(0, "--started")
	before := len(s.starts("gunicorn"))
	r.signal(syscall.SIGUSR2)
	first := s.starts("gunicorn")[0].PID
	s.await("a new gunicorn", func() bool { return syscall.Kill(first, 0) != nil && len(s.starts("gunicorn")) > before })
	s.awaitHealth(0, "--ready")
	answer := s.get("/slow?for=500ms")
	s.awaitEvent("request begin")
	r.signal(syscall.SIGTERM)
	if got := <-answer; got.status != 200 {
		t.Errorf("the client has %+v", got)
	}
	if code := r.exitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	s.nothingLeft()
}

// asNobody runs the scene as uid 65534, which owns its TMPDIR and nothing else.
func asNobody(t *testing.T, s *scene) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to become uid 65534")
	}
	s.wrap = []string{"setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"}
	s.must(os.Chown(s.tmpdir, 65534, 65534))
}

func TestUID65534(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	asNobody(t, s)
	t.Run("a data directory of somebody else is refused in one line", func(t *testing.T) {
		r := s.start("server", "--log-format", "console")
		if code := r.exitCode(); code != exitCannotWrite {
			t.Errorf("exit code %d, want %d", code, exitCannotWrite)
		}
		for _, want := range []string{s.root + "/data (uploads): permission denied", "owned by 0:0, mode 0755", "uid 65534, gid 65534", "chown it to 65534:65534"} {
			if !strings.Contains(r.logs.String(), want) {
				t.Errorf("%q does not say %q", r.logs.String(), want)
			}
		}
		if entries, _ := os.ReadDir(s.tmpdir); len(entries) > 0 || len(s.starts("server")) > 0 {
			t.Errorf("left %v, started %v", entries, s.starts("server"))
		}
	})
	t.Run("its own data directory will do", func(t *testing.T) {
		s.must(os.Chown(s.root+"/data", 65534, 65534), os.Chown(s.root+"/media", 65534, 65534))
		r := s.start("server")
		s.awaitHealth(0, "--started")
		if got := s.starts("server")[0]; got.UID != 65534 || got.GID != 65534 {
			t.Errorf("runs as %d:%d", got.UID, got.GID)
		}
		if code, said := func() (int, string) {
			root := *s
			root.wrap = nil
			return root.health() // docker exec -u 0
		}(); code != 0 {
			t.Errorf("root asks and hears %q", said)
		}
		r.stop()
	})
}

func TestRootWorkerGivesItsPlaceToAnotherUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root to give it up")
	}
	s := newScene(t)
	s.env = append(s.env, "HOME=/root")
	t.Run("which has to exist", func(t *testing.T) {
		r := s.start("worker", "--user", "no-such-user")
		if code := r.exitCode(); code != exitNoPermission {
			t.Errorf("exit code %d, want %d", code, exitNoPermission)
		}
	})
	t.Run("which it must be allowed to become", func(t *testing.T) {
		bare := *s
		bare.wrap = []string{"setpriv", "--bounding-set=-setuid,-setgid", "--inh-caps=-all"}
		r := bare.start("worker", "--user", "4711")
		if code := r.exitCode(); code != exitNoPermission || !strings.Contains(r.logs.String(), "capabilities SETUID and SETGID") {
			t.Errorf("exit code %d, want %d", code, exitNoPermission)
		}
	})
	t.Run("and gets what it needs", func(t *testing.T) {
		s.must(os.Chown(s.tmpdir, 4711, 4712), os.Chown(s.root+"/media", 4711, 4712)) // data/media is a link to it
		r := s.start("worker", "--user", "4711:4712")
		s.awaitHealth(0, "--started")
		got := s.starts("worker")[0]
		if got.Env["TMPDIR"] != s.tmpdir {
			t.Errorf("TMPDIR is %s, want %s", got.Env["TMPDIR"], s.tmpdir)
		}
		if got.UID != 4711 || got.GID != 4712 || slices.Contains(got.Groups, 0) || got.Env["HOME"] != got.Env["TMPDIR"] {
			t.Errorf("runs as %d:%d %v with HOME=%s", got.UID, got.GID, got.Groups, got.Env["HOME"])
		}
		info, err := os.Stat(s.root + "/data")
		s.must(err)
		if st := info.Sys().(*syscall.Stat_t); st.Uid != 4711 || info.Mode().Perm() != 0o775 {
			t.Errorf("/data belongs to %d, mode %o", st.Uid, info.Mode().Perm())
		}
		r.stop()
	})
}

func TestSomebodyElsesUserWithoutRoot(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	asNobody(t, s)
	r := s.start("server", "--user", "0")
	if code := r.exitCode(); code != exitNoPermission {
		t.Errorf("exit code %d, want %d", code, exitNoPermission)
	}
}

func TestTempDirThatIsMissing(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.env = slices.DeleteFunc(s.env, func(e string) bool { return strings.HasPrefix(e, "TMPDIR=") })
	s.env = append(s.env, "TMPDIR="+s.dir+"/new")
	r := s.start("server")
	s.awaitHealth(0, "--started")
	if got := s.starts("server")[0].Env["TMPDIR"]; got != s.dir+"/new" {
		t.Errorf("TMPDIR is %s", got)
	}
	r.signal(syscall.SIGTERM)
	r.exitCode()
	if _, err := os.Stat(s.dir + "/new"); errors.Is(err, os.ErrNotExist) {
		t.Error("what the child may have written was thrown away")
	}
}

// A directory that looks writable and is not: an immutable one, since faccessat2's EPERM
// may be a seccomp filter's and is not believed.
func TestTempDirThatCannotBeWrittenAfterAll(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	if out, err := exec.Command("chattr", "+i", s.tmpdir).CombinedOutput(); err != nil {
		t.Skipf("cannot make a directory immutable here: %v %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("chattr", "-i", s.tmpdir).Run() })
	t.Run("is not replaced where a flag named it", func(t *testing.T) {
		r := s.start("server", "--tmpdir", s.tmpdir)
		if code := r.exitCode(); code != exitCannotWrite || !strings.Contains(r.logs.String(), "cannot write to "+s.tmpdir) {
			t.Errorf("exit code %d", code)
		}
	})
	t.Run("is replaced by the next of the chain", func(t *testing.T) {
		next := s.dir + "/next"
		s.must(os.Mkdir(next, 0o700))
		o, err := parse([]string{"server", "--root", s.root}, []string{"TMPDIR=" + s.tmpdir, "XDG_RUNTIME_DIR=" + next})
		s.must(err)
		failed := map[string]error{"/dev/shm": errors.New("x"), "/tmp": errors.New("x"), "/var/tmp": errors.New("x")}
		for _, want := range []string{s.tmpdir, next} {
			f, err := survey(o, failed, prepare.NewReader(prepare.Bound))
			s.must(err)
			p, err := makePlan(o, f)
			if err != nil || p.TempDir.Path != want {
				t.Fatalf("planned %s, %v; want %s", p.TempDir.Path, err, want)
			}
			ready, err := apply(p, nil)
			ready.undo()
			fault, isTempDir := errors.AsType[tempDirError](err)
			if isTempDir != (want == s.tmpdir) {
				t.Fatalf("%s: %v", want, err)
			}
			failed[want] = fault
		}
	})
}

// What was made for a start that is refused goes again.
func TestRefusalLeavesNothing(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.env = append(s.env, "TMPDIR="+s.dir+"/x/tmp", "PROMETHEUS_MULTIPROC_DIR="+s.dir+"/y/metrics", "AK_INIT_NO_FLAG=1")
	r := s.start("server", "--strict")
	if code := r.exitCode(); code != exitConfig {
		t.Errorf("exit code %d, want %d", code, exitConfig)
	}
	for _, dir := range []string{"/x", "/y"} {
		if _, err := os.Stat(s.dir + dir); err == nil {
			t.Errorf("%s was left", dir)
		}
	}
}

// Server and worker in one TMPDIR: the mode file is whose it was last.
func TestModeFileOfAnotherStays(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	r := s.start("server")
	s.awaitHealth(0, "--live")
	s.must(os.WriteFile(s.tmpdir+"/authentik-mode", []byte("worker\n"), 0o644))
	r.signal(syscall.SIGTERM)
	r.exitCode()
	if raw, err := os.ReadFile(s.tmpdir + "/authentik-mode"); err != nil || string(raw) != "worker\n" {
		t.Errorf("it holds %q, %v", raw, err)
	}
}

func TestWhatIsThereIsToldAllAtOnce(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	asNobody(t, s)
	s.env = append(s.env, "PROMETHEUS_MULTIPROC_DIR="+s.root+"/certs", "AUTHENTIK_STORAGE__REPORTS__FILE__PATH="+s.root+"/bin")
	r := s.start("server", "--log-format", "console")
	if code := r.exitCode(); code != exitCannotWrite {
		t.Errorf("exit code %d", code)
	}
	for _, path := range []string{"/certs (metric files)", "/data (uploads)", "/bin (uploads)"} {
		if !strings.Contains(r.logs.String(), s.root+path) {
			t.Errorf("nothing about %s in\n%s", path, r.logs.String())
		}
	}
}

func TestHealthcheckWithNobodyToReadItsLine(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	r, w, err := os.Pipe()
	s.must(err, r.Close())
	cmd := exec.Command(s.akInit, "healthcheck", "--tmpdir", s.tmpdir)
	cmd.Env, cmd.Stderr = s.env, w
	_ = cmd.Run()
	s.must(w.Close())
	if code := cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("%v, want exit code 1", cmd.ProcessState)
	}
}
