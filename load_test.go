package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// inFlight asks for many slow pages and waits until each request has reached gunicorn's
// worker. Every fifth sleeps in a thread of the pool, as Django's synchronous views do.
func (s *scene) inFlight(n int) []<-chan reply {
	s.t.Helper()
	answers := make([]<-chan reply, n)
	for i := range answers {
		path := fmt.Sprintf("/slow?for=3&n=%d", i)
		if i%40 == 0 {
			path += "&sync=1"
		}
		answers[i] = s.get(path)
	}
	s.await("all requests", func() bool { return len(s.events("request begin")) == n })
	return answers
}

// allAnswered wants a 200 for each.
func (s *scene) allAnswered(answers []<-chan reply) {
	s.t.Helper()
	cut := 0
	for _, answer := range answers {
		if got := <-answer; got.status != 200 || got.body != "done" {
			if cut++; cut < 4 {
				s.t.Errorf("a client has %+v, want 200 done", got)
			}
		}
	}
	if cut > 0 {
		s.t.Errorf("%d of %d requests were cut", cut, len(answers))
	}
}

// Real gunicorn with 200 requests in flight at the stop: not one is cut.
func TestRealGunicornUnderLoad(t *testing.T) {
	t.Parallel()
	s := newRealScene(t)
	r := s.start("server")
	s.awaitHealth(0, "--started")
	answers := s.inFlight(200)
	r.signal(syscall.SIGTERM)
	s.allAnswered(answers)
	if code := r.exitCode(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	s.nothingLeft()
}

// Real gunicorn replaced by USR2: its new master, re-parented to us, serves, is not taken
// for a stray, has its requests finished at the stop, and is not left behind.
func TestRealGunicornReplacedUnderLoad(t *testing.T) {
	t.Parallel()
	s := newRealScene(t)
	r := s.start("server")
	s.awaitHealth(0, "--started")
	old := s.masters()
	r.signal(syscall.SIGUSR2)
	var masters []int
	s.await("a new master alone", func() bool {
		masters = s.masters()
		return len(masters) == 1 && len(old) == 1 && masters[0] != old[0]
	})
	s.awaitHealth(0, "--ready")
	answers := s.inFlight(200)
	r.signal(syscall.SIGTERM)
	s.allAnswered(answers)
	if code := r.exitCode(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if strings.Contains(r.logs.String(), "killed what was left") {
		t.Error("something was killed")
	}
	s.nothingLeft()
}

// A stop while gunicorn hands over: the old master drains, the new one, still its child, has
// requests by then. Both finish.
func TestRealGunicornStoppedWhileItHandsOver(t *testing.T) {
	t.Parallel()
	s := newRealScene(t)
	r := s.start("server")
	s.awaitHealth(0, "--started")
	first := s.get("/slow?for=5") // longer than until the workers are told once more
	s.await("the first request", func() bool { return len(s.events("request begin")) == 1 })
	r.signal(syscall.SIGUSR2)
	s.await("the old master to drain", func() bool {
		return len(s.masters()) == 2 && strings.Contains(r.logs.String(), "Handling signal: term")
	})
	var second <-chan reply
	s.await("the second request", func() bool {
		begun := len(s.events("request begin")) == 2
		// One that meets the old workers as they close their socket is lost, by gunicorn.
		if !begun && (second == nil || len(second) == 1) {
			second = s.get("/slow?for=6")
		}
		return begun
	})
	r.signal(syscall.SIGTERM)
	s.allAnswered([]<-chan reply{first, second})
	if code := r.exitCode(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	s.nothingLeft()
}

// masters are the pids of gunicorn's masters, as setproctitle names them.
func (s *scene) masters() []int {
	var pids []int
	for _, left := range s.leftovers() {
		if strings.HasPrefix(left.command, "gunicorn: master") {
			pids = append(pids, left.pid)
		}
	}
	return pids
}

// Real dramatiq with 20 tasks, some running, some waiting, at the stop: those that run
// finish, and each has run once when a second worker has done the rest.
func TestRealDramatiqUnderLoad(t *testing.T) {
	t.Parallel()
	s := newRealScene(t)
	startRedis(t, s)
	s.env = append(s.env, "AUTHENTIK_WORKER__THREADS=4")
	s.enqueue(20, "0.5")
	r := s.start("worker")
	s.await("tasks at work", func() bool { return len(s.events("task end")) >= 3 })
	r.stop()
	begun, ended := len(s.events("task begin")), len(s.events("task end"))
	if begun != ended || begun == 20 {
		t.Errorf("at the stop %d tasks had begun and %d had ended, of 20", begun, ended)
	}
	s.nothingLeft()
	r = s.start("worker")
	s.await("the rest", func() bool { return len(s.events("task end")) >= 20 })
	r.stop()
	s.eachOnce(20)
}

// enqueue puts tasks into the queue, all from one process.
func (s *scene) enqueue(n int, seconds string) {
	s.t.Helper()
	script := fmt.Sprintf("from tasks import work\nfor i in range(%d): work.send(%s, f'task-{i}.')", n, seconds)
	enqueue := exec.CommandContext(s.t.Context(), os.Getenv("AK_VENV")+"/bin/python", "-c", script)
	enqueue.Env, enqueue.Dir = s.env, s.root
	if out, err := enqueue.CombinedOutput(); err != nil {
		s.t.Fatalf("enqueue: %v\n%s", err, out)
	}
}

// eachOnce wants each task to have begun and ended once.
func (s *scene) eachOnce(n int) {
	s.t.Helper()
	for i := range n {
		name := fmt.Sprintf("task-%d.", i)
		if begun, ended := len(s.events("task begin "+name)), len(s.events("task end "+name)); begun != 1 || ended != 1 {
			s.t.Errorf("%s began %d times and ended %d times", name, begun, ended)
		}
	}
}

// Both under one init and under load: the worker's tasks and the server's requests.
func TestRealAllUnderLoad(t *testing.T) {
	t.Parallel()
	s := newRealScene(t)
	startRedis(t, s)
	s.env = append(s.env, "AUTHENTIK_LISTEN__METRICS="+freeAddress(t, s.dir+"metrics"))
	r := s.start("all")
	s.await("the server", func() bool { code, _ := s.health("server", "--started"); return code == 0 })
	s.await("the worker", func() bool { return exists(s.tmpdir + "/authentik-worker/authentik-worker.pid") })
	s.enqueue(20, "0.2")
	answers := s.inFlight(100)
	s.awaitEvent("task begin")
	r.signal(syscall.SIGTERM)
	s.allAnswered(answers)
	if code := r.exitCode(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if begun, ended := len(s.events("task begin")), len(s.events("task end")); begun != ended || begun == 0 {
		t.Errorf("%d tasks began and %d ended", begun, ended)
	}
	s.nothingLeft()
}

// Should ak-init be killed outside PID 1, the server and gunicorn, which is the server's
// child and would go on without it, end too.
func TestRealNothingOutlivesAKilledAkInit(t *testing.T) {
	t.Parallel()
	s := newRealScene(t)
	r := s.start("server")
	s.awaitHealth(0, "--started")
	if len(s.masters()) != 1 {
		t.Fatalf("gunicorn does not run: %v", s.leftovers())
	}
	r.signal(syscall.SIGKILL)
	s.await("the end of all of it", func() bool { return len(s.leftovers()) == 0 })
	r.exitCode()
	s.await("the guard's line", func() bool { return strings.Contains(r.logs.String(), "ak-init was killed, and so are its children") })
}
