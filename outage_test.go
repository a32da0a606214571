package main

import (
	"net"
	"strings"
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
			for begun := time.Now(); time.Since(begun) < 3*time.Second; { // longer than the threshold
				if code, said := s.health("--live"); code != 0 {
					t.Fatalf("not live: %s", said)
				}
			}
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
