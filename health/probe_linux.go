package health

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// HTTP asks the first of these addresses that can be reached by HEAD, as authentik's own
// health check does (cmd/server/healthcheck.go, 2026.2), and wants a status below 400, else it
// gives a [*RefusedError]. An address that begins with a slash is a unix socket's.
// It writes the request itself: net/http would add 3.5 MB and its initialisers for one
// line. No proxy from the environment is asked.
func HTTP(addresses []string, path string, timeout time.Duration) error {
	deadline := time.Now().Add(timeout)
	var unreachable error
	for i, address := range addresses {
		conn, err := dial(address, deadline, len(addresses)-i)
		if err == nil {
			defer func() { _ = conn.Close() }()
			_ = conn.SetDeadline(deadline)
			return head(conn, address, escaped(path), timeout)
		}
		unreachable = plain(err, timeout)
	}
	return unreachable
}

// dial leaves their share of the time to those that are tried after this one: whoever drops
// packets must not take all of it.
func dial(address string, deadline time.Time, left int) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Until(deadline)/time.Duration(left))
	defer cancel()
	network := "tcp"
	if strings.HasPrefix(address, "/") {
		network = "unix"
	}
	return new(net.Dialer).DialContext(ctx, network, address)
}

func head(conn net.Conn, address, path string, timeout time.Duration) error {
	host, over := address, ""
	if strings.HasPrefix(address, "/") {
		host, over = "localhost", " at "+address
	}
	_, err := fmt.Fprintf(conn, "HEAD %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: goauthentik.io/healthcheck\r\nConnection: close\r\n\r\n", path, host)
	if err != nil {
		return plain(err, timeout)
	}
	status, err := statusOf(conn)
	if err != nil {
		return fmt.Errorf("http://%s%s%s: %w", host, path, over, plain(err, timeout))
	}
	if status >= 400 {
		return &RefusedError{fmt.Sprintf("http://%s%s%s answers %d", host, path, over, status)}
	}
	return nil
}

// RefusedError is an HTTP answer that is no yes: whoever gives it is at work.
type RefusedError struct{ text string }

func (r *RefusedError) Error() string { return r.text }

// escaped keeps a path within its line and its word (RFC 9112, 3.2).
func escaped(path string) string {
	var s strings.Builder
	for _, b := range []byte(path) {
		if b <= ' ' || b >= 0x7f {
			fmt.Fprintf(&s, "%%%02X", b)
		} else {
			s.WriteByte(b)
		}
	}
	return s.String()
}

// statusOf reads a status line (RFC 9112, 4): "HTTP/1.1 200 OK".
func statusOf(conn net.Conn) (int, error) {
	buffer := make([]byte, 12)
	for read := 0; read < len(buffer); {
		n, err := conn.Read(buffer[read:])
		if err != nil {
			return 0, err
		}
		read += n
	}
	status, err := strconv.Atoi(string(buffer[9:]))
	if err != nil || !bytes.HasPrefix(buffer, []byte("HTTP/1.")) {
		return 0, fmt.Errorf("not HTTP: %.12q", buffer)
	}
	return status, nil
}

// plain says a time-out in words; the rest names address and cause as it is.
func plain(err error, timeout time.Duration) error {
	late, isNet := errors.AsType[net.Error](err)
	if !isNet || !late.Timeout() {
		return err
	}
	if at, ok := errors.AsType[*net.OpError](err); ok && at.Op == "dial" && at.Addr != nil {
		return fmt.Errorf("%s: no connection in time (%s)", at.Addr, timeout.Round(time.Millisecond))
	}
	return fmt.Errorf("no answer in time (%s)", timeout.Round(time.Millisecond))
}

// PIDFile looks whether the process that a pid file names lives, and is the one that
// wrote it: its command line must name the file, for a pid is used again after its
// process has ended. It gives that pid.
func PIDFile(path string) (int, error) {
	raw, err := readStart(path)
	if err != nil {
		return 0, err
	}
	number, err := strconv.ParseInt(strings.TrimSpace(string(raw)), 10, 32) // of more the kernel takes the lower 32 bits
	pid := int(number)
	if err != nil || pid <= 0 {
		return 0, fmt.Errorf("%s holds no pid: %.20q", path, raw)
	}
	// EPERM means that it lives and has another uid (man 2 kill).
	if err := syscall.Kill(pid, 0); err != nil && !errors.Is(err, syscall.EPERM) {
		return 0, fmt.Errorf("%s names pid %d, which is gone", path, pid)
	}
	line, err := readStart("/proc/" + strconv.Itoa(pid) + "/cmdline")
	// The bash script leaves a double slash where TMPDIR ends in one.
	if err == nil && !bytes.Contains(bytes.ReplaceAll(line, []byte("//"), []byte("/")), []byte(path)) {
		return 0, fmt.Errorf("%s is of an earlier run: pid %d is somebody else now", path, pid)
	}
	return pid, nil
}

// Heartbeat looks whether a file has been touched no longer ago than maxAge. It is looked at
// only, so that a FIFO in its place makes nobody wait. A time to come, of a clock that was put
// back, is not old.
func Heartbeat(path string, maxAge time.Duration) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if age := time.Since(info.ModTime()); age > maxAge {
		return fmt.Errorf("%s was last touched %s ago, and should be every %s", path, age.Round(time.Second), maxAge.Round(time.Second))
	}
	return nil
}

// readStart reads no more of a file than a pid or a command line needs, and waits for
// nobody: in a shared directory anybody can put a FIFO in its place.
func readStart(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(io.LimitReader(f, 4096))
}
