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
// health check does (cmd/server/healthcheck.go, 2026.2), and wants a status below 400.
// It writes the request itself: net/http would add 3.5 MB and its initialisers for one
// line. No proxy from the environment is asked.
func HTTP(addresses []string, path string, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	var unreachable error
	for _, address := range addresses {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil {
			defer func() { _ = conn.Close() }()
			return head(ctx, conn, address, path)
		}
		unreachable = plain(err)
	}
	return unreachable
}

func head(ctx context.Context, conn net.Conn, address, path string) error {
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	_, err := fmt.Fprintf(conn, "HEAD %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: goauthentik.io/healthcheck\r\nConnection: close\r\n\r\n", path, address)
	if err != nil {
		return plain(err)
	}
	status, err := statusOf(conn)
	if err != nil {
		return fmt.Errorf("http://%s%s: %w", address, path, err)
	}
	if status >= 400 {
		return fmt.Errorf("http://%s%s answers %d", address, path, status)
	}
	return nil
}

// statusOf reads a status line (RFC 9112, 4): "HTTP/1.1 200 OK".
func statusOf(conn net.Conn) (int, error) {
	buffer := make([]byte, 12)
	for read := 0; read < len(buffer); {
		n, err := conn.Read(buffer[read:])
		if err != nil {
			return 0, plain(err)
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
func plain(err error) error {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return errors.New("no answer in time")
	}
	return err
}

// PIDFile looks whether the process that a pid file names lives, and is the one that
// wrote it: its command line must name the file, for a pid is used again after its
// process has ended. It gives that pid.
func PIDFile(path string) (int, error) {
	raw, err := readStart(path)
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
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
