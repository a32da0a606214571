package main

import (
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A database that is gone makes a service not ready, and no restart would help: Django answers
// every question with 500 then, and the Go server of the newer releases makes that 502.
func TestOutageOfTheDatabaseIsNoReasonToDie(t *testing.T) {
	t.Parallel()
	for version, alone := range map[string]string{"2025.10.3": "1", "2026.2.2": ""} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			s := newTruthScene(t)
			s.claimToBe(version)
			// All that the questions of the bed need of a database is that it takes connections.
			database, err := net.Listen("tcp", freeAddress(t, s.dir+"database"))
			s.must(err)
			s.env = append(s.env, "REAL_DATABASE="+database.Addr().String(), "STANDIN_LIVE_ALONE="+alone)
			r := s.start("server")
			s.awaitHealth(0, "--ready")
			s.must(database.Close())
			s.awaitHealth(1, "--ready")
			s.livesOn(3 * time.Second) // longer than the threshold
			again, err := net.Listen("tcp", database.Addr().String())
			s.must(err)
			defer func() { _ = again.Close() }()
			s.awaitHealth(0, "--ready")
			r.stop()
			if said := r.logs.String(); strings.Contains(said, "service is not live") {
				t.Errorf("it was called dead:\n%s", said)
			}
			s.nothingLeft()
		})
	}
}

// livesOn asks for so long, and wants to hear yes.
func (s *scene) livesOn(d time.Duration) {
	s.t.Helper()
	for begun := time.Now(); time.Since(begun) < d; {
		if code, said := s.health("--live"); code != 0 {
			s.t.Fatalf("not live: %s", said)
		}
	}
}

// One that does not even refuse: Django waits for it, and answers nobody.
func TestAMuteDatabaseIsNoReasonToDie(t *testing.T) {
	t.Parallel()
	s := newTruthScene(t)
	database, err := net.Listen("tcp", freeAddress(t, s.dir+"database"))
	s.must(err)
	_, port, _ := net.SplitHostPort(database.Addr().String())
	s.env = append(s.env, "REAL_DATABASE="+database.Addr().String(), "AUTHENTIK_POSTGRESQL__PORT="+port)
	r := s.start("server")
	s.awaitHealth(0, "--ready")
	s.must(fall(t, database.(*net.TCPListener)))
	s.await("the reason", func() bool {
		code, said := s.health("--ready")
		return code == 1 && strings.Contains(said, "; it waits for PostgreSQL at "+database.Addr().String()+", which does not answer")
	})
	s.livesOn(3 * time.Second) // longer than the threshold
	r.signal(syscall.SIGTERM)
	r.exitCode() // gunicorn may be killed: its threads wait, too
	if said := r.logs.String(); strings.Contains(said, "service is not live") {
		t.Errorf("it was called dead:\n%s", said)
	}
}

// fall has a listener take no more connections: its queue is made short, and filled, and SYNs
// are dropped then (man 2 listen).
func fall(t *testing.T, l *net.TCPListener) error {
	t.Helper()
	conn, err := l.SyscallConn()
	if err != nil {
		return err
	}
	if err := conn.Control(func(fd uintptr) { err = syscall.Listen(int(fd), 0) }); err != nil {
		return err
	}
	fill(t, l.Addr().String())
	return err
}

// A gunicorn that has died is started again, and waits for the database before it binds its
// socket.
func TestAGunicornThatBootsAnewIsNoReasonToDie(t *testing.T) {
	t.Parallel()
	s := newTruthScene(t)
	s.env = append(s.env, "REAL_BOOT_DELAY=6") // the threshold is 2 s
	r := s.start("server")
	s.awaitHealth(0, "--ready")
	dead := s.firstChild()
	for _, pid := range append(s.childrenOf(dead), dead) {
		s.kill(pid, syscall.SIGKILL)
	}
	s.awaitHealth(1, "--ready")
	s.livesOn(4 * time.Second)
	s.awaitHealth(0, "--ready")
	r.stop()
	s.nothingLeft()
}
