package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ak-init/testdata/postgres"
)

// akInitDatabase and akInitHTTP build the programs that stand beside ak-init, once for all
// tests.
var (
	akInitDatabase = sync.OnceValues(func() (string, error) { return build(databaseName) })
	akInitHTTP     = sync.OnceValues(func() (string, error) { return build(httpName) })
)

func build(name string) (string, error) { return builtFrom("./cmd/" + name) }

// newDatabaseScene is a scene with a PostgreSQL and with ak-init-database beside ak-init.
// Services run as ourselves.
func newDatabaseScene(t *testing.T) (*scene, *postgres.Server) {
	t.Helper()
	db := authentiks(t)
	return newSceneWith(t, db.Port), db
}

// authentiks is a PostgreSQL with authentik's role and database.
func authentiks(t *testing.T) *postgres.Server {
	t.Helper()
	db := postgres.Start(t, map[string]string{"pg_hba.conf": "host all postgres all trust\nhost all all all scram-sha-256\n"})
	db.SQL(t, "create role authentik login password 'canary'", "create database authentik owner authentik")
	return db
}

// addProgram puts one of those beside ak-init.
func (s *scene) addProgram(built func() (string, error)) {
	s.t.Helper()
	program, err := built()
	s.must(err)
	raw, err := os.ReadFile(program)
	s.must(err)
	syscall.ForkLock.RLock() // see layout.copyProgram
	defer syscall.ForkLock.RUnlock()
	s.must(os.WriteFile(filepath.Join(s.dir, filepath.Base(program)), raw, 0o755))
}

// newSceneWith is a scene with ak-init-database, and a PostgreSQL at that port.
func newSceneWith(t *testing.T, port string) *scene {
	t.Helper()
	s := newScene(t)
	s.addProgram(akInitDatabase)
	s.env = append(s.env, "AK_INIT_WAIT_DATABASE=60s", "AK_INIT_USER="+uid(), "HOME=/nonexistent",
		"AUTHENTIK_POSTGRESQL__HOST=127.0.0.1", "AUTHENTIK_POSTGRESQL__PORT="+port, "POSTGRES_PASSWORD=canary")
	return s
}

// awaitLine waits for a line of the log that holds all of these.
func (r *running) awaitLine(s *scene, parts ...string) {
	s.t.Helper()
	s.await(fmt.Sprintf("a line with %q", parts), func() bool { return len(r.lines(parts...)) > 0 })
}

// lines are those of the log that hold all of these.
func (r *running) lines(parts ...string) (found []string) {
	for line := range strings.Lines(r.logs.String()) {
		all := true
		for _, part := range parts {
			all = all && strings.Contains(line, part)
		}
		if all {
			found = append(found, line)
		}
	}
	return found
}

// discreet wants the password nowhere in what was said.
func (r *running) discreet() {
	r.t.Helper()
	if strings.Contains(r.logs.String(), "canary") {
		r.t.Error("the password is shown")
	}
}

func TestServerWaitsForPostgreSQL(t *testing.T) {
	t.Parallel()
	s, db := newDatabaseScene(t)
	db.Stop()
	r := s.start("server")
	r.awaitLine(s, `"event":"waiting for PostgreSQL"`, `"cause":"refused"`, `"port":"`+db.Port+`"`, `"user":"authentik"`, `"left":`)
	if said := s.awaitHealth(0); !strings.Contains(said, "server waiting-for-database") {
		t.Errorf("health says %q", said)
	}
	if code, said := s.health("--ready"); code != 1 {
		t.Errorf("it is ready: %q", said)
	}
	if len(s.starts("server")) != 0 {
		t.Error("the server is started without its database")
	}
	db.Run(t, postgres.As(db.Cmd.Path, db.Cmd.Args[1:]...))
	s.awaitHealth(0, "--ready")
	if ready := r.lines(`"event":"PostgreSQL is ready"`, `"version":"`, `"took":"`); len(ready) != 1 {
		t.Errorf("said of that: %q", ready)
	}
	r.stop()
	r.discreet()
	s.nothingLeft()
}

func TestAWrongPasswordIsSaidInOneLine(t *testing.T) {
	t.Parallel()
	s, _ := newDatabaseScene(t)
	s.env = append(s.env, "POSTGRES_PASSWORD=canary two", "AK_INIT_WAIT_DATABASE=100ms")
	r := s.start("worker")
	if code := r.exitCode(); code != exitUnavailable {
		t.Errorf("exit code %d, want %d", code, exitUnavailable)
	}
	said := r.lines(`"level":"error"`, "cannot connect to PostgreSQL", `password authentication failed for user \"authentik\"`, "correct AUTHENTIK_POSTGRESQL__PASSWORD")
	if len(said) != 1 {
		t.Errorf("it is said %d times", len(said))
	}
	if len(s.starts("worker")) != 0 {
		t.Error("the worker is started")
	}
	r.discreet()
	s.nothingLeft()
}

func TestAStopEndsTheWaitAtOnce(t *testing.T) {
	t.Parallel()
	s, db := newDatabaseScene(t)
	db.Stop()
	r := s.start("all")
	r.awaitLine(s, `"event":"waiting for PostgreSQL"`)
	r.signal(syscall.SIGTERM)
	begun := time.Now()
	if code := r.exitCode(); code != 128+int(syscall.SIGTERM) {
		t.Errorf("exit code %d", code)
	}
	if took := time.Since(begun); took > 2*time.Second {
		t.Errorf("it took %s", took)
	}
	if n := len(s.starts("server")) + len(s.starts("worker")) + len(s.starts("python")); n != 0 {
		t.Errorf("%d were started", n)
	}
	s.nothingLeft()
}

func TestMigrateRunsTheMigrationsAlone(t *testing.T) {
	t.Parallel()
	s, _ := newDatabaseScene(t)
	s.env = append(s.env, "STANDIN_MIGRATE_EXIT=3", "STANDIN_MIGRATE_DELAY=1s", "AUTHENTIK_SKIP_MIGRATIONS=true")
	r := s.start("migrate")
	s.await("its start", func() bool { return len(s.starts("python")) > 0 })
	if got := s.status(); len(got) != 1 || got[0].Command != "migrate" || got[0].Phase != "migrating" {
		t.Errorf("status %+v", got)
	}
	if code := r.exitCode(); code != 3 {
		t.Errorf("exit code %d, want the migration's 3", code)
	}
	ran := s.starts("python")
	if diff := cmp.Diff([]string{"python", "-m", "lifecycle.migrate"}, ran[0].Argv); diff != "" || len(ran) != 1 {
		t.Errorf("%d were started (-want +got):\n%s", len(ran), diff)
	}
	if ran[0].Env["AUTHENTIK_SKIP_MIGRATIONS"] != "false" {
		t.Error("it is told to skip the migrations")
	}
	r.discreet()
	s.nothingLeft()
}

func TestAStopWaitsForMigrations(t *testing.T) {
	t.Parallel()
	for _, words := range []string{"migrate", "server --migrate before", "all"} {
		t.Run(words, func(t *testing.T) {
			t.Parallel()
			s, _ := newDatabaseScene(t)
			// Longer than four fifths of the grace period.
			s.env = append(s.env, "STANDIN_MIGRATE_DEAF=1", "STANDIN_MIGRATE_DELAY=5500ms", "AK_INIT_GRACE_PERIOD=6s")
			r := s.start(strings.Fields(words)...)
			s.awaitEvent("deaf")
			r.signal(syscall.SIGTERM)
			if code := r.exitCode(); code != 0 {
				t.Errorf("exit code %d", code)
			}
			if told := s.events("signal TERM"); len(told) != 1 {
				t.Errorf("it was told %d times", len(told))
			}
			if len(r.lines("everything told to stop")) != 0 {
				t.Error("what the migrations have started was told, too")
			}
			if len(s.starts("server")) != 0 || len(r.lines("interrupted")) != 0 {
				t.Error("the server was started, or the migrations are called interrupted")
			}
			s.nothingLeft()
		})
	}
}

func TestAMigrationThatIsInterruptedIsSaidToBe(t *testing.T) {
	t.Parallel()
	s, _ := newDatabaseScene(t)
	s.env = append(s.env, "STANDIN_MIGRATE_DELAY=60s")
	r := s.start("migrate")
	s.await("its start", func() bool { return len(s.starts("python")) > 0 })
	r.signal(syscall.SIGTERM)
	if code := r.exitCode(); code != 128+int(syscall.SIGTERM) {
		t.Errorf("exit code %d", code)
	}
	if said := r.lines(`"level":"warning"`, "a migration was interrupted", `"signal":"SIGTERM"`); len(said) != 1 {
		t.Errorf("it is said %d times", len(said))
	}
	s.nothingLeft()
}

func TestMigrationsBeforeAServerAreSkippedByIt(t *testing.T) {
	t.Parallel()
	s, db := newDatabaseScene(t)
	release := db.Hold(t, "their upgrade", "authentik", "set role authentik; select pg_advisory_lock(1000)")
	r := s.start("server", "--migrate", "before")
	s.awaitHealth(0, "--ready")
	if ran, server := s.starts("python"), s.starts("server"); len(ran) != 1 || ran[0].Start > server[0].Start || server[0].Env["AUTHENTIK_SKIP_MIGRATIONS"] != "true" {
		t.Errorf("python %+v, server %+v", ran, server)
	}
	// The watch goes on beside the server while somebody migrates, and ends with it.
	r.awaitLine(s, `"event":"migrating"`, `"application":"their upgrade"`, `"waiting":0`)
	release()
	r.stop()
	r.discreet()
	s.nothingLeft()
}
