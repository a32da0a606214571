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
	"time"

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
	r.awaitLine(s, "service is not live", reason)
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

// pretence is a service that looks alive from without, and does nothing.
type pretence struct {
	name, service string
	env           []string
	// before is what stands in its way; unready: so it never is ready.
	before  func(*scene)
	unready bool
	// befalls it when it is ready, or at work where it never is.
	befalls func(*scene)
	// reason is a part of why it is not live.
	reason string
	// mended makes it live again, where that can be.
	mended func(*scene)
}

func pretences() []pretence {
	var taken *httptest.Server
	oneWorker := []string{"AUTHENTIK_WEB__WORKERS=1", "GUNICORN_CMD_ARGS=--timeout 0", "AK_INIT_GRACE_PERIOD=2s"}
	return []pretence{
		{
			name: "gunicorn that comes and goes", service: "server", env: []string{"REAL_BOOT_FAILS=1", "REAL_BOOT_DELAY=1"},
			unready: true, reason: "gunicorn ends and is started again",
		},
		{
			name: "gunicorn that has ended with 0, and is not started again", service: "server",
			befalls: func(s *scene) { s.kill(s.firstChild(), syscall.SIGTERM) }, reason: "no gunicorn runs",
		},
		{
			name: "gunicorn that is stopped, while its workers answer on", service: "server",
			befalls: func(s *scene) { s.kill(s.firstChild(), syscall.SIGSTOP) }, reason: "stopped",
			mended: func(s *scene) { s.kill(s.firstChild(), syscall.SIGCONT) },
		},
		{
			name: "a socket that accepts and never answers", service: "server", env: oneWorker,
			befalls: (*scene).wedge, reason: "no answer in time",
		},
		{
			// Up to 2025.10.3 the server says yes to the live question without asking gunicorn.
			name: "a server that answers for a wedged gunicorn", service: "server", env: append(oneWorker, "STANDIN_LIVE_ALONE=1"),
			before: func(s *scene) { s.claimToBe("2025.10.3") },
			befalls: func(s *scene) {
				s.wedge()
				s.must(health.HTTP([]string{s.address}, "/-/health/live/", health.ProbeTimeout))
			},
			reason: "authentik-core.sock: no answer in time",
		},
		{
			// With a later release the server would answer for as long as it keeps a connection.
			name: "gunicorn's socket, whose file somebody has removed", service: "server", env: []string{"STANDIN_LIVE_ALONE=1"},
			before:  func(s *scene) { s.claimToBe("2025.10.3") },
			befalls: func(s *scene) { s.must(os.Remove(s.tmpdir + "/authentik-core.sock")) },
			reason:  "authentik-core.sock: connect: no such file",
		},
		{
			// That a port is taken is only a warning of authentik's; who answers there is healthy.
			name: "a port that is another's", service: "server", before: func(s *scene) { s.takeAddress() },
			unready: true, reason: "another process's",
		},
		{
			name: "a port that nobody has bound", service: "server",
			before:  func(s *scene) { taken = s.takeAddress() },
			unready: true,
			befalls: func(s *scene) {
				s.awaitEvent("config end") // by then the server has tried
				taken.Close()
			},
			reason: "nobody listens on port",
		},
		{
			name: "a worker that is stopped, while its health server answers on", service: "worker",
			befalls: func(s *scene) { s.kill(s.firstChild(), syscall.SIGSTOP) }, reason: "stopped",
			mended: func(s *scene) { s.kill(s.firstChild(), syscall.SIGCONT) },
		},
		{
			name: "a fork that has died, which dramatiq does not look after", service: "worker",
			befalls: func(s *scene) {
				children := s.childrenOf(s.mainOf())
				s.kill(children[len(children)-1], syscall.SIGKILL)
			},
			reason: "not reaped by its parent",
		},
	}
}

func TestTruth(t *testing.T) {
	t.Parallel()
	for _, tt := range pretences() {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newTruthScene(t)
			s.env = append(s.env, tt.env...)
			if tt.before != nil {
				tt.before(s)
			}
			r := s.start(tt.service)
			if !tt.unready {
				s.awaitHealth(0, "--ready")
				s.awaitHealth(0, "--live")
			}
			if tt.befalls != nil {
				tt.befalls(s)
			}
			s.awaitNotLive(r, tt.reason)
			if code, said := s.health("--ready"); code != 1 {
				t.Errorf("ready: %s", said)
			}
			if tt.mended != nil {
				tt.mended(s)
				s.awaitHealth(0, "--live")
				r.awaitLine(s, "service answers again")
			}
			r.stop()
			s.nothingLeft()
		})
	}
}

// newTruthScene has all that a service needs, and waits for 2 s before it calls one not live,
// in the place of 30.
func newTruthScene(t *testing.T) *scene {
	t.Helper()
	s := newRealScene(t)
	s.env = append(s.env, "AK_INIT_LIVE_THRESHOLD=2s", "AUTHENTIK_LISTEN__HTTPS="+freeAddress(t, s.dir+"https"))
	startRedis(t, s)
	return s
}

// wedge blocks gunicorn's one worker.
func (s *scene) wedge() {
	s.t.Helper()
	s.get("/wedge")
	s.awaitEvent("request begin /wedge")
}

// firstChild is the server's gunicorn, or the first of dramatiq's workers.
func (s *scene) firstChild() int {
	s.t.Helper()
	children := s.childrenOf(s.mainOf())
	if len(children) == 0 {
		s.t.Fatal("the service has no children")
	}
	return children[0]
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

// takeAddress answers everybody with 200 where the scene's authentik would.
func (s *scene) takeAddress() *httptest.Server {
	s.t.Helper()
	other := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
	_ = other.Listener.Close()
	listener, err := net.Listen("tcp", s.address)
	s.must(err)
	other.Listener = listener
	other.Start()
	s.t.Cleanup(other.Close)
	return other
}

// The worker works without its health port, and a restart would not give it back: only not
// ready.
func TestTruthWorkerWithoutItsHealthPort(t *testing.T) {
	t.Parallel()
	s := newTruthScene(t)
	s.takeAddress()
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

// A HUP has dramatiq end its workers and forks and execute itself anew, under its old pid: that
// it has none while it boots is no loss, and the forks that it never reaps are not missed.
func TestTruthWorkerThatExecutesItselfAnew(t *testing.T) {
	t.Parallel()
	s := newTruthScene(t)
	r := s.start("worker")
	s.awaitHealth(0, "--ready")
	pid := s.mainOf()
	family := &health.Family{Workers: true}
	// saw looks on a clock of its own.
	saw := func(later time.Duration) error { return family.Saw(time.Now().Add(later), familyOf(pid, "")) }
	hasBooted := func() bool { all := familyOf(pid, ""); return len(all) > 0 && all[0].CatchesTERM }
	s.await("the end of its start", hasBooted)
	s.must(saw(0))
	before := s.childrenOf(pid)
	s.kill(pid, syscall.SIGHUP)
	s.await("its new start", func() bool { return !hasBooted() })
	s.await("the end of that", func() bool { s.must(saw(0)); return hasBooted() })
	s.awaitHealth(0, "--ready")
	s.must(saw(0), saw(time.Hour))
	if after := s.childrenOf(pid); !slices.ContainsFunc(before, func(p int) bool { return slices.Contains(after, p) }) {
		t.Error("nobody of before is left to be reaped: the test shows nothing of zombies")
	}
	r.stop()
	s.nothingLeft()
}
