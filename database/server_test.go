package database

import (
	"context"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"ak-init/testdata/postgres"
)

// hba is the access file of the server that most tests ask.
const hba = `
host all postgres all trust
host all lefttrust all trust
host all app,limited,limited_time,readonly all scram-sha-256
host all old all md5
host all plain all password
host all rejected all reject
hostssl all tlsonly all scram-sha-256
hostssl all certified all cert
hostssl replication all all trust
`

// main is that server, once there is one.
var main struct {
	sync.Mutex
	server *server
}

// shared is the server that most tests ask, with TLS and a few roles.
func shared(t *testing.T) *server {
	t.Helper()
	main.Lock()
	defer main.Unlock()
	if main.server != nil {
		return main.server
	}
	s := &server{postgres.Launch(t, map[string]string{
		"pg_hba.conf": hba, "server.crt": authority().serverCert, "server.key": authority().serverKey, "ca.crt": authority().root,
		"postgresql.conf": "ssl = on\nssl_ca_file = 'ca.crt'\npassword_encryption = 'scram-sha-256'\n",
	})}
	secret := "'s3c:ret@/x " + canary + "'"
	s.admin(t, "create role app login password "+secret, "create role limited login connection limit 0 password "+secret,
		"create role readonly login password "+secret, "alter role readonly set default_transaction_read_only = on",
		"create role plain login password "+secret, "create role asleep nologin", "create role lefttrust nologin",
		"create role tlsonly login password "+secret, "create role certified login", "create role rejected login",
		"set password_encryption = 'md5'", "create role old login password "+secret,
		"create database app owner app", "create database closed", "revoke connect on database closed from public",
		"create database gone allow_connections false")
	main.server = s
	return s
}

// app is how authentik would ask the shared server.
func (s *server) app() Settings {
	return Settings{
		Host: "127.0.0.1", Port: s.Port, User: "app", Name: "app", Password: "s3c:ret@/x " + canary, SSLMode: "disable",
		Timeout: s.settings().Timeout,
	}
}

// with changes settings for one case.
func (s Settings) with(change func(*Settings)) Settings {
	if change != nil {
		change(&s)
	}
	return s
}

const welcome = Cause(255)

func TestAServerLetsInOrSaysWhyNot(t *testing.T) {
	s := shared(t)
	tests := []struct {
		name   string
		change func(*Settings)
		want   Cause
		says   string
	}{
		{"scram", nil, welcome, ""},
		{"md5", func(s *Settings) { s.User = "old" }, welcome, ""},
		{"a password in the clear", func(s *Settings) { s.User = "plain" }, welcome, ""},
		{"a name with two addresses, one without a server", func(s *Settings) { s.Host = "localhost" }, welcome, ""},
		{"the second of two hosts", func(s *Settings) { s.Host, s.Port = "127.0.0.1,127.0.0.1", "1,"+s.Port }, welcome, ""},
		{"a database named after its user", func(s *Settings) { s.Name = "" }, welcome, ""},
		{"libpq's option hostaddr", func(s *Settings) { s.Host, s.Options = "db.invalid", map[string]string{"hostaddr": "127.0.0.1"} }, welcome, ""},
		{"options that are not for us", func(s *Settings) { s.Options = map[string]string{"keepalives_idle": "30", "autocommit": "true"} }, welcome, ""},
		{"wrong password", func(s *Settings) { s.Password = canary }, WrongPassword, `user "app" (SQLSTATE 28P01); correct AUTHENTIK_POSTGRESQL__PASSWORD`},
		{"wrong password, md5", func(s *Settings) { s.User, s.Password = "old", canary }, WrongPassword, ""},
		{"wrong password in the clear", func(s *Settings) { s.User, s.Password = "plain", canary }, WrongPassword, ""},
		{"no password", func(s *Settings) { s.Password = "" }, NoPassword, "set AUTHENTIK_POSTGRESQL__PASSWORD"},
		{"no line for that user", func(s *Settings) { s.User = "app2" }, NoEntry, `no pg_hba.conf entry for host "127.0.0.1", user "app2"`},
		{"a user that may not log in, trusted", func(s *Settings) { s.User = "lefttrust" }, NoRole, "not permitted to log in"},
		{"no such database", func(s *Settings) { s.Name = "app2" }, NoDatabase, "correct AUTHENTIK_POSTGRESQL__NAME"},
		{"no right to connect", func(s *Settings) { s.Name = "closed" }, NoPrivilege, "User does not have CONNECT privilege"},
		{"a database that takes none", func(s *Settings) { s.Name = "gone" }, Other, "not currently accepting connections"},
		{"rejected", func(s *Settings) { s.User = "rejected" }, NoEntry, "pg_hba.conf rejects connection"},
		{"with TLS only", func(s *Settings) { s.User = "tlsonly" }, NoEntry, "no encryption (SQLSTATE 28000); add a line to pg_hba.conf, or, if the server wants TLS, set AUTHENTIK_POSTGRESQL__SSLMODE"},
		{"with TLS", func(s *Settings) { s.User, s.SSLMode = "tlsonly", "prefer" }, welcome, ""},
		{"TLS first, wrong password", func(s *Settings) { s.SSLMode, s.Password = "prefer", canary }, WrongPassword, ""},
		{"a user's limit", func(s *Settings) { s.User = "limited" }, TooMany, `too many connections for role "limited"`},
		{"an option that the server does not have", func(s *Settings) { s.Options = map[string]string{"options": "-c no_such=1"} }, BadOption, "no_such"},
		{"a value that it does not take", func(s *Settings) { s.Options = map[string]string{"client_encoding": "klingon"} }, BadOption, "klingon"},
		{"a primary where a standby is wanted", func(s *Settings) { s.Options = map[string]string{"target_session_attrs": "standby"} }, BadOption, "not in hot standby mode"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			settings := s.app().with(tt.change)
			state, err := Probe(t.Context(), settings)
			theirs := libpq(t, settings)
			if tt.want == welcome {
				if err != nil || theirs != nil {
					t.Fatalf("we: %v; libpq: %v", err, theirs)
				}
				if state.Version < 100000 || state.InRecovery || state.ReadOnly || state.TLS != (settings.SSLMode == "prefer") {
					t.Errorf("state %+v", state)
				}
				return
			}
			tell(t, err, tt.want, tt.says)
			if theirs == nil {
				t.Error("libpq is let in")
			}
		})
	}
	nothingRuns(t)
}

func TestTimeoutsOfARole(t *testing.T) {
	s := shared(t)
	secret := "'s3c:ret@/x " + canary + "'"
	s.admin(t, "create role limited_time login password "+secret,
		"alter role limited_time set statement_timeout = '2min'", `alter role limited_time in database app set lock_timeout = '90'`,
		"alter role limited_time set idle_in_transaction_session_timeout = '1h'")
	of := func(change func(*Settings)) []Timeout {
		t.Helper()
		state, err := Probe(t.Context(), s.app().with(change))
		if err != nil {
			t.Fatal(err)
		}
		return state.Timeouts
	}
	if got := of(nil); len(got) != 0 {
		t.Errorf("a role without has %+v", got)
	}
	role := func(s *Settings) { s.User = "limited_time" }
	want := []Timeout{
		{Name: "idle_in_transaction_session_timeout", After: time.Hour},
		{Name: "lock_timeout", After: 90 * time.Millisecond},
		{Name: "statement_timeout", After: 2 * time.Minute},
	}
	if got := of(role); !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for i, timeout := range want { // what is advised does what it says
		_, sql, _ := strings.Cut(timeout.Remedy(s.app().with(role)), ": ")
		s.admin(t, sql)
		if got := of(role); !slices.Equal(got, want[i+1:]) {
			t.Errorf("after %s: %+v", sql, got)
		}
	}
	asked := func(s *Settings) { s.Options = map[string]string{"options": "-c statement_timeout=30s"} }
	if got := of(asked); len(got) != 1 || !got[0].ByClient || got[0].After != 30*time.Second {
		t.Errorf("by an option: %+v", got)
	}
}

func TestAnswersAboutTimeouts(t *testing.T) {
	for answer, want := range map[string]int{
		"": 0, ",": 0, "a": 0, "a:1": 0, "a:x:user": 0, "a:-1:user": 0, "a:0:user": 0, "a:99999999999999999999:user": 0,
		"a:1:user": 1, "a:2147483647:client,b:1:database user": 2,
	} {
		if got := timeoutsOf(answer); len(got) != want {
			t.Errorf("%q: %+v", answer, got)
		}
	}
	odd := Timeout{Name: "lock_timeout"}.Remedy(Settings{User: "o\"dd\nrole", Name: "da ta"})
	if !strings.HasSuffix(odd, `ALTER ROLE "o""dd role" IN DATABASE "da ta" SET lock_timeout = 0`) {
		t.Error(odd)
	}
}

func TestAUserThatIsMissing(t *testing.T) {
	s := start(t, map[string]string{"pg_hba.conf": "host all scram all scram-sha-256\nhost all all all trust\n"})
	s.admin(t)
	_, err := Probe(t.Context(), s.app().with(func(s *Settings) { s.User = "scram" }))
	tell(t, err, WrongPassword, `password authentication failed for user "scram"`, "or AUTHENTIK_POSTGRESQL__USER")
	_, err = Probe(t.Context(), s.app())
	tell(t, err, NoRole, `role "app" does not exist`)
	// TLS is off here.
	for mode, want := range map[string]Cause{"require": TLSRefused, "prefer": NoRole, "allow": NoRole} {
		_, err = Probe(t.Context(), s.app().with(func(s *Settings) { s.SSLMode = mode }))
		tell(t, err, want)
	}
}

func TestAServerThatCanOnlyBeRead(t *testing.T) {
	s := shared(t)
	t.Run("by a setting", func(t *testing.T) {
		settings := s.app().with(func(s *Settings) { s.User = "readonly" })
		state, err := Probe(t.Context(), settings)
		if err != nil || !state.ReadOnly || state.InRecovery {
			t.Errorf("%+v, %v", state, err)
		}
		_, err = Wait(t.Context(), settings, Policy{}, nil)
		tell(t, err, ReadOnly, "cannot use PostgreSQL", "default_transaction_read_only")
	})
	t.Run("a standby", func(t *testing.T) {
		standby := start(t, map[string]string{"standby.signal": "", "postgresql.conf": "hot_standby = on\n"})
		state, err := until(t, standby.settings())
		if err != nil || !state.ReadOnly || !state.InRecovery {
			t.Errorf("%+v, %v", state, err)
		}
		_, err = Wait(t.Context(), standby.settings(), Policy{}, nil)
		tell(t, err, ReadOnly, "in recovery")
		for _, wanted := range []string{"read-write", "primary"} {
			_, err = Probe(t.Context(), standby.settings().with(func(s *Settings) {
				s.Options = map[string]string{"target_session_attrs": wanted}
			}))
			tell(t, err, ReadOnly)
		}
		t.Run("and the primary beside it", func(t *testing.T) {
			state, err := Probe(t.Context(), s.settings().with(func(s *Settings) {
				s.Host, s.Port = "127.0.0.1,127.0.0.1", standby.Port+","+s.Port
				s.Options = map[string]string{"target_session_attrs": "read-write"}
			}))
			if err != nil || state.ReadOnly {
				t.Errorf("%+v, %v", state, err)
			}
		})
	})
}

// until asks until the server says anything but that it starts.
func until(t *testing.T, s Settings) (State, error) {
	t.Helper()
	for {
		state, err := Probe(t.Context(), s)
		if err == nil || Classify(err) != StartingUp && Classify(err) != Recovering || t.Context().Err() != nil {
			return state, err
		}
	}
}

func TestAServerThatDoesNotTakeConnectionsNow(t *testing.T) {
	t.Run("it starts", func(t *testing.T) {
		s := start(t, map[string]string{"recovery.signal": "", "postgresql.conf": "restore_command = 'sleep 60; false'\n"})
		_, err := Probe(t.Context(), s.settings())
		tell(t, err, StartingUp, "the database system is starting up (SQLSTATE 57P03)")
	})
	t.Run("a standby that is closed", func(t *testing.T) {
		s := start(t, map[string]string{"standby.signal": "", "postgresql.conf": "hot_standby = off\n"})
		_, err := until(t, s.settings())
		tell(t, err, StandbyClosed, "Hot standby mode is disabled")
	})
	t.Run("it stops, as soon as a client has gone", func(t *testing.T) {
		s := start(t, nil)
		s.admin(t)
		s.connect(t, s.settings())
		if err := s.Cmd.Process.Signal(syscall.SIGTERM); err != nil { // smart shutdown
			t.Fatal(err)
		}
		var err error
		for err == nil && t.Context().Err() == nil {
			_, err = Probe(t.Context(), s.settings())
		}
		tell(t, err, ShuttingDown, "shutting down")
	})
	t.Run("it has crashed", func(t *testing.T) {
		s := start(t, nil)
		s.admin(t)
		held, killed := s.connect(t, s.settings()), s.connect(t, s.settings())
		// The server waits 5 s for a process that does not end before it kills it
		// (postmaster.c, SIGKILL_CHILDREN_AFTER_SECS).
		if err := syscall.Kill(int(held.PID()), syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = syscall.Kill(int(held.PID()), syscall.SIGCONT) })
		if err := syscall.Kill(int(killed.PID()), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		var err error
		for (err == nil || Classify(err) == HungUp) && t.Context().Err() == nil {
			_, err = Probe(t.Context(), s.settings())
		}
		tell(t, err, Recovering, "in recovery mode")
	})
	t.Run("it is full", func(t *testing.T) {
		s := start(t, map[string]string{"postgresql.conf": "max_connections = 5\nsuperuser_reserved_connections = 3\n"})
		s.admin(t, "create role app login", "create database app owner app")
		fill := func(with Settings) error {
			for {
				if _, err := Probe(t.Context(), with); err != nil {
					return err
				}
				if config, err := with.Config(); err == nil {
					if conn, err := pgconn.ConnectConfig(t.Context(), config); err == nil {
						t.Cleanup(func() { _ = conn.Close(context.Background()) })
					}
				}
			}
		}
		tell(t, fill(s.app()), TooMany, "remaining connection slots are reserved")
		tell(t, fill(s.settings()), TooMany, "too many clients already")
	})
}

func TestTooOld(t *testing.T) {
	s := Settings{Host: "db", User: "u", Name: "d"}
	tests := []struct {
		version, minimum int
		says             string
	}{
		{150018, 14, ""},
		{140000, 14, ""},
		{130023, 14, "it is version 13.23, and 14 or later is needed; upgrade it"},
		{90624, 14, "it is version 9.6.24"},
	}
	for _, tt := range tests {
		err := TooOld(s, tt.version, tt.minimum)
		switch {
		case tt.says != "":
			tell(t, err, OldVersion, tt.says, "cannot use PostgreSQL at db:5432 (user u, database d)")
		case err != nil:
			t.Errorf("%d for %d: %v", tt.version, tt.minimum, err)
		}
	}
}
