package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ak-init/testdata/postgres"
)

// migrates makes the scene's migrations authentik's as far as PostgreSQL sees them
// (lifecycle/migrate.py, wait_for_lock and release_lock): a session by that name holds lock
// 1000 for as long as it takes. Here that is until lock 2000 is free; then it writes its name
// down.
func (s *scene) migrates(name, port string) {
	s.t.Helper()
	sql := strings.Builder{}
	for _, statement := range []string{
		"select pg_advisory_lock(1000)", "select pg_advisory_lock(2000)", "insert into migrated (who) values ('" + name + "')",
		"select pg_advisory_unlock(2000)", "select pg_advisory_unlock(1000)",
	} {
		fmt.Fprintf(&sql, ` -c "%s"`, statement)
	}
	python, standin := s.root+"/ak-root/.venv/bin/python", s.root+"/bin/python-standin"
	script := fmt.Sprintf("#!/bin/sh\nif [ \"$*\" = '-m lifecycle.migrate' ]; then\nPGAPPNAME=%s PGPASSWORD=$POSTGRES_PASSWORD %s/psql -Xqo /dev/null -v ON_ERROR_STOP=1 -h 127.0.0.1 -p %s -U authentik -d authentik%s || exit\nfi\nexec %s \"$@\"\n",
		name, postgres.Binaries(), port, sql.String(), standin)
	s.must(os.Symlink("authentik", standin), os.Remove(python), os.WriteFile(python, []byte(script), 0o755))
}

// Two replicas are started at once, as by a deployment of two pods. The advisory lock lets
// one migrate; the other is not stuck, it waits, and says for whom.
func TestReplicasMigrateOneAfterTheOther(t *testing.T) {
	t.Parallel()
	first, db := newDatabaseScene(t)
	second := newSceneWith(t, db.Port)
	db.Hold(t, "test", "authentik", "set role authentik; create table migrated (n serial, who text)")()
	release := db.Hold(t, "gate", "authentik", "select pg_advisory_lock(2000)")
	first.migrates("first-pod", db.Port)
	second.migrates("second-pod", db.Port)

	one := first.start("server", "--migrate", "before")
	one.awaitLine(first, `"event":"migrating"`, `"application":"first-pod"`, `"waiting":0`)
	two := second.start("all")
	two.awaitLine(second, `"event":"waiting for the migration lock"`, `"application":"first-pod"`, `"address":"127.0.0.1"`, `"waiting":1`)
	if said := second.awaitHealth(0); !strings.Contains(said, "migrating") {
		t.Errorf("health of the one that waits: %q", said)
	}
	if n := len(first.starts("server")) + len(second.starts("server")) + len(second.starts("worker")); n != 0 {
		t.Errorf("%d services run before the migrations are done", n)
	}
	release()
	first.awaitHealth(0, "--ready")
	second.awaitHealth(0, "--ready")
	db.Hold(t, "test", "authentik", `do $$ begin
		if (select string_agg(who, ',' order by n) from migrated) <> 'first-pod,second-pod' then raise 'they migrated otherwise'; end if;
	end $$`)()
	for _, s := range []*scene{first, second} {
		if ran := s.starts("python"); len(ran) != 1 || s.starts("server")[0].Env["AUTHENTIK_SKIP_MIGRATIONS"] != "true" {
			t.Errorf("migrations ran %d times, and the server may run them, too", len(ran))
		}
	}
	for _, r := range []*running{one, two} {
		r.stop()
		r.discreet()
	}
	first.nothingLeft()
	second.nothingLeft()
}

// Through a pooler in transaction mode all is as without, until it has stranded a lock: that
// is known then, and what is to be done helps (goauthentik/authentik#23876).
func TestThroughAPooler(t *testing.T) {
	t.Parallel()
	db := authentiks(t)
	pool := postgres.Pool(t, fmt.Sprintf("authentik = host=127.0.0.1 port=%s pool_size=1", db.Port), "\"authentik\" \"canary\"\n", "")
	s := newSceneWith(t, pool.Port)
	rows := s.databaseRows(0)
	s.row(rows["database"], fine, "127.0.0.1:"+pool.Port+", user authentik, database authentik, PostgreSQL ")
	s.row(rows["migration-lock"], fine, "nobody holds it")
	s.row(rows["upgrade-path"], fine, "no authentik has migrated")

	s.migrates("pooled", pool.Port)
	db.Hold(t, "test", "authentik", "set role authentik; create table migrated (n serial, who text)")()
	r := s.start("server", "--migrate", "before")
	r.awaitLine(s, `"event":"PostgreSQL is ready"`, `"port":"`+pool.Port+`"`)
	s.awaitHealth(0, "--ready")
	r.stop()
	r.discreet()

	// The lock is taken, and its client gone: the pooler keeps the session that has it.
	s.startOther([]string{"/usr/bin/env", "PGPASSWORD=canary", postgres.Binaries() + "/psql", "-Xqo", "/dev/null", "-h", "127.0.0.1", "-p", pool.Port,
		"-U", "authentik", "-d", "authentik", "-c", "select pg_advisory_lock(1000)"}).exitCode()
	f := s.databaseRows(0)["migration-lock"]
	s.row(f, warning, "a pooler has given us the session that holds it")
	_, remedy, _ := strings.Cut(f.Remedy, "select ")
	sql, _, _ := strings.Cut(remedy, " frees it")
	if !strings.HasPrefix(sql, "pg_terminate_backend(") {
		t.Fatalf("the remedy is %q", f.Remedy)
	}
	db.SQL(t, "select "+sql)
	s.await("a free lock", func() bool { return !s.lockIsHeld() })
	s.nothingLeft()
}

// lockIsHeld tells what a check says of the lock, whatever else it says: the pooler tells the
// first client behind a server's end of that.
func (s *scene) lockIsHeld() bool {
	r := s.start("check", "server")
	r.exitCode()
	return len(r.lines("migration-lock", "nobody holds it")) == 0
}

// A server that starts, then lacks the role, then has it, as one that is being set up.
func TestServerWaitsForAPostgreSQLThatIsBeingSetUp(t *testing.T) {
	t.Parallel()
	file, err := os.CreateTemp("/var/tmp", "ak-starting-") // which postgres can reach
	if err != nil {
		t.Fatal(err)
	}
	_ = file.Close()
	t.Cleanup(func() { _ = os.Remove(file.Name()) })
	db := postgres.Start(t, map[string]string{
		"recovery.signal": "", "pg_hba.conf": "host all postgres all trust\nhost all all all scram-sha-256\n",
		"postgresql.conf": "hot_standby = off\nrestore_command = 'for i in $(seq 600); do test -e " + file.Name() + " || exit 1; sleep 0.1; done; false'\n",
	})
	s := newSceneWith(t, db.Port)
	r := s.start("server")
	r.awaitLine(s, `"event":"waiting for PostgreSQL"`, `"cause":"starting-up"`, "the database system is starting up")
	s.must(os.Remove(file.Name()))
	r.awaitLine(s, `"level":"warning"`, `"event":"waiting for PostgreSQL"`, `"cause":"wrong-password"`)
	if len(s.starts("server")) != 0 {
		t.Error("the server is started without its database")
	}
	db.SQL(t, "create role authentik login password 'canary'", "create database authentik owner authentik")
	s.awaitHealth(0, "--ready")
	r.stop()
	r.discreet()
	s.nothingLeft()
}

func TestServerWaitsUntilAStandbyIsPromoted(t *testing.T) {
	t.Parallel()
	db := postgres.Start(t, map[string]string{"standby.signal": "", "postgresql.conf": "hot_standby = on\n"})
	s := newSceneWith(t, db.Port)
	s.env = append(s.env, "AUTHENTIK_POSTGRESQL__USER=postgres", "AUTHENTIK_POSTGRESQL__NAME=postgres")
	r := s.start("server")
	r.awaitLine(s, `"event":"waiting for PostgreSQL"`, `"cause":"read-only"`, "in recovery", "promote it")
	db.SQL(t, "select pg_promote()")
	s.awaitHealth(0, "--ready")
	r.stop()
	s.nothingLeft()
}

func TestAPasswordInAFileIsReadAnew(t *testing.T) {
	t.Parallel()
	s, _ := newDatabaseScene(t)
	secret := filepath.Join(s.dir, "password")
	s.must(os.WriteFile(secret, []byte("canary of yesterday\n"), 0o600))
	s.env = append(s.env, "AUTHENTIK_POSTGRESQL__PASSWORD=file://"+secret)
	r := s.start("server")
	r.awaitLine(s, `"event":"waiting for PostgreSQL"`, `"cause":"wrong-password"`)
	s.must(os.WriteFile(secret+".new", []byte("canary\n"), 0o600), os.Rename(secret+".new", secret))
	s.awaitHealth(0, "--ready")
	r.stop()
	r.discreet()
	s.nothingLeft()
}
