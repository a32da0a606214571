package main

import (
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"ak-init/testdata/bed"
)

// asRoot is a scene that root starts.
func asRoot(t *testing.T) *scene {
	t.Helper()
	t.Parallel()
	bed.Need(t, "root", os.Geteuid() == 0, "needs root to give it up")
	return newScene(t)
}

// giveAll gives what the children write to.
func (s *scene) giveAll(uid, gid int) {
	s.t.Helper()
	for _, dir := range []string{s.tmpdir, s.root + "/data", s.root + "/media"} {
		s.must(os.Chown(dir, uid, gid))
	}
}

// procStatus gives one field of /proc/PID/status (proc_pid_status(5)).
func procStatus(t *testing.T, pid int, field string) string {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		if name, value, ok := strings.Cut(line, ":"); ok && name == field {
			return strings.TrimSpace(value)
		}
	}
	t.Fatalf("no %s in the status of %d", field, pid)
	return ""
}

func TestWhoWasRootKeepsNothingOfIt(t *testing.T) {
	s := asRoot(t)
	s.giveAll(4711, 4712)
	s.wrap = []string{"setpriv", "--groups", "0,2000"} // as Kubernetes' fsGroup: 2000
	r := s.start("worker", "--user", "4711:4712")
	s.awaitHealth(0, "--started")
	worker := s.starts("worker")[0]
	for field, want := range map[string]string{
		"Uid": "4711\t4711\t4711\t4711", "Gid": "4712\t4712\t4712\t4712", "NoNewPrivs": "1",
		"CapPrm": "0000000000000000", "CapEff": "0000000000000000", "CapAmb": "0000000000000000",
	} {
		if got := procStatus(t, worker.PID, field); got != want {
			t.Errorf("%s of the worker is %q, want %q", field, got, want)
		}
	}
	if groups := procStatus(t, worker.PID, "Groups"); groups != "2000 4712" {
		t.Errorf("its groups are %s: root's own has to go, and the runtime's to stay", groups)
	}
	r.stop()
}

// Docker and Kubernetes leave root CAP_DAC_OVERRIDE, and take CAP_SYS_PTRACE: the descriptors of
// a child of another uid can be counted and not read.
func TestRootThatMayNotTraceBelievesItsChild(t *testing.T) {
	for _, service := range []string{"server", "worker"} {
		t.Run(service, func(t *testing.T) {
			s := asRoot(t)
			s.giveAll(4711, 4712)
			s.wrap = []string{"setpriv", "--bounding-set", "-sys_ptrace", "--inh-caps", "-sys_ptrace"}
			s.env = append(s.env, "AK_INIT_LIVE_THRESHOLD=1s")
			r := s.start(service, "--user", "4711:4712")
			s.awaitHealth(0, "--ready")
			if code, said := s.health("--live"); code != 0 {
				t.Errorf("not live: %s", said)
			}
			r.stop()
		})
	}
}

func TestPUIDAndPGID(t *testing.T) {
	t.Run("of root are honoured", func(t *testing.T) {
		s := asRoot(t)
		s.giveAll(4711, 4712)
		s.env = append(s.env, "PUID=4711", "PGID=4712")
		r := s.start("server")
		s.awaitHealth(0, "--started")
		if got := s.starts("server")[0]; got.UID != 4711 || got.GID != 4712 || slices.Contains(got.Groups, 0) {
			t.Errorf("the server runs as %d:%d %v", got.UID, got.GID, got.Groups)
		}
		r.stop()
	})
	t.Run("give way to a flag", func(t *testing.T) {
		s := asRoot(t)
		s.giveAll(4713, 4713)
		s.env = append(s.env, "PUID=4711", "PGID=4712")
		r := s.start("server", "--user", "4713")
		s.awaitHealth(0, "--started")
		if got := s.starts("server")[0]; got.UID != 4713 {
			t.Errorf("the server runs as %d", got.UID)
		}
		r.stop()
	})
	t.Run("of others are ignored aloud", func(t *testing.T) {
		s := asRoot(t)
		asNobody(t, s)
		s.giveAll(65534, 65534)
		s.env = append(s.env, "PUID=4711", "PGID=4712")
		r := s.start("server")
		s.awaitHealth(0, "--started")
		r.stop()
		if said := r.logs.String(); !strings.Contains(said, "PUID=4711 and PGID=4712 are ignored: only root can become another user") {
			t.Errorf("it does not say so:\n%s", said)
		}
	})
	t.Run("that are no numbers are ignored aloud", func(t *testing.T) {
		s := asRoot(t)
		s.env = append(s.env, "PUID=somebody")
		r := s.start("server")
		s.awaitHealth(0, "--started")
		r.stop()
		if said := r.logs.String(); !strings.Contains(said, "PUID=somebody is ignored; give PUID a number") {
			t.Errorf("it does not say so:\n%s", said)
		}
	})
}

// TestSocketOfTheContainerEngine is a real socket with a group that no file names.
func TestSocketOfTheContainerEngine(t *testing.T) {
	engine := func(t *testing.T, s *scene) {
		t.Helper()
		socket := s.dir + "/docker.sock"
		l, err := net.Listen("unix", socket)
		s.must(err)
		t.Cleanup(func() { _ = l.Close() })
		s.must(os.Chown(socket, 0, 4242), os.Chmod(socket, 0o660))
		s.env = append(s.env, "DOCKER_HOST=unix://"+socket)
	}
	t.Run("its group is the worker's", func(t *testing.T) {
		s := asRoot(t)
		engine(t, s)
		s.giveAll(4711, 4711)
		r := s.start("worker", "--user", "4711")
		s.awaitHealth(0, "--started")
		if got := s.starts("worker")[0]; !slices.Contains(got.Groups, 4242) {
			t.Errorf("the worker's groups are %v", got.Groups)
		}
		r.stop()
		if strings.Contains(r.logs.String(), "docker-socket") {
			t.Error("it complains of a socket that can be used")
		}
	})
	t.Run("without root it is said to be closed", func(t *testing.T) {
		s := asRoot(t)
		engine(t, s)
		asNobody(t, s)
		s.giveAll(65534, 65534)
		r := s.start("worker")
		s.awaitHealth(0, "--started")
		r.stop()
		if n := strings.Count(r.logs.String(), "docker.sock is there and the children, uid 65534, gid 65534, cannot use it: permission denied"); n != 1 {
			t.Errorf("it says so %d times", n)
		}
	})
}

// TestOpenFiles needs the release's build: only that knows what it was started with.
func TestOpenFiles(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	bed.Need(t, "root", os.Geteuid() == 0, "needs root to set a hard limit and go on")
	s.akInit = s.dir + "/release"
	releaseBuild(t, s.akInit)
	tests := []struct{ limit, want, says string }{
		{"1024:16384", "16384 +16384", ""},
		{"1024:2048", "2048 +2048", "at most 2048 descriptors (nofile): too few under load"},
		{"16384:16384", "16384 +16384", ""},
	}
	for _, tt := range tests {
		t.Run(tt.limit, func(t *testing.T) {
			one := *s
			one.t, one.record = t, t.TempDir()
			one.env = append(slices.Clone(s.env), "STANDIN_RECORD="+one.record)
			one.wrap = []string{"prlimit", "--nofile=" + tt.limit}
			r := one.start("server")
			one.awaitHealth(0, "--started")
			raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", one.starts("server")[0].PID))
			one.must(err)
			if !regexp.MustCompile(`(?m)^Max open files +` + tt.want).Match(raw) {
				t.Errorf("the server's limits are\n%s, want %s", raw, tt.want)
			}
			r.signal(syscall.SIGTERM)
			r.exitCode()
			if said := r.logs.String(); tt.says != "" && !strings.Contains(said, tt.says) || tt.says == "" && strings.Contains(said, "open-files") {
				t.Errorf("it says\n%s", said)
			}
		})
	}
}
