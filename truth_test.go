package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"ak-init/health"
	"ak-init/supervise"
)

// awaitNotLive waits until the threshold is over and liveness says why.
func (s *scene) awaitNotLive(r *running, reason string) {
	s.t.Helper()
	s.await("liveness that fails", func() bool {
		code, said := s.health("--live")
		return code == 1 && strings.Contains(said, reason)
	})
	s.await("the reason in the log", func() bool {
		for line := range strings.Lines(r.logs.String()) {
			if strings.Contains(line, "service is not live") && strings.Contains(line, reason) {
				return true
			}
		}
		return false
	})
}

// childrenOf gives the processes that a process has started, in that order: dramatiq's workers
// before its forks.
func (s *scene) childrenOf(pid int) (pids []int) {
	s.t.Helper()
	for _, m := range supervise.FamilyOf(pid, "") {
		if m.Parent == pid {
			pids = append(pids, m.PID)
		}
	}
	slices.Sort(pids)
	return pids
}

// mainOf gives a service's main process.
func (s *scene) mainOf() int {
	s.t.Helper()
	status := s.status()
	if len(status) != 1 || len(status[0].Services) != 1 {
		s.t.Fatalf("status %+v", status)
	}
	return status[0].Services[0].PID
}

func (s *scene) kill(pid int, sig syscall.Signal) {
	s.t.Helper()
	s.must(syscall.Kill(pid, sig))
}

// Each is a server or worker that looks alive from without, and does nothing.

// newTruthScene waits for 2 s before it calls a service not live, in the place of 30.
func newTruthScene(t *testing.T) *scene {
	t.Helper()
	s := newRealScene(t)
	s.env = append(s.env, "AK_INIT_LIVE_THRESHOLD=2s")
	return s
}

func TestTruthGunicornThatComesAndGoes(t *testing.T) {
	t.Parallel()
	s := newTruthScene(t)
	s.env = append(s.env, "REAL_BOOT_FAILS=1", "REAL_BOOT_DELAY=1")
	r := s.start("server")
	s.awaitNotLive(r, "gunicorn ends and is started again")
	r.stop()
	s.nothingLeft()
}

func TestTruthGunicornThatIsGone(t *testing.T) {
	t.Parallel()
	s := newTruthScene(t)
	r := s.start("server")
	s.awaitHealth(0, "--ready")
	masters := s.childrenOf(s.mainOf())
	if len(masters) != 1 {
		t.Fatalf("the server has the children %v, want gunicorn alone", masters)
	}
	s.kill(masters[0], syscall.SIGTERM) // it ends with 0, and the server does not start it again
	s.awaitNotLive(r, "no gunicorn runs")
	r.stop()
	s.nothingLeft()
}

func TestTruthGunicornThatIsStopped(t *testing.T) {
	t.Parallel()
	s := newTruthScene(t)
	r := s.start("server")
	s.awaitHealth(0, "--ready")
	master := s.childrenOf(s.mainOf())[0]
	s.kill(master, syscall.SIGSTOP) // its workers answer on
	s.awaitNotLive(r, "stopped")
	s.kill(master, syscall.SIGCONT)
	s.awaitHealth(0, "--live")
	s.await("that it is said to be well again", func() bool { return strings.Contains(r.logs.String(), "service answers again") })
	r.stop()
	s.nothingLeft()
}

func TestTruthSocketThatAcceptsAndNeverAnswers(t *testing.T) {
	t.Parallel()
	s := newTruthScene(t)
	s.env = append(s.env, "AUTHENTIK_WEB__WORKERS=1", "GUNICORN_CMD_ARGS=--timeout 0", "AK_INIT_GRACE_PERIOD=2s")
	r := s.start("server")
	s.awaitHealth(0, "--ready")
	s.get("/wedge")
	s.awaitEvent("request begin /wedge")
	s.awaitNotLive(r, "no answer in time")
	r.stop()
	s.nothingLeft()
}

// Up to 2025.10.3 the server says yes to the live question without asking gunicorn.
func TestTruthServerThatAnswersForAWedgedGunicorn(t *testing.T) {
	t.Parallel()
	s := newTruthScene(t)
	s.claimToBe("2025.10.3")
	s.env = append(s.env, "STANDIN_LIVE_ALONE=1", "AUTHENTIK_WEB__WORKERS=1", "GUNICORN_CMD_ARGS=--timeout 0", "AK_INIT_GRACE_PERIOD=2s")
	r := s.start("server")
	s.awaitHealth(0, "--ready")
	s.awaitHealth(0, "--live")
	s.get("/wedge")
	s.awaitEvent("request begin /wedge")
	s.awaitNotLive(r, "authentik-core.sock: no answer in time")
	if err := health.HTTP([]string{s.address}, "/-/health/live/", health.ProbeTimeout); err != nil {
		t.Errorf("the server does not say yes for it: %v", err)
	}
	r.stop()
	s.nothingLeft()
}

// claimToBe makes the scene's authentik one of another release, as far as its version goes.
func (s *scene) claimToBe(version string) {
	s.t.Helper()
	at := s.root + "/authentik"
	real, err := filepath.EvalSymlinks(at)
	s.must(err)
	files, err := filepath.Glob(real + "/*")
	s.must(err)
	s.must(os.Remove(at), os.Mkdir(at, 0o755))
	for _, f := range files {
		if name := filepath.Base(f); name != "__init__.py" {
			s.must(os.Symlink(f, filepath.Join(at, name)))
		}
	}
	s.must(os.WriteFile(at+"/__init__.py", []byte("VERSION = \""+version+"\"\n"), 0o644))
}

// A port that is taken is only a warning of authentik's; who answers there is healthy.
func TestTruthPortOfAnother(t *testing.T) {
	t.Parallel()
	s := newTruthScene(t)
	other := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
	s.takeAddress(other)
	s.env = append(s.env, "AUTHENTIK_LISTEN__HTTPS="+freeAddress(t, s.dir+"https"))
	r := s.start("server")
	s.await("an answer in another's name", func() bool { code, _ := s.health("--ready"); return code == 1 })
	s.awaitNotLive(r, "another process's")
	r.stop()
	s.nothingLeft()
}

func TestTruthPortThatNobodyBound(t *testing.T) {
	t.Parallel()
	s := newTruthScene(t)
	other := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.takeAddress(other)
	s.env = append(s.env, "AUTHENTIK_LISTEN__HTTPS="+freeAddress(t, s.dir+"https"))
	r := s.start("server")
	s.awaitEvent("config end") // by then the server has tried
	other.Close()
	s.awaitNotLive(r, "nobody listens on port")
	r.stop()
	s.nothingLeft()
}

// takeAddress serves where the scene's authentik would.
func (s *scene) takeAddress(other *httptest.Server) {
	s.t.Helper()
	_ = other.Listener.Close()
	listener, err := net.Listen("tcp", s.address)
	s.must(err)
	other.Listener = listener
	other.Start()
	s.t.Cleanup(other.Close)
}

// newWorkerScene has a real dramatiq that is ready.
func newWorkerScene(t *testing.T) (*scene, *running) {
	t.Helper()
	s := newTruthScene(t)
	startRedis(t, s)
	r := s.start("worker")
	s.awaitHealth(0, "--ready")
	return s, r
}

func TestTruthWorkerThatIsStopped(t *testing.T) {
	t.Parallel()
	s, r := newWorkerScene(t)
	worker := s.childrenOf(s.mainOf())[0] // its health server answers on
	s.kill(worker, syscall.SIGSTOP)
	s.awaitNotLive(r, "stopped")
	s.kill(worker, syscall.SIGCONT)
	s.awaitHealth(0, "--live")
	r.stop()
	s.nothingLeft()
}

// dramatiq does not look after its forks: the dead one stays a zombie.
func TestTruthForkOfTheWorkerThatDied(t *testing.T) {
	t.Parallel()
	s, r := newWorkerScene(t)
	children := s.childrenOf(s.mainOf())
	s.kill(children[len(children)-1], syscall.SIGKILL)
	s.awaitNotLive(r, "not reaped by its parent")
	r.stop()
	s.nothingLeft()
}

// The worker works without its health port, and a restart would not give it back: only not
// ready.
func TestTruthWorkerWithoutItsHealthPort(t *testing.T) {
	t.Parallel()
	s := newTruthScene(t)
	startRedis(t, s)
	s.takeAddress(httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })))
	r := s.start("worker")
	s.awaitPIDFile()
	s.await("the reason", func() bool {
		code, said := s.health("--ready")
		return code == 1 && strings.Contains(said, "another process's")
	})
	if code, said := s.health("--live"); code != 0 {
		t.Errorf("not live: %s", said)
	}
	r.stop()
	s.nothingLeft()
}
