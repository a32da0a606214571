package postgres

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// Pool runs a PgBouncer in transaction mode. Databases are lines of its ini file's section of
// them, users lines of its auth_file, settings more lines for it. There must be a PostgreSQL
// already, whose directory it shares. It ends with the test, and with it the sessions that
// it keeps, and their locks.
func Pool(t *testing.T, databases, users, settings string) *Server {
	t.Helper()
	path, err := exec.LookPath("pgbouncer")
	if err != nil {
		if _, err = os.Stat("/usr/sbin/pgbouncer"); err != nil {
			Bed(t, "pgbouncer is missing")
		}
		path = "/usr/sbin/pgbouncer"
	}
	s := New(t)
	ini := fmt.Sprintf("[databases]\n%s\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %s\nunix_socket_dir =\npool_mode = transaction\nauth_type = plain\nauth_file = %s.users\n"+
		"default_pool_size = 2\nserver_login_retry = 1\nquery_wait_timeout = 2\nignore_startup_parameters = extra_float_digits\n%s\n", databases, s.Port, s.Dir, settings)
	for name, content := range map[string]string{".ini": ini, ".users": users} {
		if err := os.WriteFile(s.Dir+name, []byte(content), 0o644); err != nil { //nolint:gosec // the server has another uid
			t.Fatal(err)
		}
	}
	s.Run(t, As(path, s.Dir+".ini"))
	t.Cleanup(s.Stop)
	return s
}
