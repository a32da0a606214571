package database

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"ak-init/testdata/postgres"
)

func TestMain(m *testing.M) {
	// What the tests' own environment says about PostgreSQL must not count.
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "PG") {
			_ = os.Unsetenv(name)
		}
	}
	_ = os.Setenv("HOME", "/nonexistent")
	code := m.Run()
	postgres.Close()
	os.Exit(code)
}

// server is a process of a test's own: a PostgreSQL or a PgBouncer.
type server struct{ *postgres.Server }

func start(t *testing.T, files map[string]string) *server {
	t.Helper()
	return &server{postgres.Start(t, files)}
}

func (s *server) settings() Settings {
	return Settings{Host: "127.0.0.1", Port: s.Port, User: "postgres", Name: "postgres", SSLMode: "disable", Timeout: 20 * time.Second}
}

// admin runs statements as the superuser, one after the other, once the server takes them.
func (s *server) admin(t *testing.T, statements ...string) {
	t.Helper()
	policy := DefaultPolicy()
	policy.For, policy.PermanentFor = time.Minute, 0
	if _, err := Wait(t.Context(), s.settings(), policy, nil); err != nil {
		t.Fatal(err)
	}
	conn := s.connect(t, s.settings())
	for _, sql := range statements {
		if _, err := conn.Exec(t.Context(), sql).ReadAll(); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	_ = conn.Close(t.Context())
}

// connect is a session that stays until the test ends.
func (s *server) connect(t *testing.T, settings Settings) *pgconn.PgConn {
	t.Helper()
	config, err := settings.Config()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgconn.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}
