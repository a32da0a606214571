package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ak-init/health"
	"ak-init/testdata/bed"
)

// socket is where the server's ak-init answers.
func (s *scene) socket() string {
	return runtimeDir(s.tmpdir, os.Geteuid(), "server") + "/" + socketName
}

func TestTheSocketIsClosedToOthers(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.wrap = []string{"sh", "-c", `umask 0 && exec "$@"`, "sh"}
	r := s.start("server")
	s.awaitHealth(0, "--started")
	for path, want := range map[string]fs.FileMode{s.socket(): fs.ModeSocket | 0o600, filepath.Dir(s.socket()): fs.ModeDir | 0o700} {
		if info, err := os.Lstat(path); err != nil || info.Mode() != want {
			t.Errorf("%s has the mode %v, %v; want %v", path, info.Mode(), err, want)
		}
	}
	r.stop()
}

// In a TMPDIR like /tmp anybody can make a directory in anybody's name, and answer from it.
func TestADirectoryOfSomebodyElseIsNotAsked(t *testing.T) {
	t.Parallel()
	bed.Need(t, "root", os.Geteuid() == 0, "needs root to give a directory away")
	s := newScene(t)
	s.must(os.Chmod(s.tmpdir, 0o777|fs.ModeSticky), os.Mkdir(filepath.Dir(s.socket()), 0o755))
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: s.socket(), Net: "unix"})
	s.must(err)
	t.Cleanup(func() { _ = l.Close() })
	go health.Serve(l, []int{os.Geteuid()}, health.Desk{Answer: func(health.Question) []health.Answer {
		return []health.Answer{{Healthy: true, Service: "server", Phase: health.Serving}}
	}, Status: func() []byte { return []byte("{}") }})
	s.asksOnce(0, "healthy: server ready\n") // as long as it is ours
	s.must(os.Chown(filepath.Dir(s.socket()), 4711, 4711))
	s.asksOnce(1, "unhealthy: authentik not running: ")
}

// footprint is what a process takes of the machine (proc(5)).
type footprint struct{ descriptors, threads, rssKiB int }

func footprintOf(t *testing.T, pid int) (f footprint) {
	t.Helper()
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	number := func(name string) int {
		n, err := strconv.Atoi(string(regexp.MustCompile(`(?m)^` + name + `:\s+(\d+)`).FindSubmatch(status)[1]))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	return footprint{len(fds), number("Threads"), number("VmRSS")}
}

// dialSocket opens a connection that asks nothing yet.
func (s *scene) dialSocket() net.Conn {
	s.t.Helper()
	conn, err := net.DialTimeout("unix", s.socket(), patience)
	s.must(err)
	return conn
}

// hears sends what is no question, and wants it answered or closed, and no yes.
func (s *scene) hears(garbage string) {
	s.t.Helper()
	conn := s.dialSocket()
	defer func() { _ = conn.Close() }()
	s.must(conn.SetDeadline(time.Now().Add(patience)))
	_, _ = io.WriteString(conn, garbage) // it may be cut off
	reply, err := io.ReadAll(conn)
	if late, ok := errors.AsType[net.Error](err); ok && late.Timeout() || strings.Contains(string(reply), "yes") || len(reply) > 1024 {
		s.t.Errorf("to %.20q: %.80q, %v", garbage, reply, err)
	}
}

// A thousand who ask nothing, a thousand who ask at once, and garbage: ak-init hears 32 at a time,
// answers those who ask, and is no bigger afterwards.
func TestNothingGrowsByWhoAsks(t *testing.T) {
	t.Parallel()
	const crowd = 1000
	s := newScene(t)
	s.release() // the race detector takes memory of its own
	r := s.start("server")
	s.awaitHealth(0, "--started")
	pid := r.Process.Pid
	before := footprintOf(t, pid)
	round := func() {
		for _, garbage := range []string{strings.Repeat("x", 1<<20), strings.Repeat("live\n", 1<<18)[1:], "\x00\xff\n", "dead\n", "\n", "live"} { // the last without its end
			s.hears(garbage)
		}
		mute := make([]net.Conn, crowd)
		for i := range mute {
			mute[i] = s.dialSocket()
		}
		// 32 are heard, and one has been taken and waits for its turn.
		if now := footprintOf(t, pid); now.descriptors > before.descriptors+33+2 {
			t.Errorf("with %d who ask nothing it has %d descriptors, and had %d", crowd, now.descriptors, before.descriptors)
		}
		for _, conn := range mute {
			_ = conn.Close()
		}
		var askers sync.WaitGroup
		for range crowd {
			conn := s.dialSocket() // health.Ask would take a thread each
			askers.Go(func() {
				defer func() { _ = conn.Close() }()
				_ = conn.SetDeadline(time.Now().Add(patience))
				_, _ = io.WriteString(conn, "live\n")
				if reply, err := io.ReadAll(conn); err != nil || !strings.HasPrefix(string(reply), "yes server ") {
					t.Errorf("%q, %v", reply, err)
				}
			})
		}
		askers.Wait()
	}
	for range 3 { // what Go's heap takes before it looks for garbage, 4 MB, it keeps
		round()
	}
	after := footprintOf(t, pid)
	for range 3 {
		round()
	}
	s.await("as few descriptors as before", func() bool { return footprintOf(t, pid).descriptors <= before.descriptors })
	now := footprintOf(t, pid)
	t.Logf("before %+v, after three rounds %+v, after six %+v", before, after, now)
	if now.threads > after.threads+8 || now.rssKiB > after.rssKiB+2048 || now.rssKiB > before.rssKiB+8192 {
		t.Error("it has grown")
	}
	r.stop()
	s.nothingLeft()
}

// askSteadily asks this often for so long, in turn for live and ready.
func (s *scene) askSteadily(every, long time.Duration) (asked int) {
	s.t.Helper()
	tick := time.NewTicker(every)
	defer tick.Stop()
	var askers sync.WaitGroup
	var unwell atomic.Int64
	for end := time.Now().Add(long); time.Now().Before(end); <-tick.C {
		q := []health.Question{health.Live, health.Ready}[asked%2]
		asked++
		askers.Go(func() {
			if a, err := health.Ask(s.socket(), q, patience); err != nil || !a[0].Healthy {
				unwell.Add(1)
			}
		})
	}
	askers.Wait()
	if n := unwell.Load(); n > 0 {
		s.t.Errorf("%d of %d are not told that all is well", n, asked)
	}
	return asked
}

// tree is every file below a directory with its mode, size and time of change.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil {
			all[path] = fmt.Sprint(info.Mode(), info.Size(), info.ModTime())
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// childFaults are the page faults of children that a process has waited for: whatever it starts
// makes some (proc_pid_stat(5), cminflt).
func childFaults(t *testing.T, pid int) string {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))[8]
}

func (s *scene) pids() (all []int) {
	for _, left := range s.leftovers() {
		all = append(all, left.pid)
	}
	slices.Sort(all)
	return all
}

// A health check every 10 ms writes no file, starts no process, speaks to no database, says
// nothing, and costs authentik one request in 500 ms for each question. requests counts them.
func notANuisance(t *testing.T, s *scene, requests func(path string) int) {
	t.Helper()
	const every, long = 10 * time.Millisecond, 3 * time.Second
	port, taken := mute(t)
	s.env = append(s.env, "AUTHENTIK_POSTGRESQL__HOST=127.0.0.1", "AUTHENTIK_POSTGRESQL__PORT="+port)
	r := s.start("server")
	s.awaitHealth(0, "--started")
	paths := []string{"/-/health/live/", "/-/health/ready/"}
	type state struct {
		files  map[string]string
		pids   []int
		faults string
		said   int
	}
	look := func() state {
		return state{tree(t, s.tmpdir), s.pids(), childFaults(t, r.Process.Pid), strings.Count(r.logs.String(), `"logger":"ak-init"`)}
	}
	// The first to ask has ak-init look at the room in TMPDIR.
	s.awaitHealth(0, "--ready")
	s.await("what is said of that", func() bool { return strings.Contains(r.logs.String(), `"event":"ready"`) })
	before, asked := look(), [2]int{requests(paths[0]), requests(paths[1])}
	begun := time.Now()
	n := s.askSteadily(every, long)
	windows := int(time.Since(begun)/(500*time.Millisecond)) + 1
	if diff := cmp.Diff(before, look(), cmp.AllowUnexported(state{})); diff != "" {
		t.Errorf("%d questions leave (-before +after):\n%s", n, diff)
	}
	for i, path := range paths {
		got := 0
		s.await("the requests", func() bool { got = requests(path) - asked[i]; return got > 0 })
		if got > windows {
			t.Errorf("%d questions in %d windows of 500ms cost authentik %d of %s", n, windows, got, path)
		}
	}
	if len(taken) > 0 {
		t.Error("somebody spoke to PostgreSQL")
	}
	r.stop()
	s.nothingLeft()
}

func TestHealthChecksAreNoNuisance(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.env = append(s.env, "STANDIN_RECORD_HEALTH=1")
	notANuisance(t, s, func(path string) int { return len(s.events("health " + path)) })
}

// The real gunicorn's access log has them.
func TestHealthChecksAreNoNuisanceToTheRealGunicorn(t *testing.T) {
	t.Parallel()
	s := newRealScene(t)
	accessLog := s.dir + "/access"
	s.env = append(s.env, "GUNICORN_CMD_ARGS=--access-logfile "+accessLog)
	notANuisance(t, s, func(path string) int {
		raw, err := os.ReadFile(accessLog)
		s.must(err)
		return strings.Count(string(raw), " "+path+" ")
	})
}
