package health

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// serveAt answers on a socket until the test ends.
func serveAt(t *testing.T, uid int, answer func(Question) Answer) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sock")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		Serve(listener, []int{uid}, Desk{
			Answer: func(q Question) []Answer { return []Answer{answer(q)} },
			Status: func() []byte { return []byte(`{}`) },
		})
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-done
	})
	return path
}

func well(q Question) Answer { return Answer{Healthy: true, Service: "server", Phase: Phase(q)} }

func TestAskGetsTheAnswerToItsQuestion(t *testing.T) {
	path := serveAt(t, os.Geteuid(), well)
	for _, q := range []Question{Live, Ready, Started} {
		a, err := Ask(path, q, time.Second)
		if err != nil || len(a) != 1 || !a[0].Healthy || a[0].Phase != Phase(q) {
			t.Errorf("%s: %+v, %v", q, a, err)
		}
	}
}

func TestAskWhereNobodyIs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sock")
	if _, err := Ask(path, Live, time.Second); !errors.Is(err, ErrNobody) {
		t.Errorf("no socket: %v, want ErrNobody", err)
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	listener.SetUnlinkOnClose(false)
	_ = listener.Close()
	if _, err := Ask(path, Live, time.Second); !errors.Is(err, ErrNobody) {
		t.Errorf("a stale socket: %v, want ErrNobody", err)
	}
}

// healthcheck looks through directories whose sockets could never be bound.
func TestAskBeyondTheLengthOfASocketPath(t *testing.T) {
	if _, err := Ask("/"+strings.Repeat("x", 200), Live, time.Second); !errors.Is(err, ErrNobody) {
		t.Errorf("%v, want ErrNobody", err)
	}
}

func TestAskDoesNotWaitForEver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sock")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	_, err = Ask(path, Live, 50*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "in time") {
		t.Errorf("a socket that accepts and never answers: %v", err)
	}
}

func TestStuckAskersHoldUpNobody(t *testing.T) {
	path := serveAt(t, os.Geteuid(), well)
	for range maxAskers - 1 {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
	}
	if a, err := Ask(path, Live, 500*time.Millisecond); err != nil || !a[0].Healthy {
		t.Errorf("with %d stuck askers: %+v, %v", maxAskers-1, a, err)
	}
}

func TestGarbageIsAnsweredOrClosed(t *testing.T) {
	path := serveAt(t, os.Geteuid(), func(q Question) Answer {
		t.Errorf("garbage was taken for the question %q", q)
		return Answer{}
	})
	for name, garbage := range map[string]string{
		"another word": "dead\n", "binary": "\x00\xff\n", "a megabyte": strings.Repeat("x", 1<<20), "empty": "\n",
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
			_, _ = io.WriteString(conn, garbage) // may be cut off by the other side
			reply, err := io.ReadAll(conn)
			if err != nil && !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("neither answered nor closed: %v", err)
			}
			if strings.HasPrefix(string(reply), "yes") || len(reply) > maxAnswer {
				t.Errorf("answered %q", reply)
			}
		})
	}
}

func TestAnotherUIDIsNotHeard(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root is always heard")
	}
	path := serveAt(t, os.Geteuid()+1, well)
	if a, err := Ask(path, Live, time.Second); err == nil {
		t.Errorf("heard and answered %+v", a)
	}
}

func TestHTTPProbe(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodHead {
			t.Errorf("asked by %s", r.Method)
		}
		if strings.HasPrefix(r.URL.Path, "/slow") {
			<-r.Context().Done()
			return
		}
		if r.URL.Path == "/sub/-/health/live/" {
			w.WriteHeader(http.StatusOK)
			return
		}
		w.WriteHeader(http.StatusBadGateway)
	}))
	defer server.Close()
	address := server.Listener.Addr().String()
	if err := HTTP([]string{address}, "/sub/-/health/live/", time.Second); err != nil {
		t.Errorf("200: %v", err)
	}
	if err := HTTP([]string{address}, "/", time.Second); err == nil || !strings.Contains(err.Error(), "502") {
		t.Errorf("502: %v", err)
	}
	if err := HTTP([]string{address}, "/slow", 50*time.Millisecond); err == nil || !strings.Contains(err.Error(), "in time") {
		t.Errorf("a server that hangs: %v", err)
	}
	if err := HTTP([]string{"127.255.255.254:1", address}, "/sub/-/health/live/", time.Second); err != nil {
		t.Errorf("reachable at its second address: %v", err)
	}
	server.Close()
	if err := HTTP([]string{address}, "/", time.Second); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("nobody listens: %v", err)
	}
}

// Celery is not here; touch is what its timer does.
func TestHeartbeat(t *testing.T) {
	const maxAge = 30 * time.Second
	path := filepath.Join(t.TempDir(), "authentik-worker")
	touch := func() {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), "touch", path).CombinedOutput(); err != nil {
			t.Fatalf("touch: %v\n%s", err, out)
		}
	}
	if err := Heartbeat(path, maxAge); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	touch()
	if err := Heartbeat(path, maxAge); err != nil {
		t.Errorf("touched just now: %v", err)
	}
	for age, want := range map[time.Duration]string{-time.Hour: "", 20 * time.Second: "", 31 * time.Second: "was last touched 31s ago, and should be every 30s"} {
		at := time.Now().Add(-age)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
		if err := Heartbeat(path, maxAge); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("touched %s ago: %v, want %q", age, err, want)
		}
	}
	touch()
	if err := Heartbeat(path, maxAge); err != nil {
		t.Errorf("touched again: %v", err)
	}
	if err := errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600)); err != nil {
		t.Fatal(err)
	}
	_ = Heartbeat(path, maxAge) // whatever it says of a FIFO, it has come back
}

func TestPIDFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "authentik-worker.pid")
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := PIDFile(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	start := func(argument string) *exec.Cmd {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "sh", "-c", "sleep 1000; true", "worker", "--pid-file", argument)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
		// exec closes what tells Start of it before the command line can be read.
		for line := []byte(nil); len(line) == 0 && t.Context().Err() == nil; {
			line, _ = os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", cmd.Process.Pid))
		}
		return cmd
	}
	writer, other := start(filepath.Dir(path)+"//authentik-worker.pid"), start("/elsewhere/authentik-worker.pid")
	write(fmt.Sprintf("%d\n", writer.Process.Pid))
	if pid, err := PIDFile(path); err != nil || pid != writer.Process.Pid {
		t.Errorf("its own process: %d, %v", pid, err)
	}
	write(strconv.Itoa(other.Process.Pid))
	if _, err := PIDFile(path); err == nil || !strings.Contains(err.Error(), "somebody else") {
		t.Errorf("a pid that was used again, by another worker: %v", err)
	}
	_ = other.Process.Kill()
	_ = other.Wait()
	if _, err := PIDFile(path); err == nil || !strings.Contains(err.Error(), "gone") {
		t.Errorf("a dead process: %v", err)
	}
	for _, garbage := range []string{"", "x", "-1", "0", "4294967297", strings.Repeat("9", 5000)} {
		write(garbage)
		if _, err := PIDFile(path); err == nil {
			t.Errorf("%.10q is taken for a pid", garbage)
		}
	}
	if err := errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := PIDFile(path); err == nil { // and it has come back
		t.Error("a FIFO is taken for a pid file")
	}
}
