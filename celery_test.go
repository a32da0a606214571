package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ak-init/testdata/bed"
)

// newCeleryScene is a scene of 2025.6 whose worker is real Celery, without authentik's tasks.
// AK_CELERY names a virtualenv made from testdata/celery/requirements.txt.
func newCeleryScene(t *testing.T) *scene {
	t.Helper()
	venv := os.Getenv("AK_CELERY")
	bed.Need(t, "celery", venv != "", "AK_CELERY names no virtualenv with celery")
	s := newScene(t)
	manage, err := filepath.Abs("testdata/celery/manage.py")
	s.must(err)
	s.must(os.RemoveAll(s.root+"/ak-root"), os.Remove(s.root+"/manage.py"))
	s.must(os.Mkdir(s.root+"/ak-root", 0o755), os.Symlink(venv, s.root+"/ak-root/.venv"), os.Symlink(manage, s.root+"/manage.py"))
	s.must(os.WriteFile(s.root+"/authentik/__init__.py", []byte("__version__ = \"2025.6.4\"\n"), 0o644))
	s.env = append(s.env, "AK_INIT_USER="+uid(), "PATH="+venv+"/bin:/usr/bin:/bin")
	startRedis(t, s)
	return s
}

func TestCeleryIsReadyByItsHeartbeat(t *testing.T) {
	t.Parallel()
	s := newCeleryScene(t)
	beat := s.tmpdir + "/authentik-worker"
	s.must(os.WriteFile(beat, nil, 0o644)) // an earlier run's, and fresh
	r := s.start("worker")
	s.await("an answer", func() bool {
		_, said := s.health("--ready")
		return strings.Contains(said, beat+" is of an earlier run")
	})
	s.awaitHealth(0, "--ready")
	s.awaitHealth(0, "--live")

	master := s.mainOf()
	s.await("pool processes", func() bool { return len(s.childrenOf(master)) > 0 })
	old := time.Now().Add(-31 * time.Second)
	s.kill(master, syscall.SIGSTOP) // else it could touch the file right behind
	s.must(os.Chtimes(beat, old, old))
	s.awaitHealth(1, "--ready")
	s.awaitHealth(0, "--live") // until the threshold is over
	s.kill(master, syscall.SIGCONT)
	s.awaitHealth(0, "--ready") // which its timer does, each 10 s

	r.stop()
	if exists(beat) {
		t.Error("Celery was not let end by itself: its heartbeat is still there")
	}
	s.nothingLeft()
}

func TestWithoutAkInitCeleryIsAskedByItsHeartbeat(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	beat := s.tmpdir + "/authentik-worker"
	s.must(os.WriteFile(s.tmpdir+"/authentik-mode", []byte("worker\n"), 0o644))
	touch := s.startOther([]string{"/usr/bin/touch", beat}) // in Celery's place
	if code := touch.exitCode(); code != 0 {
		t.Fatalf("touch ends with %d", code)
	}
	for _, question := range []string{"--live", "--ready"} { // it has no port to be asked at
		s.asksOnce(0, "healthy: worker without ak-init\n", question)
	}
	old := time.Now().Add(-time.Minute)
	s.must(os.Chtimes(beat, old, old))
	s.asksOnce(1, fmt.Sprintf("unhealthy: worker without ak-init: %s was last touched 1m0s ago, and should be every 30s\n", beat))
	s.must(os.Remove(beat))
	s.asksOnce(1, "unhealthy: worker without ak-init: open "+s.tmpdir+"/authentik-worker.pid: no such file")
}
