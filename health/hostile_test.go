package health

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// stranger is a uid that is neither ours nor root's.
const stranger = 4711

// asStranger runs fn on a thread that has another uid and ends with it.
func asStranger(t *testing.T, fn func() error) error {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to become another uid")
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		keep := ^uintptr(0)
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, keep, stranger, keep); errno != 0 {
			done <- errno
			return
		}
		done <- fn()
	}()
	return <-done
}

// A file of mode 0777 lets a stranger in; Serve does not hear him.
func TestAStrangerIsNotHeard(t *testing.T) {
	path := serveAt(t, os.Geteuid(), well)
	if err := errors.Join(os.Chmod(path, 0o777), os.Chmod(filepath.Dir(path), 0o755), os.Chmod(filepath.Dir(filepath.Dir(path)), 0o755)); err != nil {
		t.Fatal(err)
	}
	var reply []byte
	err := asStranger(t, func() error {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer func() { _ = unix.Close(fd) }()
		if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
			return err
		}
		_, _ = unix.Write(fd, []byte("live\n")) // it may have hung up
		reply, err = readReply(fd, time.Now().Add(time.Minute))
		if errors.Is(err, unix.ECONNRESET) {
			err = nil
		}
		return err
	})
	if err != nil || len(reply) > 0 {
		t.Errorf("he hears %q, %v", reply, err)
	}
}

// listenAsStranger has a stranger listen and say yes at a socket in this directory.
func listenAsStranger(t *testing.T, dir string) (path string) {
	t.Helper()
	path = filepath.Join(dir, "sock")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), path)
	t.Cleanup(func() { _ = f.Close() })
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	if err := asStranger(t, func() error { return unix.Listen(fd, 8) }); err != nil {
		t.Fatal(err)
	}
	listener, err := net.FileListener(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() { // ends with the listener
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, maxQuestion))
			_, _ = io.WriteString(conn, "yes server ready\n")
			_ = conn.Close()
		}
	}()
	return path
}

func TestAStrangerIsNotBelieved(t *testing.T) {
	dir := t.TempDir()
	path := listenAsStranger(t, dir)
	if a, err := Ask(path, Live, time.Second); !errors.Is(err, ErrNobody) {
		t.Errorf("in a directory of our own: %+v, %v; want ErrNobody", a, err)
	}
	if _, err := AskStatus(path, time.Second); !errors.Is(err, ErrNobody) {
		t.Errorf("his status: %v", err)
	}
	// Root asks an ak-init of another uid in that one's directory.
	if err := os.Chown(dir, stranger, -1); err != nil {
		t.Fatal(err)
	}
	if a, err := Ask(path, Live, time.Second); err != nil || !a[0].Healthy {
		t.Errorf("in his own directory: %+v, %v", a, err)
	}
}

func TestWhoIsBelieved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sock")
	for _, tt := range []struct {
		uid, self int
		want      bool
	}{{1000, 1000, true}, {0, 1000, true}, {0, 0, true}, {1001, 1000, false}, {stranger, 0, false}, {os.Geteuid(), 0, true}, {os.Geteuid(), stranger, os.Geteuid() == 0}} {
		if got := believed(tt.uid, tt.self, path); got != tt.want {
			t.Errorf("uid %d by uid %d: %t", tt.uid, tt.self, got)
		}
	}
}

// replyingAt hears one asker, and replies until that one hangs up.
func replyingAt(t *testing.T, reply func(io.Writer) error) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sock")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		conn, err := listener.Accept()
		for err == nil {
			err = reply(conn)
		}
	}()
	t.Cleanup(func() { _, _ = listener.Close(), <-asked })
	return path
}

func TestAskDoesNotWaitForAReplyThatTrickles(t *testing.T) {
	tick := time.NewTicker(20 * time.Millisecond)
	t.Cleanup(tick.Stop) // behind the last reply
	path := replyingAt(t, func(w io.Writer) error {
		<-tick.C
		_, err := io.WriteString(w, "y")
		return err
	})
	begun := time.Now()
	_, err := Ask(path, Live, 200*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "in time") || time.Since(begun) > 2*time.Second {
		t.Errorf("after %s: %v", time.Since(begun), err)
	}
}

func TestAByteThatComesLateBuysNoTime(t *testing.T) {
	late := time.NewTimer(900 * time.Millisecond)
	path := replyingAt(t, func(w io.Writer) error {
		select {
		case <-late.C:
			_, err := io.WriteString(w, "y")
			return err
		case <-t.Context().Done(): // and nothing comes behind it
			return io.EOF
		}
	})
	begun := time.Now()
	_, err := Ask(path, Live, time.Second)
	if err == nil || !strings.Contains(err.Error(), "in time") || time.Since(begun) > 1500*time.Millisecond {
		t.Errorf("after %s: %v", time.Since(begun), err)
	}
}

func TestAReplyWithoutEndIsCut(t *testing.T) {
	lines := bytes.Repeat([]byte("yes server ready\n"), 1000)
	path := replyingAt(t, func(w io.Writer) error { _, err := w.Write(lines); return err })
	if _, err := Ask(path, Live, 10*time.Second); err == nil || !strings.Contains(err.Error(), "no end") {
		t.Error(err)
	}
}

// However many ask, no more than maxAskers are heard at a time; the others wait in the kernel,
// and all are answered.
func TestAThousandAskersAreHeardInTurn(t *testing.T) {
	const askers = 1000
	before := runtime.NumGoroutine()
	var mu sync.Mutex
	var now, most int
	path := serveAt(t, os.Geteuid(), func(q Question) Answer {
		mu.Lock()
		now++
		most = max(most, now)
		mu.Unlock()
		runtime.Gosched()
		mu.Lock()
		now--
		mu.Unlock()
		return well(q)
	})
	var all sync.WaitGroup
	for range askers {
		all.Go(func() {
			conn, err := net.Dial("unix", path) // Ask would take a thread each
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = conn.Close() }()
			_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
			_, _ = io.WriteString(conn, "live\n")
			if reply, err := io.ReadAll(conn); err != nil || string(reply) != "yes server live\n" {
				t.Errorf("%q, %v", reply, err)
			}
		})
	}
	all.Wait()
	mu.Lock()
	defer mu.Unlock()
	if most > maxAskers {
		t.Errorf("%d were heard at once", most)
	}
	for end := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before+1; runtime.Gosched() { // Serve's own
		if time.Now().After(end) {
			t.Fatalf("%d goroutines, and %d before", runtime.NumGoroutine(), before)
		}
	}
}

// pair is a connection between two ends in this process.
func pair(t *testing.T) (near, far *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ends := make([]*net.UnixConn, 2)
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "pair")
		conn, err := net.FileConn(f)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		ends[i] = conn.(*net.UnixConn)
	}
	return ends[0], ends[1]
}

// FuzzQuestion: whatever bytes an asker sends, the reply is bounded, the connection closes, and
// what is no question has no yes.
func FuzzQuestion(f *testing.F) {
	for _, seed := range []string{"live\n", "ready\nlive\n", "started\n", "status\n", "live", "LIVE\n", "live \n", "\x00live\n", "live\r\n", "\n", strings.Repeat("x", 64) + "\n", strings.Repeat("live\n", 20)} {
		f.Add([]byte(seed), "", "")
	}
	f.Add([]byte("ready\n"), "two\nyes server ready", "\xff: \r")
	f.Fuzz(func(t *testing.T, sent []byte, reason, phase string) {
		if len(sent) > 1<<16 {
			return // it must fit between the two ends
		}
		near, far := pair(t)
		defer func() { _ = near.Close() }()
		desk := Desk{
			Answer: func(q Question) []Answer { return []Answer{{q == Live, Phase(phase), "server", reason}} },
			Status: func() []byte { return []byte("{}") },
		}
		if _, err := near.Write(sent); err != nil {
			t.Fatal(err)
		}
		_ = near.CloseWrite()
		hear(far, []int{os.Geteuid()}, desk)
		_ = far.Close()
		reply, err := io.ReadAll(near)
		if err != nil && !errors.Is(err, unix.ECONNRESET) {
			t.Fatal(err)
		}
		line, _, ended := bytes.Cut(sent, []byte("\n"))
		question := ""
		if ended {
			question = string(line)
		}
		word := ""
		switch Question(question) {
		case Live:
			word = "yes server "
		case Ready, Started:
			word = "no server "
		case statusQuestion:
			word = "{}"
		default:
			if len(reply) > 0 { // to half a line there is none
				word = "no ak-init ?: "
			}
		}
		whole := string(reply)
		if !strings.HasPrefix(whole, word) || word == "" && whole != "" || len(whole) > maxAnswer || strings.Count(whole, "\n") > 1 || whole != "" && !strings.HasSuffix(whole, "\n") {
			t.Errorf("to %q: %q", sent, reply)
		}
	})
}

// FuzzReply: whatever bytes a socket gives, they are answers or an error, and answers say the
// same when they are sent again.
func FuzzReply(f *testing.F) {
	for _, seed := range []string{
		"yes server ready\n", "no worker degraded: connection refused, for 31s now\n", "yes server ready\nno worker starting: x\n", "", "\n", "yes\n",
		"yes  ready\n", "yes server \n", "maybe server ready\n", "yes server ready", "yes server ready\r\n", "yes a b: \n", "no a b: c: d\n", "\x00\xff\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		if len(sent) > maxReply+4096 {
			return // it must fit between the two ends
		}
		near, far := pair(t)
		defer func() { _ = far.Close() }()
		if _, err := near.Write(sent); err != nil {
			t.Fatal(err)
		}
		_ = near.Close()
		raw, err := far.File() // blocking, as the asker's is
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = raw.Close() }()
		heard, err := readReply(int(raw.Fd()), time.Now().Add(time.Minute))
		if len(sent) >= maxReply {
			if err == nil {
				t.Errorf("%d bytes are taken", len(sent))
			}
			return
		}
		if err != nil || !bytes.Equal(heard, sent) {
			t.Fatalf("heard %q of %q, %v", heard, sent, err)
		}
		answers, err := parseReply(string(heard))
		if err != nil {
			if len(answers) > 0 {
				t.Errorf("%v, and yet %+v", err, answers)
			}
			return
		}
		if len(answers) != strings.Count(string(sent), "\n") {
			t.Errorf("%d answers in %q", len(answers), sent)
		}
		for _, a := range answers {
			line := a.line()
			if len(line) > maxAnswer || strings.Count(line, "\n") != 1 {
				t.Errorf("%+v is sent as %q", a, line)
			}
			if len(a.Service)+len(a.Phase)+len(a.Reason)+len("yes  : \n") > maxAnswer {
				continue // it is cut
			}
			if again, err := parseReply(line); err != nil || len(again) != 1 || again[0] != a {
				t.Errorf("%+v comes back as %+v, %v", a, again, err)
			}
		}
	})
}
