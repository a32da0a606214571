package database

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

func TestConfig(t *testing.T) {
	t.Setenv("PGHOST", "elsewhere")
	t.Setenv("PGPORT", "1")
	t.Setenv("PGDATABASE", "other")
	t.Setenv("PGUSER", "somebody")
	t.Setenv("PGPASSWORD", canary)
	t.Setenv("PGCONNECT_TIMEOUT", "-1")
	t.Setenv("PGAPPNAME", "app")
	t.Setenv("PGSSLMODE", "require")
	tests := []struct {
		name  string
		s     Settings
		holds func(*pgconn.Config) bool
	}{
		{"what is given beats the environment", Settings{Host: "db", Port: "15432", Name: "ak", User: "me", Password: "pass", SSLMode: "disable"}, func(c *pgconn.Config) bool {
			return c.Host == "db" && c.Port == 15432 && c.Database == "ak" && c.User == "me" && c.Password == "pass" && c.TLSConfig == nil && len(c.Fallbacks) == 0
		}},
		{"what is left open is taken from it, as libpq does", Settings{Host: "db", User: "me"}, func(c *pgconn.Config) bool {
			return c.TLSConfig != nil && c.Password == canary && c.RuntimeParams["application_name"] == "app"
		}},
		{"a user's database is named after them", Settings{Host: "db", User: "me"}, func(c *pgconn.Config) bool { return c.Database == "" }},
		{"PostgreSQL's port", Settings{Host: "db"}, func(c *pgconn.Config) bool { return c.Port == 5432 }},
		{"Debian's socket", Settings{}, func(c *pgconn.Config) bool { return c.Host == "/var/run/postgresql" }},
		{"a socket's directory, without TLS", Settings{Host: "/run/pg", SSLMode: "require"}, func(c *pgconn.Config) bool { return c.Host == "/run/pg" && c.TLSConfig == nil }},
		{"hosts with one port", Settings{Host: "a,b", Port: "1", SSLMode: "disable"}, func(c *pgconn.Config) bool {
			return len(c.Fallbacks) == 1 && c.Host == "a" && c.Port == 1 && c.Fallbacks[0].Host == "b" && c.Fallbacks[0].Port == 1
		}},
		{"hosts with ports", Settings{Host: "a,/b,", Port: "1,,3", SSLMode: "disable"}, func(c *pgconn.Config) bool {
			return len(c.Fallbacks) == 2 && c.Fallbacks[0].Host == "/b" && c.Fallbacks[0].Port == 5432 && c.Fallbacks[1].Host == "/var/run/postgresql" && c.Fallbacks[1].Port == 3
		}},
		{"an attempt's bound", Settings{Host: "db"}, func(c *pgconn.Config) bool { return c.ConnectTimeout == 5*time.Second }},
		{"an attempt's bound by option", Settings{Host: "db", Options: map[string]string{"connect_timeout": "7"}}, func(c *pgconn.Config) bool { return c.ConnectTimeout == 7*time.Second }},
		{"no bound is no option", Settings{Host: "db", Options: map[string]string{"connect_timeout": "0"}}, func(c *pgconn.Config) bool { return c.ConnectTimeout == 5*time.Second }},
		{"a bound beyond reason", Settings{Host: "db", Options: map[string]string{"connect_timeout": "9999999999"}}, func(c *pgconn.Config) bool { return c.ConnectTimeout == time.Minute }},
		{"our name", Settings{Host: "db", Options: map[string]string{"application_name": "mine"}}, func(c *pgconn.Config) bool { return c.RuntimeParams["application_name"] == "mine" }},
		{"what is not for us is not sent", Settings{Host: "db", Options: map[string]string{"keepalives": "1", "gssencmode": "disable", "client_encoding": "auto"}}, func(c *pgconn.Config) bool {
			return len(c.RuntimeParams) == 1
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := tt.s.Config()
			if err != nil {
				t.Fatal(err)
			}
			if !tt.holds(c) {
				t.Errorf("host %s, port %d, user %s, database %s, timeout %s, fallbacks %v, parameters %v", c.Host, c.Port, c.User, c.Database, c.ConnectTimeout, c.Fallbacks, c.RuntimeParams)
			}
		})
	}
}

func TestSettingsThatCannotBeRight(t *testing.T) {
	tests := []struct {
		name string
		s    Settings
		says string
	}{
		{"a port that is none", Settings{Host: "db", Port: "abc"}, "AUTHENTIK_POSTGRESQL__PORT is abc, which is no port"},
		{"port 0", Settings{Host: "db", Port: "0"}, "which is no port"},
		{"port 65536", Settings{Host: "db", Port: "65536"}, "which is no port"},
		{"ports and hosts", Settings{Host: "a,b", Port: "1,2,3"}, "AUTHENTIK_POSTGRESQL__PORT has 3 ports for 2 hosts"},
		{"too many hosts", Settings{Host: strings.Repeat("a,", 40)}, "AUTHENTIK_POSTGRESQL__HOST has 41 hosts"},
		{"sslmode", Settings{Host: "db", SSLMode: "on"}, "AUTHENTIK_POSTGRESQL__SSLMODE is on, which is none of"},
		{"a NUL", Settings{Host: "db", Password: canary + "\x00"}, "AUTHENTIK_POSTGRESQL__PASSWORD has a NUL byte"},
		{"a novel", Settings{Host: "db", User: strings.Repeat("u", 1<<17)}, "AUTHENTIK_POSTGRESQL__USER is longer than 65536 bytes"},
		{"an option that has a variable", Settings{Host: "db", Options: map[string]string{"password": canary}}, "AUTHENTIK_POSTGRESQL__CONN_OPTIONS has password, which AUTHENTIK_POSTGRESQL__PASSWORD is for"},
		{"another", Settings{Host: "db", Options: map[string]string{"dbname": "x"}}, "which AUTHENTIK_POSTGRESQL__NAME is for"},
		{"an option's NUL", Settings{Host: "db", Options: map[string]string{"options": "\x00"}}, "options in AUTHENTIK_POSTGRESQL__CONN_OPTIONS has a NUL"},
		{"an option's value", Settings{Host: "db", Options: map[string]string{"target_session_attrs": "`: host=x"}}, "host=x"},
		{"an option's value", Settings{Host: "db", Options: map[string]string{"channel_binding": "maybe", "sslpassword": canary}}, "unknown channel_binding value: maybe"},
		{"addresses and hosts", Settings{Host: "a,b", Options: map[string]string{"hostaddr": "127.0.0.1"}}, "hostaddr in AUTHENTIK_POSTGRESQL__CONN_OPTIONS"},
		{"a service that is not there", Settings{Host: "db", Password: canary, Options: map[string]string{"service": "x"}}, "failed to read service"},
		{"a certificate alone", Settings{Host: "db", SSLMode: "require", SSLCert: "/x"}, "AUTHENTIK_POSTGRESQL__SSLCERT is of no use"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := tt.s.Config()
			tell(t, err, Malformed, tt.says)
			if _, probed := Probe(t.Context(), tt.s); probed == nil || probed.Error() != err.Error() {
				t.Errorf("probe says %v", probed)
			}
		})
	}
}

func TestSettingsDoNotShowThePassword(t *testing.T) {
	s := Settings{Host: "db,/run/pg", User: "me too", Name: "ak", Password: canary, SSLMode: "require", Options: map[string]string{"sslpassword": canary}}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		if text := fmt.Sprintf(format, s) + fmt.Sprintf(format, &s); strings.Contains(text, canary) {
			t.Errorf("%s: %s", format, text)
		}
	}
	if raw, err := json.Marshal(s); err != nil || strings.Contains(string(raw), canary) {
		t.Errorf("%s, %v", raw, err)
	}
	if got, want := s.String(), `"me too"@db:5432, /run/pg/.s.PGSQL.5432/ak (sslmode require)`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// Whatever the values are: nobody panics, what is given is what is sent, the message is
// one line, and has no password.
func FuzzConfig(f *testing.F) {
	f.Add("db", "5432", "authentik", "authentik", "s3c:ret@/x", "disable", "application_name", "me")
	f.Add("a,b", "1,2", "d'b", `u\`, "pass'word\\'", "prefer", "options", "-c search_path='x y'")
	f.Add("/run/pg", "", " ", "\n", "line\nbreak and\ttab", "", "connect_timeout", "1e9")
	f.Add("::1", "65535", "\x00", "ü", "\xff\xfe\xfd\xfc", "verify-full", "target_session_attrs", "`: password='x'")
	f.Add("postgres://u:p@h/d", "5432", "host=x password=y", "user='x'", "quote'd password", "require", "service", "x")
	f.Fuzz(func(t *testing.T, host, port, name, user, password, mode, option, value string) {
		s := Settings{Host: host, Port: port, Name: name, User: user, Password: password, SSLMode: mode, Options: map[string]string{option: value}}
		c, err := s.Config()
		public := strings.Join([]string{host, port, name, user, mode, option, value}, "\x00")
		secret := len(password) >= 8 && !strings.Contains(public+strconv.Quote(public), password)
		if secret && strings.Contains(s.String(), password) {
			t.Errorf("%q has %q", s, password)
		}
		if err != nil {
			line := err.Error()
			if secret && strings.Contains(line, password) || strings.ContainsAny(line, "\n\r\x00") || len(line) > 2000 {
				t.Errorf("%q, with the password %q", line, password)
			}
			return
		}
		if c.Database != name || user != "" && c.User != user || password != "" && c.Password != password || c.ConnectTimeout <= 0 || c.ConnectTimeout > time.Minute {
			t.Errorf("%+v of %+v", c, s)
		}
		for sent := range c.RuntimeParams {
			if sent != "application_name" && sent != option {
				t.Errorf("%q is sent", sent)
			}
		}
		hosts := 1 + strings.Count(host, ",")
		if modes := 2; len(c.Fallbacks) > modes*hosts {
			t.Errorf("%d attempts for %d hosts", len(c.Fallbacks)+1, hosts)
		}
	})
}
