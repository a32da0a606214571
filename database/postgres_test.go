package database

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// beds are the servers of this run; TestMain ends them.
var beds struct {
	sync.Mutex
	dir     string
	servers []*server
	main    *server
	no      string // why there are none
}

func TestMain(m *testing.M) {
	// What the tests' own environment says about PostgreSQL must not count.
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "PG") {
			_ = os.Unsetenv(name)
		}
	}
	_ = os.Setenv("HOME", "/nonexistent")
	code := m.Run()
	for _, s := range slices.Backward(beds.servers) {
		s.stop()
	}
	if beds.dir != "" {
		_ = os.RemoveAll(beds.dir)
	}
	os.Exit(code)
}

// server is a process of a test's own: a PostgreSQL or a PgBouncer.
type server struct {
	cmd  *exec.Cmd
	dir  string // data directory
	port string
	log  string
	done chan struct{} // it has ended
}

// stop is the fast way out: postgres' immediate shutdown.
func (s *server) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGQUIT)
	select {
	case <-s.done:
	case <-time.After(10 * time.Second):
		_ = s.cmd.Process.Kill()
		<-s.done
	}
}

func (s *server) settings() Settings {
	return Settings{Host: "127.0.0.1", Port: s.port, User: "postgres", Name: "postgres", SSLMode: "disable", Timeout: 20 * time.Second}
}

// binaries is where PostgreSQL's programs are.
func binaries() string {
	all, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if len(all) == 0 {
		path, err := exec.LookPath("postgres")
		if err != nil {
			return ""
		}
		all = []string{path}
	}
	return filepath.Dir(all[len(all)-1])
}

// owner is who runs the servers: PostgreSQL refuses to be root.
func owner() (*syscall.SysProcAttr, string) {
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT}
	if os.Geteuid() != 0 {
		return attr, ""
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, "no user postgres to run PostgreSQL as"
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return attr, ""
}

func as(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.SysProcAttr, _ = owner()
	cmd.Dir = beds.dir
	return cmd
}

// template is a data directory that has not been started, or why there can be none.
func template() (string, string) {
	switch _, why := owner(); {
	case beds.no != "":
		return "", beds.no
	case why != "":
		return "", why
	case binaries() == "":
		return "", "PostgreSQL's programs are missing"
	case beds.dir != "":
		return beds.dir + "/template", ""
	}
	dir, err := os.MkdirTemp("/var/tmp", "ak-pg-") // t.TempDir cannot be reached by postgres
	if err != nil {
		return "", err.Error()
	}
	beds.dir = dir
	if attr, _ := owner(); attr.Credential != nil {
		_ = os.Chown(dir, int(attr.Credential.Uid), int(attr.Credential.Gid))
	}
	out, err := as(binaries()+"/initdb", "-D", dir+"/template", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale", "C",
		"--no-sync", "--no-instructions").CombinedOutput()
	if err != nil {
		beds.no = fmt.Sprintf("initdb: %v: %s", err, out)
	}
	return dir + "/template", beds.no
}

// bed skips a test where PostgreSQL is missing, or fails it where AK_BEDS promises it.
func bed(t *testing.T, missing string) {
	t.Helper()
	switch {
	case missing == "":
	case slices.Contains(strings.Split(os.Getenv("AK_BEDS"), ","), "postgres"):
		t.Fatalf("AK_BEDS names postgres, and %s", missing)
	default:
		t.Skip(missing)
	}
}

// start runs a PostgreSQL of its own. Each file goes into its data directory first: at
// the end of what is there, or, for pg_hba.conf, in its place.
// It ends with the test.
func start(t *testing.T, files map[string]string) *server {
	t.Helper()
	s := launch(t, files)
	t.Cleanup(s.stop)
	return s
}

func launch(t *testing.T, files map[string]string) *server {
	t.Helper()
	beds.Lock()
	defer beds.Unlock()
	from, missing := template()
	bed(t, missing)
	s := &server{port: freePort(t)}
	s.dir = filepath.Join(beds.dir, s.port)
	s.log = s.dir + ".log"
	if out, err := as("/bin/cp", "-a", from, s.dir).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v: %s", err, out)
	}
	for name, content := range files {
		if name == "pg_hba.conf" {
			_ = os.Truncate(filepath.Join(s.dir, name), 0)
		}
		f, err := os.OpenFile(filepath.Join(s.dir, name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = f.WriteString(content)
		if attr, _ := owner(); attr.Credential != nil {
			_ = f.Chown(int(attr.Credential.Uid), int(attr.Credential.Gid))
		}
		_ = f.Close()
	}
	s.run(t, as(binaries()+"/postgres", "-D", s.dir, "-p", s.port, "-k", beds.dir,
		"-c", "listen_addresses=127.0.0.1,127.0.0.2", "-c", "fsync=off", "-c", "shared_buffers=1MB"))
	return s
}

// run starts a server and waits until it listens.
func (s *server) run(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	log, err := os.Create(s.log)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	s.cmd = cmd
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.done = make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(s.done)
	}()
	beds.servers = append(beds.servers, s)
	for {
		conn, err := net.Dial("tcp", "127.0.0.1:"+s.port)
		if err == nil {
			_ = conn.Close()
			return
		}
		select {
		case <-s.done:
			raw, _ := os.ReadFile(s.log)
			t.Fatalf("%s has ended: %s", cmd.Path, raw)
		case <-t.Context().Done():
			t.Fatalf("%s does not listen", cmd.Path)
		case <-time.After(20 * time.Millisecond):
		}
	}
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

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}
