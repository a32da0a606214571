package database

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"ak-init/testdata/postgres"
)

func TestWhatIsKnownOfMigrations(t *testing.T) {
	s := start(t, nil)
	s.admin(t)
	settings := s.settings()
	for _, schema := range []string{"public", `o'd"d\`} {
		if got, found, err := Progress(t.Context(), settings, schema); found || err != nil {
			t.Errorf("no table: %+v, %t, %v", got, found, err)
		}
		if got, found, err := VersionHistory(t.Context(), settings, schema); found || err != nil {
			t.Errorf("no table: %q, %t, %v", got, found, err)
		}
		id := identifier(schema)
		s.admin(t, "create schema if not exists "+id,
			"create table "+id+".django_migrations (id serial, app text, name text, applied timestamptz)",
			"create table "+id+`.authentik_version_history (id bigserial, "timestamp" timestamptz, version text, build text)`)
		if got, found, err := Progress(t.Context(), settings, schema); found || err != nil {
			t.Errorf("an empty table: %+v, %t, %v", got, found, err)
		}
		if got, found, err := VersionHistory(t.Context(), settings, schema); found || err != nil {
			t.Errorf("an empty table: %q, %t, %v", got, found, err)
		}
		s.admin(t, "insert into "+id+".django_migrations (app, name, applied) values ('a', '0001_initial', now() - interval '2 hours'), ('authentik_core', '0042_x', now() - interval '1 hour')",
			"insert into "+id+`.authentik_version_history ("timestamp", version, build) values (now(), '2026.2.2', ''), (now() - interval '1 day', '2025.12.1', '')`)
		got, found, err := Progress(t.Context(), settings, schema)
		if err != nil || !found || got.Count != 2 || got.App != "authentik_core" || got.Name != "0042_x" || time.Since(got.At).Round(time.Minute) != time.Hour {
			t.Errorf("%+v, %t, %v", got, found, err)
		}
		version, found, err := VersionHistory(t.Context(), settings, schema)
		if err != nil || !found || version != "2026.2.2" {
			t.Errorf("%q, %t, %v", version, found, err)
		}
	}
	t.Run("a table that we may not read", func(t *testing.T) {
		s.admin(t, "create role app login")
		_, _, err := Progress(t.Context(), settings.with(func(s *Settings) { s.User = "app" }), "public")
		tell(t, err, NoPrivilege, "permission denied for table django_migrations")
	})
	t.Run("no server", func(t *testing.T) {
		gone := settings.with(func(s *Settings) { s.Port = postgres.FreePort(t) })
		_, _, err := Progress(t.Context(), gone, "public")
		tell(t, err, Refused)
		_, _, err = VersionHistory(t.Context(), gone, "public")
		tell(t, err, Refused)
	})
}

func TestLockWaiters(t *testing.T) {
	s := start(t, nil)
	s.admin(t)
	count := func() int {
		n, err := LockWaiters(t.Context(), s.settings(), migration)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	holder := s.connect(t, s.settings())
	if err := holder.Exec(t.Context(), "select pg_advisory_lock(1000)").Close(); err != nil {
		t.Fatal(err)
	}
	if n := count(); n != 0 {
		t.Errorf("%d wait where one holds it", n)
	}
	for want := 1; want <= 2; want++ {
		waiter := s.connect(t, s.settings())
		waiter.Frontend().SendQuery(&pgproto3.Query{String: "select pg_advisory_lock(1000)"})
		if err := waiter.Frontend().Flush(); err != nil {
			t.Fatal(err)
		}
		for count() != want { // it begins to wait once the server has read that
			if t.Context().Err() != nil {
				t.Fatalf("%d wait, want %d", count(), want)
			}
		}
	}
}
