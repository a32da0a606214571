package notify

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// listen gives a manager's socket, closed with the test.
func listen(t *testing.T, name string) *net.UnixConn {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestSendReachesAPathAndAnAbstractName(t *testing.T) {
	dir, err := os.MkdirTemp("", "n-") //nolint:usetesting // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	for _, socket := range []string{filepath.Join(dir, "s"), fmt.Sprintf("@ak-init-notify-%d", os.Getpid())} {
		conn := listen(t, socket)
		if err := Send(socket, Ready, Status("all is well")); err != nil {
			t.Fatal(err)
		}
		buffer := make([]byte, 4096)
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, err := conn.Read(buffer)
		if got := string(buffer[:n]); err != nil || got != "READY=1\nSTATUS=all is well" {
			t.Errorf("%s: %q, %v", socket, got, err)
		}
	}
}

func TestWhatCannotBeSentIsAnError(t *testing.T) {
	for name, socket := range map[string]string{
		"nothing": "", "a slash": "/", "an at": "@", "relative": "run/notify", "vsock": "vsock:2:1234",
		"nobody": "/nonexistent/notify", "too long": "/" + strings.Repeat("x", 200),
	} {
		if err := Send(socket, Ready); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A manager that does not read must not hold up anybody for longer than it takes to give up.
func TestAFullQueueIsGivenUp(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes five seconds")
	}
	t.Parallel()
	socket := fmt.Sprintf("@ak-init-full-%d", os.Getpid())
	listen(t, socket)
	begun := time.Now()
	for range 100_000 {
		if err := Send(socket, Alive); err != nil {
			if took := time.Since(begun); took > 4*sendTimeout {
				t.Errorf("given up after %s", took)
			}
			return
		}
	}
	t.Error("the queue has no end")
}

func TestStatusIsOneShortLineOfUTF8(t *testing.T) {
	for text, want := range map[string]string{
		"ready": "STATUS=ready", "": "STATUS=", "two\nlines": "STATUS=two; lines", "\xff": "STATUS=",
	} {
		if got := Status(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	if got := Status("x" + strings.Repeat("ü", 4000)); len(got) > maxStatus+len("STATUS=") || !utf8.ValidString(got) {
		t.Errorf("%d bytes", len(got))
	}
}

func TestInterval(t *testing.T) {
	for _, tt := range []struct {
		usec, watched string
		want          time.Duration
		fails         bool
	}{
		{"", "", 0, false},
		{"", "42", 0, false},
		{"30000000", "", 30 * time.Second, false},
		{"30000000", "42", 30 * time.Second, false},
		{"30000000", "43", 0, false},
		{"30000000", "x", 0, false},
		{"0", "", 0, true},
		{"-1", "", 0, true},
		{"30s", "", 0, true},
		{"9223372036854775807", "", 0, true},
	} {
		got, err := Interval(tt.usec, tt.watched, 42)
		if got != tt.want || (err != nil) != tt.fails {
			t.Errorf("%q, %q: %s, %v", tt.usec, tt.watched, got, err)
		}
	}
}

func TestExtend(t *testing.T) {
	if got := Extend(90 * time.Second); got != "EXTEND_TIMEOUT_USEC=90000000" {
		t.Error(got)
	}
}
