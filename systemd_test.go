package main

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ak-init/notify"
	"ak-init/testdata/bed"
)

// serviceManager listens as systemd does, and takes what the main process sends alone
// (systemd.service(5), NotifyAccess=main).
type serviceManager struct {
	t    *testing.T
	conn *net.UnixConn
	main int
	// heard is every line so far.
	heard []string
}

func (s *scene) serviceManager(name string) *serviceManager {
	s.t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	s.must(err)
	s.t.Cleanup(func() { _ = conn.Close() })
	raw, err := conn.SyscallConn()
	s.must(err)
	s.must(raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1) }), err)
	return &serviceManager{t: s.t, conn: conn}
}

// next gives the lines of the next message, none when there is none in that time.
func (m *serviceManager) next(within time.Duration) []string {
	m.t.Helper()
	buffer, oob := make([]byte, 4096), make([]byte, 256)
	_ = m.conn.SetReadDeadline(time.Now().Add(within))
	n, oobn, _, _, err := m.conn.ReadMsgUnix(buffer, oob)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	if err != nil {
		m.t.Fatal(err)
	}
	parts, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(parts) != 1 {
		m.t.Fatalf("no credentials: %v", err)
	}
	cred, err := unix.ParseUnixCredentials(&parts[0])
	if err != nil || int(cred.Pid) != m.main {
		m.t.Errorf("%q was sent by %+v, %v, not by the main process %d", buffer[:n], cred, err, m.main)
	}
	lines := strings.Split(string(buffer[:n]), "\n")
	m.heard = append(m.heard, lines...)
	return lines
}

// await reads until this line comes.
func (m *serviceManager) await(line string) {
	m.t.Helper()
	for {
		lines := m.next(patience)
		if lines == nil {
			m.t.Fatalf("%s never came; heard: %q", line, m.heard)
		}
		if slices.Contains(lines, line) {
			return
		}
	}
}

func (m *serviceManager) has(line string) bool { return slices.Contains(m.heard, line) }

func TestServiceManagerIsTold(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"/notify", "@"} {
		t.Run("socket "+name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			if name == "@" {
				name += filepath.Base(s.dir)
			} else {
				name = s.dir + name
			}
			m := s.serviceManager(name)
			s.env = append(s.env, "NOTIFY_SOCKET="+name, "WATCHDOG_USEC=400000", "STANDIN_GUNICORN_DELAY=1s")
			r := s.start("server", "--migrate", "before")
			m.main = r.Process.Pid
			m.await(notify.Ready)
			if code, said := s.health("--ready"); code != 0 {
				t.Errorf("told that it is ready, and it is not: %s", said)
			}
			for _, line := range []string{"STATUS=preparing", "EXTEND_TIMEOUT_USEC=90000000", "STATUS=migrating", notify.Alive} {
				if !m.has(line) {
					t.Errorf("%s did not come before it was ready; heard: %q", line, m.heard)
				}
			}
			if !slices.ContainsFunc(m.heard, func(line string) bool { return strings.HasPrefix(line, "STATUS=server starting") }) {
				t.Errorf("no word of the start in %q", m.heard)
			}
			m.await("STATUS=ready")
			for range 3 {
				m.await(notify.Alive)
			}
			for _, name := range notify.Variables() {
				if value, set := s.starts("server")[0].Env[name]; set {
					t.Errorf("the child has %s=%s", name, value)
				}
			}
			if m.has(notify.Stopping) {
				t.Errorf("stopping already: %q", m.heard)
			}
			r.signal(syscall.SIGTERM)
			m.await(notify.Stopping)
			m.await("STATUS=stopping")
			if code := r.exitCode(); code != 0 {
				t.Errorf("exit code %d", code)
			}
			for m.next(time.Millisecond) != nil { // what was sent before the end
			}
			if n := strings.Count(strings.Join(m.heard, "\n"), notify.Ready); n != 1 {
				t.Errorf("ready %d times", n)
			}
		})
	}
}

// Nothing is well when what ran has ended.
func TestServiceManagerIsNotToldThatAnEndIsWell(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	m := s.serviceManager(s.dir + "/notify")
	s.env = append(s.env, "NOTIFY_SOCKET="+s.dir+"/notify", "STANDIN_MIGRATE_EXIT=3")
	r := s.start("server", "--migrate", "before")
	m.main = r.Process.Pid
	m.await("STATUS=migrating")
	if code := r.exitCode(); code != 3 {
		t.Errorf("exit code %d", code)
	}
	for m.next(time.Millisecond) != nil { // what was sent before the end
	}
	for _, line := range []string{"STATUS=ready", notify.Ready} {
		if m.has(line) {
			t.Errorf("heard %q", m.heard)
		}
	}
}

// A stop that interrupts a step is one stop, though the step's end and a sweep follow.
func TestServiceManagerIsToldOnceOfAStopInAStep(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.addHTTP() // is swept
	m := s.serviceManager(s.dir + "/notify")
	s.env = append(s.env, "NOTIFY_SOCKET="+s.dir+"/notify", "STANDIN_MIGRATE_DELAY=1h")
	r := s.start("server", "--migrate", "before")
	m.main = r.Process.Pid
	m.await("STATUS=migrating")
	r.signal(syscall.SIGTERM)
	r.exitCode()
	for m.next(time.Millisecond) != nil { // what was sent before the end
	}
	count := func(line string) (n int) {
		for _, heard := range m.heard {
			if heard == line {
				n++
			}
		}
		return n
	}
	if count(notify.Stopping) != 1 || count("STATUS=stopping") != 1 || m.has("STATUS=ready") {
		t.Errorf("heard %q", m.heard)
	}
}

func TestAnotherProcessesWatchdogIsLeftAlone(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	m := s.serviceManager(s.dir + "/notify")
	s.env = append(s.env, "NOTIFY_SOCKET="+s.dir+"/notify", "WATCHDOG_USEC=100000", "WATCHDOG_PID=1")
	r := s.start("server")
	m.main = r.Process.Pid
	m.await(notify.Ready)
	r.stop()
	for m.next(time.Millisecond) != nil { // what was sent before the end
	}
	if m.has(notify.Alive) {
		t.Errorf("heard %q", m.heard)
	}
}

// A program of the user's own speaks for itself, or not at all.
func TestRunHandsTheServiceManagerOn(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	m := s.serviceManager(s.dir + "/notify")
	given := []string{"NOTIFY_SOCKET=" + s.dir + "/notify", "WATCHDOG_USEC=100000", "WATCHDOG_PID=7"}
	s.env = append(s.env, given...)
	r := s.start("run", "--", "env")
	if code := r.exitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	for _, line := range given {
		if !strings.Contains(r.logs.String(), line+"\n") {
			t.Errorf("the program has no %s", line)
		}
	}
	if lines := m.next(time.Millisecond); lines != nil {
		t.Errorf("told %q", lines)
	}
}

func TestAServiceManagerThatCannotBeToldDoesNoHarm(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.env = append(s.env, "NOTIFY_SOCKET="+s.dir+"/nobody", "WATCHDOG_USEC=nonsense")
	r := s.start("server")
	s.await("the start", func() bool { return strings.Contains(r.logs.String(), `"event":"ready"`) })
	r.stop()
	for _, says := range []string{"the service manager cannot be told", "watchdog is left alone"} {
		if n := strings.Count(r.logs.String(), says); n != 1 {
			t.Errorf("%d lines say %q", n, says)
		}
	}
}

// TestAStartIsReported has nobody who asks: ak-init finds out by itself, says it in one line,
// and draws it.
func TestAStartIsReported(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.env = append(s.env, "STANDIN_GUNICORN_DELAY=700ms", "STANDIN_MIGRATE_DELAY=300ms")
	r := s.start("server", "--migrate", "before")
	ready := regexp.MustCompile(`.*"event":"ready".*`)
	s.await("the line", func() bool { return ready.MatchString(r.logs.String()) })
	var line map[string]any
	s.must(json.Unmarshal([]byte(ready.FindString(r.logs.String())), &line))
	took := func(key string) time.Duration {
		text, _ := line[key].(string)
		d, err := time.ParseDuration(text)
		if err != nil {
			t.Errorf("%s: %v", key, err)
		}
		return d
	}
	sum := took("preparing") + took("waiting_for_database") + took("migrating") + took("server_starting")
	if total := took("total"); total < sum-5*time.Millisecond || total > sum+time.Second {
		t.Errorf("total %s, the parts have %s: %v", total, sum, line)
	}
	if took("migrating") < 300*time.Millisecond || took("server_starting") < 700*time.Millisecond {
		t.Errorf("less than it can have taken: %v", line)
	}

	ask := func(words ...string) string {
		cmd := exec.CommandContext(t.Context(), s.akInit, append([]string{"status"}, words...)...)
		cmd.Env = s.env
		out, err := cmd.Output()
		s.must(err)
		return string(out)
	}
	if text := ask(); !regexp.MustCompile(`(?m)^ready after .*: preparing .*, migrating .*, server starting `).MatchString(text) {
		t.Errorf("status: %s", text)
	}
	if text := ask("--timeline"); !regexp.MustCompile(`(?m)^  server starting +[\d.m]+s +█+$`).MatchString(text) {
		t.Errorf("status --timeline: %s", text)
	}
	if n := strings.Count(ask("--timeline", "--output", "svg"), `class="bar `); n != 4 {
		t.Errorf("%d bars, want preparing, waiting, migrating and starting", n)
	}
	var all []status
	s.must(json.Unmarshal([]byte(ask("--output", "json")), &all))
	spans := all[0].Timeline
	if last := spans[len(spans)-1]; len(spans) != 4 || last.Service != "server" || last.Next != "ready" || last.End.IsZero() {
		t.Errorf("timeline %+v", spans)
	}
	r.stop()
}

// After a restart ak-init asks again, though nobody else does; the line about the start comes
// once.
func TestARestartIsFollowed(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	r := s.start("server", "--restart", "always")
	ready := func(n int) func() bool {
		return func() bool { return strings.Count(r.logs.String(), `"event":"service ready"`) == n }
	}
	s.await("the start", ready(1))
	s.must(syscall.Kill(s.starts("server")[0].PID, syscall.SIGKILL))
	s.await("the restart", ready(2))
	r.stop()
	if n := strings.Count(r.logs.String(), `"event":"ready"`); n != 1 {
		t.Errorf("%d lines about the start", n)
	}
}

// TestUnitIsWhatSystemdTakes lets systemd look at the unit, for each service.
func TestUnitIsWhatSystemdTakes(t *testing.T) {
	t.Parallel()
	analyze, err := exec.LookPath("systemd-analyze")
	bed.Need(t, "systemd", err == nil, "no systemd-analyze")
	s := newScene(t)
	unit, err := os.ReadFile("contrib/systemd/authentik@.service")
	s.must(err)
	text := strings.Replace(string(unit), "/usr/local/bin/ak-init", s.akInit, 1) // which has to be there
	s.must(os.WriteFile(s.dir+"/authentik@.service", []byte(text), 0o600))
	for _, service := range []string{"server", "worker"} {
		out, err := exec.CommandContext(t.Context(), analyze, "verify", s.dir+"/authentik@"+service+".service").CombinedOutput()
		if err != nil || strings.Contains(string(out), "authentik@") {
			t.Errorf("%s: %v\n%s", service, err, out)
		}
	}
}
