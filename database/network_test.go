package database

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ak-init/testdata/postgres"
)

// fake is a server that does to each connection what it is told to.
func fake(t *testing.T, behave func(net.Conn)) Settings {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() { // ends with the listener
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				behave(conn)
			}()
		}
	}()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return Settings{Host: "127.0.0.1", Port: port, User: "app", Name: "app", Password: canary + " password", SSLMode: "disable", Timeout: 300 * time.Millisecond}
}

// message is one of PostgreSQL's protocol (its manual, "Message Formats").
func message(kind byte, body string) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(body)+4)), body...)
}

func refusal(code, text string) []byte {
	return message('E', "SFATAL\x00C"+code+"\x00M"+text+"\x00\x00")
}

// hear reads what has come, once.
func hear(conn net.Conn) []byte {
	buffer := make([]byte, 8192)
	n, _ := conn.Read(buffer)
	return buffer[:n]
}

// full is a listener whose queue has no place left, so that the kernel drops every SYN:
// a black hole on loopback.
func full(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: name.(*syscall.SockaddrInet4).Port}).String()
	for range 16 {
		conn, err := net.DialTimeout("tcp", address, 200*time.Millisecond)
		if err != nil {
			_, port, _ := net.SplitHostPort(address)
			return port
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	t.Fatal("its queue is never full")
	return ""
}

func TestWhereNoPostgreSQLIs(t *testing.T) {
	at := func(host, port string) Settings {
		return Settings{Host: host, Port: port, User: "app", Name: "app", Password: canary, SSLMode: "disable", Timeout: 300 * time.Millisecond}
	}
	resolver := func(err *net.DNSError) Settings {
		s := at("db.example", "")
		s.lookup = func(context.Context, string) ([]string, error) { return nil, err }
		return s
	}
	closed := postgres.FreePort(t)
	dir := t.TempDir()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, ".s.PGSQL.5432"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()
	tests := []struct {
		name string
		s    Settings
		want Cause
		says string
	}{
		{"a name without addresses", at("no..such", ""), NameUnknown, "no such host; start what has that name, or correct AUTHENTIK_POSTGRESQL__HOST"},
		{"a resolver that is down", resolver(&net.DNSError{Err: "server misbehaving", Name: "db.example", Server: "10.0.0.2:53", IsTemporary: true}), NameUnknown, "lookup db.example on 10.0.0.2:53: server misbehaving"},
		{"a resolver that refuses", resolver(&net.DNSError{UnwrapErr: syscall.ECONNREFUSED, Err: "connection refused", Name: "db.example"}), NameUnknown, ""},
		{"a port that is closed", at("127.0.0.1", closed), Refused, "127.0.0.1:" + closed + " (user app, database app): connection refused; start PostgreSQL there"},
		{"a name whose port is closed", at("localhost", closed), Refused, "connection refused at 127.0.0.1:" + closed},
		{"two hosts, one without a name", at("no..such,127.0.0.1", closed), Refused, ""},
		{"no route", at("224.0.0.1", ""), Unreachable, "network is unreachable"},
		{"a black hole", at("127.0.0.1", full(t)), TimedOut, "no answer in 300ms; look for a firewall"},
		{"one that accepts and says nothing", fake(t, func(c net.Conn) { _ = hear(c); _ = hear(c) }), TimedOut, "no answer in"},
		{"one that says nothing to TLS", fake(t, func(c net.Conn) { _ = hear(c); _ = hear(c) }).with(func(s *Settings) { s.SSLMode = "require" }), TimedOut, ""},
		{"one that hangs up", fake(t, func(net.Conn) {}), HungUp, ""},
		{"one that listens and hangs up", fake(t, func(c net.Conn) { _ = hear(c) }), HungUp, "it closes the connection; look at what listens there"},
		{"one that hangs up on TLS", fake(t, func(c net.Conn) { _ = hear(c); _, _ = c.Write([]byte("S")); _ = hear(c) }).with(func(s *Settings) { s.SSLMode = "require" }), HungUp, ""},
		{"a web server", fake(t, func(c net.Conn) { _ = hear(c); _, _ = c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) }), NotPostgreSQL, "something else listens there"},
		{"no TLS behind the S", fake(t, func(c net.Conn) { _ = hear(c); _, _ = c.Write([]byte("SSSSSSSSSSSSS")); _ = hear(c) }).with(func(s *Settings) { s.SSLMode = "require" }), TLSRejected, "does not look like a TLS handshake"},
		{"one that talks without end", fake(t, babble).with(func(s *Settings) { s.Timeout = 20 * time.Second }), NotPostgreSQL, "it talks without end"},
		{"a message without end", fake(t, func(c net.Conn) { _ = hear(c); _, _ = c.Write([]byte("N\x7f\xff\xff\xff")) }), NotPostgreSQL, ""},
		{"no socket", at(t.TempDir(), ""), NoSocket, ".s.PGSQL.5432 (user app, database app): no such file or directory; start PostgreSQL, mount its socket's directory"},
		{"a socket that nobody listens on", at(dir, ""), Refused, "connection refused"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			began := time.Now()
			_, err := Probe(t.Context(), tt.s)
			tell(t, err, tt.want, tt.says)
			if took := time.Since(began); tt.s.Timeout < time.Second && took > 10*tt.s.Timeout {
				t.Errorf("took %s", took)
			}
		})
	}
	nothingRuns(t)
}

// babble sends notices until nobody listens.
func babble(c net.Conn) {
	_ = hear(c)
	for {
		if _, err := c.Write(message('N', "SNOTICE\x00C00000\x00M"+strings.Repeat("x", 1<<10)+"\x00\x00")); err != nil {
			return
		}
	}
}

func TestTheBoundOfAnAttempt(t *testing.T) {
	s := Settings{Host: "127.0.0.1", Port: full(t), User: "app", Name: "app", SSLMode: "prefer", Timeout: 200 * time.Millisecond}
	s.Host += ",127.0.0.2" // nothing listens there
	s.Port += "," + postgres.FreePort(t)
	began := time.Now()
	_, err := Probe(t.Context(), s)
	tell(t, err, Refused)
	if took := time.Since(began); took > 3*s.Timeout+time.Second {
		t.Errorf("took %s", took)
	}
	t.Run("ends with its context", func(t *testing.T) {
		s.Timeout = time.Minute
		ctx, cancel := context.WithCancelCause(t.Context())
		stop := errors.New("TERM")
		time.AfterFunc(50*time.Millisecond, func() { cancel(stop) })
		began := time.Now()
		if _, err := Probe(ctx, s); !errors.Is(err, stop) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("took %s", took)
		}
	})
	nothingRuns(t)
}

func TestAServerThatSendsThePasswordBack(t *testing.T) {
	s := fake(t, func(c net.Conn) {
		_ = hear(c)
		_, _ = c.Write(message('R', "\x00\x00\x00\x03")) // AuthenticationCleartextPassword
		sent := hear(c)
		if len(sent) > 6 {
			_, _ = c.Write(refusal("28P01", "no user has the password \""+string(bytes.TrimRight(sent[5:], "\x00"))+"\"\nor\x1b[31m such"))
		}
	})
	_, err := Probe(t.Context(), s)
	tell(t, err, WrongPassword, `no user has the password "***" or [31m such`)
	// Where the password is the user's name it is no secret, and the message needs it.
	s.Password, s.User = "app", "app"
	_, err = Probe(t.Context(), s)
	tell(t, err, WrongPassword, `password "app"`)
}

func TestASocketThatWeMayNotUse(t *testing.T) {
	if os.Geteuid() == 0 {
		// Root may use any: the kernel's answer is made up here.
		err := &net.OpError{Op: "dial", Net: "unix", Err: os.NewSyscallError("connect", syscall.EACCES)}
		tell(t, Settings{Host: "/run", User: "app"}.explain(err), SocketForbidden, "permission denied; let this uid use the socket")
		return
	}
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, ".s.PGSQL.5432"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if err := os.Chmod(filepath.Join(dir, ".s.PGSQL.5432"), 0); err != nil {
		t.Fatal(err)
	}
	_, err = Probe(t.Context(), Settings{Host: dir, User: "app"})
	tell(t, err, SocketForbidden)
}
