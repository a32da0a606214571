package database

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"ak-init/testdata/postgres"
)

// pooler runs a PgBouncer in front of databases that are given as its ini file has them.
func pooler(t *testing.T, databases string, settings string) *server {
	t.Helper()
	shared(t) // the directory is its
	users := fmt.Sprintf("\"app\" \"s3c:ret@/x %s\"\n\"stranger\" \"s3c:ret@/x %[1]s\"\n", canary)
	return &server{postgres.Pool(t, databases, users, settings)}
}

func TestThroughAPooler(t *testing.T) {
	db := shared(t)
	p := pooler(t, fmt.Sprintf("app = host=127.0.0.1 port=%s\nnone = host=127.0.0.1 port=%[1]s dbname=none\ndown = host=127.0.0.1 port=%s", db.Port, postgres.FreePort(t)), "")
	tests := []struct {
		name   string
		change func(*Settings)
		want   Cause
	}{
		{"in transaction mode", nil, welcome},
		{"prefer, without TLS in the pooler", func(s *Settings) { s.SSLMode = "prefer" }, welcome},
		{"require, without TLS in the pooler", func(s *Settings) { s.SSLMode = "require" }, TLSRefused},
		{"wrong password", func(s *Settings) { s.Password = canary }, WrongPassword},
		{"no such database in the pooler", func(s *Settings) { s.Name = "app2" }, NoDatabase},
		{"no such database behind it", func(s *Settings) { s.Name = "none" }, NoDatabase},
		{"no such user in the pooler", func(s *Settings) { s.User = "app2" }, WrongPassword},
		{"no such user behind it", func(s *Settings) { s.User = "stranger" }, NoEntry},
		{"no server behind it", func(s *Settings) { s.Name = "down" }, Pooler},
		{"an option that it does not let through", func(s *Settings) { s.Options = map[string]string{"options": "-c work_mem=1MB"} }, BadOption},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			state, err := Probe(t.Context(), p.through().with(tt.change))
			if tt.want != welcome {
				tell(t, err, tt.want)
			} else if err != nil || state.Version < 100000 {
				t.Errorf("%+v, %v", state, err)
			}
		})
	}
	t.Run("who holds the lock", func(t *testing.T) {
		holder := p.connect(t, p.through())
		if err := holder.Exec(t.Context(), "begin; select pg_advisory_lock(1000)").Close(); err != nil {
			t.Fatal(err)
		}
		h, held, err := LockHolder(t.Context(), p.through(), migration)
		if err != nil || !held || h.User != "app" || h.State != "idle in transaction" {
			t.Errorf("%+v, %t, %v", h, held, err)
		}
	})
	t.Run("a lock that was left on a pooled connection", func(t *testing.T) {
		p := pooler(t, fmt.Sprintf("app = host=127.0.0.1 port=%s", db.Port), "")
		holder := p.connect(t, p.through())
		if err := holder.Exec(t.Context(), "select pg_advisory_lock(77777)").Close(); err != nil {
			t.Fatal(err)
		}
		_ = holder.Close(t.Context())
		h, held, err := LockHolder(t.Context(), db.app(), 77777)
		if err != nil || !held || h.State != "idle" {
			t.Errorf("%+v, %t, %v", h, held, err)
		}
		t.Log(h)
		// The pooler gives the connection that was used last to whoever comes next.
		h, held, err = LockHolder(t.Context(), p.through(), 77777)
		if err != nil || !held || !h.Ours {
			t.Errorf("%+v, %t, %v", h, held, err)
		}
	})
	nothingRuns(t)
}

func TestAPoolerThatIsFull(t *testing.T) {
	db := shared(t)
	one := fmt.Sprintf("app = host=127.0.0.1 port=%s pool_size=1", db.Port)
	t.Run("of clients", func(t *testing.T) {
		p := pooler(t, one, "max_client_conn = 1")
		fill(t, p)
		_, err := Probe(t.Context(), p.through())
		tell(t, err, TooMany)
	})
	t.Run("its pool is in use", func(t *testing.T) {
		p := pooler(t, one, "")
		holder := fill(t, p)
		if err := holder.Exec(t.Context(), "begin; select 1").Close(); err != nil {
			t.Fatal(err)
		}
		_, err := Probe(t.Context(), p.through())
		tell(t, err, Pooler, "query_wait_timeout")
	})
	t.Run("it wants TLS", func(t *testing.T) {
		a := authority()
		cert := file(t, a.serverCert+a.serverKey, 0o644)
		raw, err := os.ReadFile(cert)
		if err != nil {
			t.Fatal(err)
		}
		cert = filepath.Join(postgres.Dir(), "pooler.pem")
		if err := os.WriteFile(cert, raw, 0o644); err != nil { //nolint:gosec // the server has another uid
			t.Fatal(err)
		}
		p := pooler(t, one, strings.ReplaceAll("client_tls_sslmode = require\nclient_tls_cert_file = F\nclient_tls_key_file = F", "F", cert))
		_, err = Probe(t.Context(), p.through())
		tell(t, err, TLSWanted, "set AUTHENTIK_POSTGRESQL__SSLMODE to require")
		if _, err = Probe(t.Context(), p.through().with(func(s *Settings) { s.SSLMode = "require" })); err != nil {
			t.Error(err)
		}
	})
	nothingRuns(t)
}

// through is how authentik would ask a pooler.
func (s *server) through() Settings { return s.app() }

// fill holds one connection until the test ends.
func fill(t *testing.T, p *server) *pgconn.PgConn {
	t.Helper()
	if _, err := until(t, p.through()); err != nil && Classify(err) != TooMany {
		t.Fatal(err)
	}
	for {
		config, err := p.through().Config()
		if err != nil {
			t.Fatal(err)
		}
		if conn, err := pgconn.ConnectConfig(t.Context(), config); err == nil {
			t.Cleanup(func() { _ = conn.Close(t.Context()) })
			return conn
		}
		if t.Context().Err() != nil {
			t.Fatal("no connection")
		}
	}
}
