package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
		"database":          "127.0.0.1:" + db.Port + ", user authentik, database authentik, PostgreSQL ",
		"database-version":  "and 14 or later is needed",
		"database-timeouts": "the server ends nothing of ours within 10m0s",
		"upgrade-path":      "no authentik has migrated this database yet",
		"migration-lock":    "nobody holds it",
	} {
		s.row(rows[check], fine, says)
	}
	s.row(rows["database"], fine, ", without TLS")
	if len(rows) != 5 {
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
	db.SQL(t, "alter role authentik set statement_timeout = '120s'")
	rows := s.databaseRows(0)
	s.row(rows["database-timeouts"], warning, `statement_timeout is 2m0s for user authentik: a migration, or the wait for the migration lock, is ended after that, and with it the start → let it be off for authentik: ALTER ROLE "authentik" IN DATABASE "authentik" SET statement_timeout = 0`)
	s.row(rows["upgrade-path"], warning, "migrated by authentik 2026.5.1, and this is 2026.2.2")
	s.row(rows["migration-lock"], warning, `application "their upgrade"`)
	s.databaseRows(exitConfig, "--strict")

	s.env = append(s.env, "AUTHENTIK_POSTGRESQL__READ_REPLICAS__0__PORT="+postgres.FreePort(t))
	rows = s.databaseRows(0)
	s.row(rows["database"], fine, "127.0.0.1:"+db.Port)
	s.row(rows["database-replica"], warning, "read replica 0: cannot connect to PostgreSQL at 127.0.0.1:")
	s.row(rows["database-replica"], warning, "or correct AUTHENTIK_POSTGRESQL__READ_REPLICAS__0__HOST")
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
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root to give it up")
	}
	db := postgres.Start(t, map[string]string{
		"pg_hba.conf": "host all postgres all trust\nlocal all authentik peer map=children\n", "pg_ident.conf": "children nobody authentik\n",
	})
	db.SQL(t, "create role authentik login", "create database authentik owner authentik")
	s := newSceneWith(t, db.Port)
	s.env = append(s.env, "AUTHENTIK_POSTGRESQL__HOST="+postgres.Dir())
	s.row(s.databaseRows(0, "--user", "nobody")["database"], fine, postgres.Dir()+", user authentik")
	for _, other := range []string{"daemon", "0"} {
		s.row(s.databaseRows(exitUnavailable, "--user", other)["database"], wrong, `Peer authentication failed for user "authentik"`)
	}
}
