package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// deadSocket binds a socket and leaves its name behind, as a server that was killed.
func (s *scene) deadSocket(path string) {
	s.t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	s.must(err)
	l.SetUnlinkOnClose(false)
	s.must(l.Close())
}

// deadPID is one that nobody has any more.
func (s *scene) deadPID() int {
	s.t.Helper()
	cmd := exec.Command("true")
	s.must(cmd.Run())
	return cmd.Process.Pid
}

// write makes files below a directory that is made as well, each of 4096 bytes.
func (s *scene) write(dir string, names ...string) {
	s.t.Helper()
	s.must(os.MkdirAll(dir, 0o755))
	for _, name := range names {
		s.must(os.WriteFile(filepath.Join(dir, name), make([]byte, 4096), 0o644))
	}
}

// line is the one line of ak-init's with this event.
func (r *running) line(event string) map[string]any {
	r.t.Helper()
	var found []map[string]any
	for text := range strings.Lines(r.logs.String()) {
		one := map[string]any{}
		if json.Unmarshal([]byte(text), &one) == nil && one["logger"] == "ak-init" && strings.HasPrefix(fmt.Sprint(one["event"]), event) {
			found = append(found, one)
		}
	}
	if len(found) != 1 {
		r.t.Fatalf("%d lines begin with %q, want one", len(found), event)
	}
	return found[0]
}

// says wants one line that holds all of these words.
func (r *running) says(parts ...string) {
	r.t.Helper()
	if found := r.lines(parts...); len(found) != 1 {
		r.t.Errorf("%d lines say %q, want one", len(found), parts)
	}
}

const metricsOfScene = "/" + metricsName

func TestWhatAnEarlierRunLeftIsRemoved(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.deadSocket(s.tmpdir + "/authentik-core.sock")
	pidFile := fmt.Sprintf("%s/authentik-gunicorn.%d.pid", s.tmpdir, 123)
	s.must(os.WriteFile(pidFile, fmt.Appendf(nil, "%d\n", s.deadPID()), 0o644))
	stale := []string{"counter_99999.db", "gauge_all_1.db", "histogram_7.db"}
	s.write(s.tmpdir+metricsOfScene, stale...)
	foreign := []string{"mine.txt", "counter.db", "authentik-core.sock.bak", "authentik-gunicorn.pid"}
	s.write(s.tmpdir, foreign...)
	s.write(s.tmpdir+metricsOfScene, "notes.db", "counter_x.db")
	r := s.start("server")
	s.awaitHealth(0, "--started")
	for _, name := range stale {
		if exists(s.tmpdir + metricsOfScene + "/" + name) {
			t.Errorf("%s is still there", name)
		}
	}
	if exists(pidFile) {
		t.Error("the pid file of a dead process is still there")
	}
	for _, path := range append(foreign, metricsName+"/notes.db", metricsName+"/counter_x.db") {
		if !exists(s.tmpdir + "/" + path) {
			t.Errorf("%s is gone, and was no leftover", path)
		}
	}
	line := r.line("removed what an earlier run left")
	// The pid file takes a block as well where the file system keeps no data in inodes.
	if line["path"] != s.tmpdir || line["files"] != 5.0 || line["bytes"].(float64) < 3*4096 {
		t.Errorf("it says %v; want 5 files and what they took", line)
	}
	r.stop()
	if strings.Contains(r.logs.String(), `"check":"leftovers"`) {
		t.Error("it complains of what it could remove")
	}
}

func TestNothingIsSaidWhereNothingWasLeft(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	r := s.start("server")
	s.awaitHealth(0, "--started")
	r.stop()
	if strings.Contains(r.logs.String(), "earlier run") {
		t.Error("it speaks of an earlier run")
	}
}

// A server under another init, or in another container with the same /dev/shm.
func TestSocketThatAnswersIsNotTakenAway(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	path := s.tmpdir + "/authentik-core.sock"
	l, err := net.Listen("unix", path)
	s.must(err)
	defer func() { _ = l.Close() }()
	r := s.start("server")
	if code := r.exitCode(); code != exitConfig {
		t.Errorf("exit code %d, want %d", code, exitConfig)
	}
	r.says(path, "another authentik runs with this TMPDIR", `"check":"leftovers"`)
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err != nil {
		t.Fatalf("the socket does not answer any more: %v", err)
	}
	_ = conn.Close()
	if started := s.starts("server"); len(started) > 0 {
		t.Errorf("started %v", started)
	}
	entries, err := os.ReadDir(s.tmpdir)
	s.must(err)
	if len(entries) != 1 {
		t.Errorf("TMPDIR holds %v", entries)
	}
}

// Server and worker of a pod with one /dev/shm: whose metric files they are cannot be told.
func TestMetricFilesOfSeveralAreKept(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.env = append(s.env, "AK_INIT_USER="+uid())
	worker := s.start("worker")
	s.awaitHealth(0, "--started")
	s.write(s.tmpdir+metricsOfScene, "counter_99999.db", "gauge_all_1.db")
	server := *s
	server.address = freeAddress(t, s.dir+"/server")
	server.env = append(server.env, "AUTHENTIK_LISTEN__HTTP="+server.address)
	r := server.start("server")
	server.awaitHealth(0, "--started", "server")
	r.says("2 metric files in "+s.tmpdir+metricsOfScene+" are kept: another authentik uses this TMPDIR", `"level":"warning"`)
	if !exists(s.tmpdir+metricsOfScene+"/counter_99999.db") || !exists(s.tmpdir+metricsOfScene+"/gauge_all_1.db") {
		t.Error("they are gone")
	}
	r.stop()
	worker.stop()
}

func TestAllSweepsEachServicesTempDir(t *testing.T) {
	t.Parallel()
	s := newAllScene(t)
	server, worker := s.tmpdir+"/authentik-server", s.tmpdir+"/authentik-worker"
	s.write(server+metricsOfScene, "counter_99999.db")
	s.write(worker+metricsOfScene, "summary_1.db", "mine.txt")
	s.write(s.tmpdir+metricsOfScene, "counter_1.db") // nobody's here: it is not swept
	s.must(os.Chmod(server, 0o700), os.Chmod(worker, 0o700))
	s.deadSocket(server + "/authentik-core.sock")
	r := s.start("all")
	s.awaitHealth(0, "--started")
	r.says("removed what an earlier run left", `"path":"`+server+`"`, `"files":2,`)
	r.says("removed what an earlier run left", `"path":"`+worker+`"`, `"files":1,`)
	if !exists(worker+metricsOfScene+"/mine.txt") || !exists(s.tmpdir+metricsOfScene+"/counter_1.db") {
		t.Error("what is nobody's is gone")
	}
	r.stop()
}

// timesOf are the times of content and of inode of all that lies below a directory.
func (s *scene) timesOf(dir string) map[string]string {
	s.t.Helper()
	times := map[string]string{}
	s.must(filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil {
			err = unix.Lstat(path, &st)
		}
		times[path] = fmt.Sprint(st.Mtim, st.Ctim)
		return err
	}))
	return times
}
