package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"ak-init/supervise"
	"ak-init/testdata/postgres"
)

// databaseRows are what "ak-init check server" finds of the database, as programs read it.
// What people read must have the same, and neither a password.
func (s *scene) databaseRows(code int, words ...string) map[string]finding {
	s.t.Helper()
	words = append([]string{"check", "server"}, words...)
	table, machine := s.start(words...), s.start(append(words, "--output", "json")...)
	if got := machine.exitCode(); got != code || table.exitCode() != code {
		s.t.Errorf("exit codes %d and %d, want %d", got, table.exitCode(), code)
	}
	table.discreet()
	machine.discreet()
	var r report
	s.must(json.Unmarshal([]byte(machine.logs.String()), &r))
	rows := map[string]finding{}
	for _, f := range r.Findings {
		if !strings.HasPrefix(f.Check, "database") && f.Check != "upgrade-path" && f.Check != "migration-lock" {
			continue
		}
		if _, twice := rows[f.Check]; twice {
			s.t.Errorf("%s has two rows", f.Check)
		}
		rows[f.Check] = *f
		if f.State != fine && f.Remedy == "" {
			s.t.Errorf("%+v has no remedy", f)
		}
		if f.Check == "database" && len(table.lines(f.Found)) != 1 { // in others are times that differ
			s.t.Errorf("the table has not %q in one line", f.Found)
		}
	}
	return rows
}

// row wants a row of this state that says so.
func (s *scene) row(f finding, want state, says string) {
	s.t.Helper()
	if f.State != want || !strings.Contains(f.Found+" → "+f.Remedy, says) {
		s.t.Errorf("%+v, want %s and %q", f, want, says)
	}
}

func TestCheckOfADatabaseThatIsAsItShouldBe(t *testing.T) {
	t.Parallel()
	s, db := newDatabaseScene(t)
	rows := s.databaseRows(0)
	for check, says := range map[string]string{
		"database":         "127.0.0.1:" + db.Port + ", user authentik, database authentik, PostgreSQL ",
		"database-version": "and 14 or later is needed",
		"upgrade-path":     "no authentik has migrated this database yet",
		"migration-lock":   "nobody holds it",
	} {
		s.row(rows[check], fine, says)
	}
	s.row(rows["database"], fine, ", without TLS")
	if len(rows) != 4 {
		t.Errorf("rows %+v", rows)
	}
	s.nothingLeft()
}

// Where nobody lets us in there is one row, and it says what to do.
func TestCheckOfADatabaseThatLetsNobodyIn(t *testing.T) {
	t.Parallel()
	db := authentiks(t)
	const setting = "AUTHENTIK_POSTGRESQL__"
	for name, tt := range map[string]struct {
		env  string
		code int
		says string
	}{
		"wrong password":   {setting + "PASSWORD=canary two", exitUnavailable, `password authentication failed for user "authentik" (SQLSTATE 28P01) → correct ` + setting + "PASSWORD"},
		"no password":      {setting + "PASSWORD=", exitUnavailable, "→ set " + setting + "PASSWORD"},
		"no such database": {setting + "NAME=cake", exitUnavailable, `database "cake" does not exist (SQLSTATE 3D000) → create that database`},
		"nobody listens":   {setting + "PORT=" + postgres.FreePort(t), exitUnavailable, "connection refused → start PostgreSQL there"},
		"no such host":     {setting + "HOST=no-such-host.invalid", exitUnavailable, "no-such-host.invalid"},
		"a port of none":   {setting + "PORT=54x", exitConfig, setting + "PORT is 54x, which is no port → put that right"},
		"sslmode of none":  {setting + "SSLMODE=sometimes", exitConfig, "SSLMODE is sometimes"},
		"no TLS there":     {setting + "SSLMODE=require", exitUnavailable, "→ turn ssl on in the server"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSceneWith(t, db.Port)
			s.env = append(s.env, tt.env)
			rows := s.databaseRows(tt.code)
			s.row(rows["database"], wrong, tt.says)
			if len(rows) != 1 {
				t.Errorf("rows %+v", rows)
			}
			s.nothingLeft()
		})
	}
}

func TestCheckOfWhatIsAmissInADatabase(t *testing.T) {
	t.Parallel()
	s, db := newDatabaseScene(t)
	db.Hold(t, "test", "authentik", `set role authentik; create table authentik_version_history (id bigserial, "timestamp" timestamptz, version text, build text);
		insert into authentik_version_history ("timestamp", version, build) values (now(), '2026.5.1', 'build')`)()
	db.Hold(t, "their upgrade", "authentik", "set role authentik; select pg_advisory_lock(1000)")
	rows := s.databaseRows(0)
	s.row(rows["upgrade-path"], warning, "migrated by authentik 2026.5.1, and this is 2026.2.2")
	s.row(rows["migration-lock"], warning, `application "their upgrade"`)
	s.databaseRows(exitConfig, "--strict")

	s.env = append(s.env, "AUTHENTIK_POSTGRESQL__READ_REPLICAS__0__PORT="+postgres.FreePort(t))
	rows = s.databaseRows(exitUnavailable)
	s.row(rows["database"], fine, "127.0.0.1:"+db.Port)
	s.row(rows["database-replica"], wrong, "read replica 0: cannot connect to PostgreSQL at 127.0.0.1:")
	s.row(rows["database-replica"], wrong, "or correct AUTHENTIK_POSTGRESQL__READ_REPLICAS__0__HOST")
	s.env = s.env[:len(s.env)-1]

	// No release known needs a newer one than there is: the real program is told of such.
	program := filepath.Join(s.dir, databaseName)
	s.must(os.Rename(program, program+"-real"), os.WriteFile(program, []byte("#!/bin/sh\nexec "+program+"-real \"$@\" --minimum 99\n"), 0o755))
	s.row(s.databaseRows(exitUnavailable)["database-version"], wrong, "and 99 or later is needed → upgrade it")

	s.must(os.Remove(program))
	rows = s.databaseRows(0)
	s.row(rows["database"], fine, "left to authentik: no ak-init-database stands beside ak-init")
	if len(rows) != 1 {
		t.Errorf("rows %+v", rows)
	}
}

func TestCheckOfAStandby(t *testing.T) {
	t.Parallel()
	db := postgres.Start(t, map[string]string{"standby.signal": "", "postgresql.conf": "hot_standby = on\n"})
	s := newSceneWith(t, db.Port)
	db.SQL(t) // once it takes connections
	s.env = append(s.env, "AUTHENTIK_POSTGRESQL__USER=postgres", "AUTHENTIK_POSTGRESQL__NAME=postgres")
	s.row(s.databaseRows(exitUnavailable)["database"], wrong, "and it can only be read → promote it")
}

// PostgreSQL itself tells by the socket who asks (its manual, "Peer Authentication").
func TestCheckAsksAsTheChildrenWill(t *testing.T) {
	s := asRoot(t)
	db := postgres.Start(t, map[string]string{
		"pg_hba.conf": "host all postgres all trust\nlocal all authentik peer map=children\n", "pg_ident.conf": "children nobody authentik\n",
	})
	db.SQL(t, "create role authentik login", "create database authentik owner authentik")
	s = newSceneWith(t, db.Port)
	s.env = append(s.env, "AUTHENTIK_POSTGRESQL__HOST="+postgres.Dir())
	s.row(s.databaseRows(0, "--user", "nobody")["database"], fine, postgres.Dir()+", user authentik")
	for _, other := range []string{"daemon", "0"} {
		s.row(s.databaseRows(exitUnavailable, "--user", other)["database"], wrong, `Peer authentication failed for user "authentik"`)
	}
}

// mute takes connections, tells of each, and never says anything.
func mute(t *testing.T) (port string, taken <-chan struct{}) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	told := make(chan struct{}, 64)
	go func() { // ends with the listener
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer func() { _ = conn.Close() }()
			told <- struct{}{}
		}
	}()
	_, port, _ = net.SplitHostPort(l.Addr().String())
	return port, told
}

func TestCheckOfAServerThatNeverAnswers(t *testing.T) {
	t.Parallel()
	port, _ := mute(t)
	s := newSceneWith(t, port)
	begun := time.Now()
	s.row(s.databaseRows(exitUnavailable)["database"], wrong, "no answer in 5s → look for a firewall")
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("it took %s", took)
	}
	s.nothingLeft()
}

func TestASignalEndsACheck(t *testing.T) {
	t.Parallel()
	port, taken := mute(t)
	s := newSceneWith(t, port)
	r := s.start("check", "server")
	<-taken
	begun := time.Now()
	r.signal(syscall.SIGTERM)
	if code := r.exitCode(); code != 128+int(syscall.SIGTERM) {
		t.Errorf("exit code %d", code)
	}
	if took := time.Since(begun); took > 2*time.Second {
		t.Errorf("it took %s", took)
	}
	s.nothingLeft()
}

// What stands beside ak-init by that name may be anything.
func TestWhatDoesNotAnswerAsItShould(t *testing.T) {
	t.Parallel()
	const row = `{"check":"database","state":"error","found":"f"}`
	for script, want := range map[string]string{
		"sleep 60":                              "it has not ended within 500ms",
		"sleep 2 & exit 0":                      "it has not ended within 500ms", // its output has not
		"echo '" + row + "'; exec sleep 60":     "it has not ended within 500ms",
		"echo '" + row + "'; kill -9 $$":        "signal: killed",
		"echo one >&2; echo two >&2; exit 64":   "exit status 64 one; two",
		"echo nonsense":                         "it says nothing",
		"echo '" + row + "'; echo x; exit 78":   "",
		"echo '" + row + "'; exit 0 # no error": "",
	} {
		t.Run(script, func(t *testing.T) {
			t.Parallel()
			begun := time.Now()
			all := ask(t.Context(), supervise.Command{Path: "/bin/sh", Argv: []string{"sh", "-c", script}, Env: []string{"PATH=/bin"}}, 500*time.Millisecond)
			if took := time.Since(begun); took > 5*time.Second {
				t.Errorf("it took %s", took)
			}
			said := slices.ContainsFunc(all, func(f *finding) bool {
				return f.State == wrong && f.code == exitUnavailable && f.Found == fmt.Sprintf("/bin/sh cannot be asked: %s", want)
			})
			if said != (want != "") || len(all) == 0 {
				t.Errorf("%q: %+v", want, all)
			}
			for _, f := range all {
				if f.code <= 0 {
					t.Errorf("exit code %d of %+v", f.code, f)
				}
			}
		})
	}
}
