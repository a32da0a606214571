package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"ak-init/testdata/hang"
)

// hungDir is a directory that does not answer.
func hungDir(s *scene) string {
	s.t.Helper()
	dir := filepath.Join(s.dir, "hung")
	s.must(os.Mkdir(dir, 0o755))
	hang.Mount(s.t, dir)
	return dir
}

// awaitText reads the output until it holds the words.
func (r *running) awaitText(s *scene, words string) {
	s.t.Helper()
	s.await(words, func() bool { return strings.Contains(r.logs.String(), words) })
}

// A server that is away holds nobody up for longer than its bound, several for no longer
// than one.
func TestHungDirectoriesAreRefused(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	dir := hungDir(s)
	s.env = append(s.env, "AUTHENTIK_STORAGE__FILE__PATH="+dir+"/data", "PROMETHEUS_MULTIPROC_DIR="+dir+"/metrics")
	begin := time.Now()
	r := s.start("server")
	if code := r.exitCode(); code != exitCannotWrite {
		t.Errorf("exit code %d, want %d", code, exitCannotWrite)
	}
	if took := time.Since(begin); took > 9*time.Second {
		t.Errorf("it took %s, more than one bound", took)
	}
	for _, want := range []string{
		"(uploads): it does not answer within 5s; it lies on what is mounted at " + dir,
		"(metric files): it does not answer within 5s",
		"look at what is mounted there (fuse nowhere:/export)",
	} {
		if !strings.Contains(r.logs.String(), want) {
			t.Errorf("it does not say %q", want)
		}
	}
	s.nothingLeft()
}

func TestHungTempDirIsRefused(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	dir := hungDir(s)
	r := s.start("server", "--tmpdir", dir)
	if code := r.exitCode(); code != exitCannotWrite {
		t.Errorf("exit code %d, want %d", code, exitCannotWrite)
	}
	if want := "cannot write to " + dir + " (--tmpdir): it does not answer within 5s; it is a mount point"; !strings.Contains(r.logs.String(), want) {
		t.Errorf("it does not say %q", want)
	}
}

// Who waits is ended by KILL, as by "docker kill".
func TestHungStartCanBeKilled(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	r := s.start("run", "--env-file", hungDir(s)+"/env", "--", "true")
	s.await("the wait", func() bool { return waitsForFUSE(r.Process.Pid) })
	r.signal(syscall.SIGKILL)
	r.exitCode()
	if status := r.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGKILL {
		t.Errorf("it ended with %v", status)
	}
}

// waitsForFUSE tells whether a thread of the process waits for a FUSE daemon.
func waitsForFUSE(pid int) bool {
	files, _ := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/wchan")
	for _, file := range files {
		if where, err := os.ReadFile(file); err == nil && strings.Contains(string(where), "request_wait_answer") {
			return true
		}
	}
	return false
}

// A secret that cannot be read is authentik's own matter: it starts, and stops.
func TestHungSecretIsAWarning(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	dir := hungDir(s)
	s.env = append(s.env, "AUTHENTIK_EMAIL__PASSWORD=file://"+dir+"/key", "AUTHENTIK_POSTGRESQL__PASSWORD=file://"+dir+"/password")
	r := s.start("server")
	r.awaitText(s, "cannot read "+dir+"/key: it does not answer within 5s")
	s.awaitHealth(exitHealthy, "--started") // live it is before, too
	r.stop()
	s.nothingLeft()
}

// Who is to ask PostgreSQL would read the same files, and hang where nothing ends it. So nobody
// asks, and check and start keep to their bounds.
func TestWhatHangsIsNotReadOnceMore(t *testing.T) {
	t.Parallel()
	for _, setting := range []string{"PASSWORD=file://{dir}/password", "HOST={dir}", "SSLROOTCERT={dir}/ca"} {
		t.Run(setting, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			s.addProgram(akInitDatabase)
			s.env = append(s.env, "AUTHENTIK_POSTGRESQL__"+strings.ReplaceAll(setting, "{dir}", hungDir(s)), "AK_INIT_WAIT_DATABASE=30s")
			const says = "a file that its settings name does not answer"
			check := s.start("check", "server")
			if code := check.exitCode(); code != exitHealthy || !strings.Contains(check.logs.String(), "left to authentik: "+says) {
				t.Errorf("check ends with %d", code)
			}
			r := s.start("server")
			s.awaitHealth(exitHealthy, "--started") // live it is before, too
			r.stop()
			s.nothingLeft()
		})
	}
}
