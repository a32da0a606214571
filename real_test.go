package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"ak-init/testdata/bed"
)

// newRealScene is a scene in which gunicorn and dramatiq are the real ones; the Go
// server before gunicorn is the stand-in, since the real one needs the whole of
// authentik. testdata/real/README.md says how to make the virtualenv.
func newRealScene(t *testing.T) *scene {
	t.Helper()
	venv := os.Getenv("AK_VENV")
	bed.Need(t, "real", venv != "", "AK_VENV names no virtualenv with gunicorn and dramatiq")
	s := newScene(t)
	real, err := filepath.Abs("testdata/real")
	s.must(err)
	s.must(os.RemoveAll(s.root+"/ak-root"), os.RemoveAll(s.root+"/lifecycle"), os.RemoveAll(s.root+"/authentik"), os.Remove(s.root+"/manage.py"))
	s.must(os.Mkdir(s.root+"/ak-root", 0o755), os.Symlink(venv, s.root+"/ak-root/.venv"))
	files, err := filepath.Glob(real + "/*")
	s.must(err)
	for _, f := range files {
		s.must(os.Symlink(f, filepath.Join(s.root, filepath.Base(f))))
	}
	s.env = append(s.env, "REAL_EVENTS="+s.record+"/events", "AK_INIT_USER="+uid(), "PATH="+venv+"/bin:/usr/bin:/bin")
	return s
}

// Real gunicorn with uvicorn workers behind the stand-in server, a request in flight:
// under ak-init it ends with its 200, under dumb-init it is cut.
func TestRealGunicornFinishesItsRequest(t *testing.T) {
	t.Parallel()
	t.Run("under ak-init the client has its 200", func(t *testing.T) {
		t.Parallel()
		s := newRealScene(t)
		r := s.start("server")
		s.awaitHealth(0, "--started")
		answer := s.get("/slow?for=2")
		s.awaitEvent("request begin")
		r.signal(syscall.SIGTERM)
		if got := <-answer; got.status != 200 || got.body != "done" {
			t.Errorf("the client has %+v, want 200 done", got)
		}
		if code := r.exitCode(); code != 0 {
			t.Errorf("exit code %d, want 0", code)
		}
		if !strings.Contains(r.logs.String(), "helpers told to finish first") {
			t.Error("gunicorn was not told to finish first")
		}
		s.nothingLeft()
	})
	t.Run("under dumb-init it is cut", func(t *testing.T) {
		t.Parallel()
		s := newRealScene(t)
		dumbInit := os.Getenv("AK_VENV") + "/bin/dumb-init"
		s.env = append(s.env, "PATH="+s.root+"/bin:"+os.Getenv("AK_VENV")+"/bin:/usr/bin:/bin")
		r := s.startOther([]string{dumbInit, "--", s.root + "/bin/authentik"})
		s.awaitHealth(0, "server", "--ready") // asked directly
		answer := s.get("/slow?for=2")
		s.awaitEvent("request begin")
		r.signal(syscall.SIGTERM)
		if got := <-answer; got.err == nil {
			t.Errorf("the client has %+v; if dumb-init's way loses nothing, ours has no point", got)
		}
		r.exitCode()
	})
}

func TestRealGunicornInItsBoot(t *testing.T) {
	t.Parallel()
	s := newRealScene(t)
	s.env = append(s.env, "REAL_BOOT_DELAY=3600")
	r := s.start("server")
	s.awaitEvent("config begin")
	if code, said := s.health("--live"); code != 0 {
		t.Errorf("a long migration is not live: %s", said)
	}
	if code, _ := s.health("--started"); code != 1 {
		t.Error("a long migration has started")
	}
	r.stop()
	s.nothingLeft()
}

// Real dramatiq with a task in flight: it finishes, once.
func TestRealDramatiqFinishesItsTask(t *testing.T) {
	t.Parallel()
	s := newRealScene(t)
	startRedis(t, s)
	// dramatiq ends with code 4 when the pid in its file is somebody's.
	s.must(os.WriteFile(s.tmpdir+"/authentik-worker.pid", []byte("1\n"), 0o644))
	r := s.start("worker")
	s.awaitPIDFile()
	enqueue := exec.CommandContext(t.Context(), os.Getenv("AK_VENV")+"/bin/python", "-m", "enqueue", "tea", "2")
	enqueue.Env, enqueue.Dir = s.env, s.root
	if out, err := enqueue.CombinedOutput(); err != nil {
		t.Fatalf("enqueue: %v\n%s", err, out)
	}
	s.awaitEvent("task begin tea")
	r.stop()
	if begun, ended := s.events("task begin tea"), s.events("task end tea"); len(begun) != 1 || len(ended) != 1 {
		t.Errorf("the task began %d times and ended %d times", len(begun), len(ended))
	}
	s.nothingLeft()
}

func TestRealDramatiqThatMayNotStart(t *testing.T) {
	t.Parallel()
	s := newRealScene(t)
	s.env = append(s.env, "REDIS_URL=unix://"+s.dir+"/nobody")
	r := s.start("worker", "--", "--no-such-option")
	if code := r.exitCode(); code != 2 { // argparse's own
		t.Errorf("exit code %d, want argparse's 2", code)
	}
	s.nothingLeft()
}

// startRedis starts dramatiq's broker on a socket in the scene.
func startRedis(t *testing.T, s *scene) {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	bed.Need(t, "real", err == nil, "redis-server is missing")
	socket := s.dir + "/redis"
	cmd := exec.Command(path, "--port", "0", "--unixsocket", socket, "--save", "", "--dir", s.dir)
	s.must(cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	s.env = append(s.env, "REDIS_URL=unix://"+socket)
	s.await("redis", func() bool { return exists(socket) })
}

// awaitPIDFile waits until the worker has written its own pid.
func (s *scene) awaitPIDFile() {
	s.t.Helper()
	s.await("the worker's pid file", func() bool {
		raw, err := os.ReadFile(s.tmpdir + "/authentik-worker.pid")
		return err == nil && strings.TrimSpace(string(raw)) != "1"
	})
}
