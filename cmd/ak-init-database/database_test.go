package main

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ak-init/testdata/postgres"
)

// canary is in every password here, and in no output.
const canary = "canary"

func TestMain(m *testing.M) {
	for _, pair := range os.Environ() { // what the tests' own environment says must not count
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "PG") {
			_ = os.Unsetenv(name)
		}
	}
	code := m.Run()
	postgres.Close()
	os.Exit(code)
}

// authentiks is a server with authentik's role and database, and the settings for it.
func authentiks(t *testing.T) (*postgres.Server, []string) {
	t.Helper()
	s := postgres.Start(t, map[string]string{"pg_hba.conf": "host all postgres all trust\nhost all all all scram-sha-256\n"})
	s.SQL(t, "create role authentik login password 's3c "+canary+"'", "create database authentik owner authentik")
	return s, []string{
		"HOME=/nonexistent",
		"AUTHENTIK_POSTGRESQL__HOST=127.0.0.1", "AUTHENTIK_POSTGRESQL__PORT=" + s.Port, "POSTGRES_PASSWORD=s3c " + canary,
	}
}

// in runs SQL in authentik's database.
func in(t *testing.T, s *postgres.Server, sql string) {
	t.Helper()
	s.Hold(t, "test", "authentik", "set role authentik; "+sql)()
}

// outcome is what a run of the program gave.
type outcome struct {
	code   int
	stdout []string
	lines  []map[string]any
}

// of runs the program in an empty root.
func of(t *testing.T, environ []string, words ...string) outcome {
	t.Helper()
	capture := func() (*os.File, <-chan string) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		all := make(chan string, 1)
		go func() { // ends with the last writer
			raw, _ := io.ReadAll(r)
			all <- string(raw)
		}()
		return w, all
	}
	stdout, said := capture()
	stderr, logged := capture()
	o := outcome{code: run(append(words, "--root", t.TempDir()), environ, stdout, stderr)}
	_, _ = stdout.Close(), stderr.Close()
	for lines := bufio.NewScanner(strings.NewReader(<-said)); lines.Scan(); {
		o.stdout = append(o.stdout, lines.Text())
	}
	text := <-logged
	for line := range strings.Lines(text) {
		one := map[string]any{}
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		o.lines = append(o.lines, one)
	}
	if all := text + strings.Join(o.stdout, "\n"); strings.Contains(all, canary) {
		t.Errorf("a password is shown:\n%s", all)
	}
	return o
}

// events are what was logged at a level.
func (o outcome) events(level string) (all []string) {
	for _, l := range o.lines {
		if l["level"] == level {
			event, _ := l["event"].(string)
			all = append(all, event)
		}
	}
	return all
}

func TestWait(t *testing.T) {
	s, env := authentiks(t)
	in(t, s, `create table authentik_version_history (id bigserial, "timestamp" timestamptz, version text, build text);
		insert into authentik_version_history ("timestamp", version, build) values (now(), '2025.10.1', 'build')`)
	secret := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(secret, []byte("s3c "+canary+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	options := func(text string) string {
		return "AUTHENTIK_POSTGRESQL__CONN_OPTIONS=" + base64.StdEncoding.EncodeToString([]byte(text))
	}
	for _, tt := range []struct {
		name  string
		env   []string
		words []string
		code  int
		// level of the line that says this, and how many of that level there are.
		level, says string
		count       int
	}{
		{"ready", nil, []string{"--minimum", "10"}, 0, "info", "PostgreSQL is ready", 1},
		{"an upgrade that goes through every release", nil, []string{"--version", "2025.12.0"}, 0, "warning", "", 0},
		{"one that skips", nil, []string{"--version", "2026.2.2"}, 0, "warning", "skips a release, here 2025.12", 1},
		{"a downgrade", nil, []string{"--version", "2025.8.0"}, 0, "warning", "migrated by authentik 2025.10.1, and this is 2025.8.0", 1},
		{"a password in a file", []string{"AUTHENTIK_POSTGRESQL__PASSWORD=file://" + secret}, nil, 0, "info", "PostgreSQL is ready", 1},
		{"too old", nil, []string{"--minimum", "99"}, exitUnavailable, "error", "and 99 or later is needed; upgrade it", 1},
		{"a wrong password", []string{"AUTHENTIK_POSTGRESQL__PASSWORD=" + canary}, []string{"--for", "1ms"}, exitUnavailable, "error", "password authentication failed for user", 1},
		{"a port that is none", []string{"AUTHENTIK_POSTGRESQL__PORT=x"}, nil, exitConfig, "error", "AUTHENTIK_POSTGRESQL__PORT is x, which is no port", 1},
		{"a setting given twice", []string{options(`{"sslmode": "disable"}`)}, nil, exitConfig, "error", "CONN_OPTIONS has sslmode", 1},
		{"an option that the server refuses", []string{options(`{"options": "-c no_such=1"}`)}, []string{"--for", "1ms"}, exitUnavailable, "error", "no_such", 1},
		{"options that authentik ignores", []string{"AUTHENTIK_POSTGRESQL__CONN_OPTIONS=" + canary}, nil, 0, "warning", "postgresql.conn_options is no JSON object", 1},
		{"a timeout that somebody asks for", []string{options(`{"options": "-c statement_timeout=120s"}`)}, nil, 0, "warning", "statement_timeout is 2m0s for user authentik: a migration, or the wait for the migration lock, is ended after that, and with it the start; take statement_timeout out of the options in AUTHENTIK_POSTGRESQL__CONN_OPTIONS", 1},
		{"a timeout that is long enough", []string{options(`{"options": "-c statement_timeout=10min"}`)}, nil, 0, "warning", "", 0},
		{"a replica that is down", []string{"AUTHENTIK_POSTGRESQL__READ_REPLICAS__0__PORT=1"}, nil, 0, "warning", "correct AUTHENTIK_POSTGRESQL__READ_REPLICAS__0__HOST", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := of(t, slices.Concat(env, tt.env), append([]string{"wait"}, tt.words...)...)
			said := got.events(tt.level)
			if got.code != tt.code || len(said) != tt.count || !strings.Contains(strings.Join(said, "\n"), tt.says) {
				t.Errorf("code %d, %s %q; want %d and %d of %q", got.code, tt.level, said, tt.code, tt.count, tt.says)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	s, env := authentiks(t)
	look := func(want int, more []string, words ...string) map[string]finding {
		t.Helper()
		got := of(t, slices.Concat(env, more), append([]string{"check", "--minimum", "14", "--version", "2026.2.2"}, words...)...)
		if got.code != want {
			t.Errorf("code %d, want %d", got.code, want)
		}
		all := map[string]finding{}
		for _, line := range got.stdout {
			var f finding
			if err := json.Unmarshal([]byte(line), &f); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			all[f.Check] = f
			if f.State != ok && f.Remedy == "" {
				t.Errorf("%+v has no remedy", f)
			}
		}
		return all
	}
	is := func(f finding, state, says string) {
		t.Helper()
		if f.State != state || !strings.Contains(f.Found, says) {
			t.Errorf("%+v, want %s and %q", f, state, says)
		}
	}
	all := look(0, []string{"AUTHENTIK_POSTGRESQL__READ_REPLICAS__0__HOST=127.0.0.1"})
	is(all["database"], ok, "127.0.0.1:"+s.Port+", user authentik, database authentik, PostgreSQL ")
	is(all["database"], ok, ", without TLS")
	is(all["database-version"], ok, "and 14 or later is needed")
	is(all["database-timeouts"], ok, "the server ends nothing of ours within 10m0s")
	is(all["upgrade-path"], ok, "no authentik has migrated this database yet")
	is(all["migration-lock"], ok, "nobody holds it")
	is(all["database-replica"], ok, "read replica 0: 127.0.0.1:"+s.Port)

	in(t, s, `create table authentik_version_history (id bigserial, "timestamp" timestamptz, version text, build text);
		insert into authentik_version_history ("timestamp", version, build) values (now(), '2026.5.1', 'build')`)
	s.Hold(t, "their upgrade", "authentik", "set role authentik; select pg_advisory_lock(1000)")
	s.SQL(t, "alter role authentik set idle_in_transaction_session_timeout = '30s'")
	all = look(exitUnavailable, []string{"AUTHENTIK_POSTGRESQL__READ_REPLICAS__R__PORT=1"}, "--minimum", "99")
	is(all["database-timeouts"], warning, "idle_in_transaction_session_timeout is 30s for user authentik: the session that holds the migration lock")
	is(all["database-version"], fault, "and 99 or later is needed")
	is(all["upgrade-path"], warning, "migrated by authentik 2026.5.1, and this is 2026.2.2")
	is(all["migration-lock"], warning, `application "their upgrade"`)
	is(all["database-replica"], warning, "read replica r: cannot connect to PostgreSQL at 127.0.0.1:1")

	all = look(exitUnavailable, []string{"POSTGRES_PASSWORD=" + canary})
	is(all["database"], fault, "password authentication failed")
	if len(all) != 1 {
		t.Errorf("what could not be looked at has findings: %+v", all)
	}
	all = look(exitConfig, []string{"AUTHENTIK_POSTGRESQL__SSLMODE=x"})
	is(all["database"], fault, "SSLMODE is x")
}

func TestWatch(t *testing.T) {
	s, env := authentiks(t)
	in(t, s, `create table django_migrations (id serial, app text, name text, applied timestamptz);
		insert into django_migrations (app, name, applied) values ('authentik_core', '0042_x', now())`)
	release := s.Hold(t, "their upgrade", "authentik", "set role authentik; select pg_advisory_lock(1000)")
	waiter := make(chan func(), 1)
	go func() {
		waiter <- s.Hold(t, "second", "authentik", "set role authentik; select pg_advisory_lock(1000)")
	}()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan int, 1)
	go func() {
		defer func() { _ = w.Close() }()
		ended <- run([]string{"watch", "--every", "300ms", "--root", t.TempDir()}, env, os.Stdout, w)
	}()
	waited := func(line string) bool {
		l := map[string]any{}
		return json.Unmarshal([]byte(line), &l) == nil && l["event"] == "waiting for the migration lock" && l["application"] == "their upgrade" &&
			l["waiting"] == 1.0 && l["applied"] == 1.0 && l["newest"] == "authentik_core.0042_x"
	}
	lines := bufio.NewScanner(r)
	for {
		if !lines.Scan() {
			t.Fatal("it ends, and has not said who holds the lock")
		}
		if strings.Contains(lines.Text(), canary) {
			t.Errorf("a password is shown: %s", lines.Text())
		}
		if waited(lines.Text()) {
			break
		}
	}
	release()
	(<-waiter)() // which had it next, and gives it back
	for lines.Scan() {
		t.Log(lines.Text())
	}
	if code := <-ended; code != 0 {
		t.Errorf("code %d", code)
	}
}

func TestUsage(t *testing.T) {
	for _, words := range [][]string{{}, {"x"}, {"wait", "y"}, {"wait", "--for", "-1s"}, {"watch", "--every", "0s"}, {"wait", "--no-such"}} {
		if _, err := parse(words, nil); err == nil {
			t.Errorf("%q is taken", words)
		}
	}
}
