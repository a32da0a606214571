// Package postgres runs PostgreSQL servers for tests, each on a port of its own and from a
// data directory of its own. Tests skip where PostgreSQL is missing, or fail where AK_BEDS
// names postgres.
package postgres

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"ak-init/testdata/bed"
)

// beds are the servers of this run; Close ends them.
var beds struct {
	sync.Mutex
	dir     string
	servers []*Server
	no      string // why there are none
}

// Close ends every server and removes what was made. TestMain calls it.
func Close() {
	for _, s := range slices.Backward(beds.servers) {
		s.Stop()
	}
	if beds.dir != "" {
		_ = os.RemoveAll(beds.dir)
	}
}

// Dir is where all of it lies, once there is a server: short, and reachable by every uid.
func Dir() string {
	beds.Lock()
	defer beds.Unlock()
	return beds.dir
}

// Server is a process of a test's own: a PostgreSQL or a PgBouncer.
type Server struct {
	Cmd  *exec.Cmd
	Dir  string // data directory
	Port string
	Log  string
	Done chan struct{} // it has ended
}

// New names a server that is not run yet, where there is another already.
func New(t *testing.T) *Server {
	t.Helper()
	s := &Server{Port: FreePort(t)}
	s.Dir = filepath.Join(Dir(), s.Port)
	s.Log = s.Dir + ".log"
	return s
}

// Stop is the fast way out: postgres' immediate shutdown.
func (s *Server) Stop() {
	_ = s.Cmd.Process.Signal(syscall.SIGQUIT)
	select {
	case <-s.Done:
	case <-time.After(10 * time.Second):
		_ = s.Cmd.Process.Kill()
		<-s.Done
	}
}

// Binaries is where PostgreSQL's programs are.
func Binaries() string {
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

// As is a program that runs as the owner of the servers.
func As(name string, args ...string) *exec.Cmd {
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
	case Binaries() == "":
		return "", "PostgreSQL's programs are missing"
	case beds.dir != "":
		return beds.dir + "/template", ""
	}
	dir, err := os.MkdirTemp("/var/tmp", "ak-pg-") // t.TempDir cannot be reached by postgres
	if err != nil {
		return "", err.Error()
	}
	beds.dir = dir
	_ = os.Chmod(dir, 0o711) //nolint:gosec // for sockets; a data directory has a mode of its own
	if attr, _ := owner(); attr.Credential != nil {
		_ = os.Chown(dir, int(attr.Credential.Uid), int(attr.Credential.Gid))
	}
	out, err := As(Binaries()+"/initdb", "-D", dir+"/template", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale", "C",
		"--no-sync", "--no-instructions").CombinedOutput()
	if err != nil {
		beds.no = fmt.Sprintf("initdb: %v: %s", err, out)
	}
	return dir + "/template", beds.no
}

// Bed skips a test where PostgreSQL is missing, or fails it where AK_BEDS promises it.
func Bed(t *testing.T, missing string) {
	t.Helper()
	bed.Need(t, "postgres", missing == "", missing)
}

// Start runs a PostgreSQL of its own. Each file goes into its data directory first: at
// the end of what is there, or, for pg_hba.conf, in its place.
// It ends with the test.
func Start(t *testing.T, files map[string]string) *Server {
	t.Helper()
	s := Launch(t, files)
	t.Cleanup(s.Stop)
	return s
}

// Launch is Start, but for the end: that comes with Close.
func Launch(t *testing.T, files map[string]string) *Server {
	t.Helper()
	beds.Lock()
	defer beds.Unlock()
	from, missing := template()
	Bed(t, missing)
	s := &Server{Port: FreePort(t)}
	s.Dir = filepath.Join(beds.dir, s.Port)
	s.Log = s.Dir + ".log"
	if out, err := As("/bin/cp", "-a", from, s.Dir).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v: %s", err, out)
	}
	for name, content := range files {
		if name == "pg_hba.conf" {
			_ = os.Truncate(filepath.Join(s.Dir, name), 0)
		}
		f, err := os.OpenFile(filepath.Join(s.Dir, name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = f.WriteString(content)
		if attr, _ := owner(); attr.Credential != nil {
			_ = f.Chown(int(attr.Credential.Uid), int(attr.Credential.Gid))
		}
		_ = f.Close()
	}
	s.Run(t, As(Binaries()+"/postgres", "-D", s.Dir, "-p", s.Port, "-k", beds.dir,
		"-c", "listen_addresses=127.0.0.1,127.0.0.2", "-c", "fsync=off", "-c", "shared_buffers=1MB"))
	return s
}

// Run starts a server and waits until it listens.
func (s *Server) Run(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	log, err := os.Create(s.Log)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	s.Cmd = cmd
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.Done = make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(s.Done)
	}()
	beds.servers = append(beds.servers, s)
	for {
		conn, err := net.Dial("tcp", "127.0.0.1:"+s.Port)
		if err == nil {
			_ = conn.Close()
			return
		}
		select {
		case <-s.Done:
			raw, _ := os.ReadFile(s.Log)
			t.Fatalf("%s has ended: %s", cmd.Path, raw)
		case <-t.Context().Done():
			t.Fatalf("%s does not listen", cmd.Path)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// FreePort is one that nobody listens on now.
func FreePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// psql is a session of the superuser. Its name is what others see.
func (s *Server) psql(name string, words ...string) *exec.Cmd {
	cmd := As(Binaries()+"/psql", append([]string{"-XAtqw", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", s.Port, "-U", "postgres"}, words...)...)
	cmd.Env = append(os.Environ(), "PGAPPNAME="+name, "PGOPTIONS=-c client_min_messages=warning")
	return cmd
}

// SQL runs statements as the superuser, once the server takes them.
func (s *Server) SQL(t *testing.T, statements ...string) {
	t.Helper()
	for {
		out, err := s.psql("test", "-c", "select 1").CombinedOutput()
		if err == nil {
			break
		}
		select {
		case <-t.Context().Done():
			t.Fatalf("the server lets nobody in: %s", out)
		case <-time.After(20 * time.Millisecond):
		}
	}
	for _, sql := range statements {
		if out, err := s.psql("test", "-c", sql).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", sql, err, out)
		}
	}
}

// Hold is a session by that name in a database, that has run a statement and stays until
// the test ends or release is called.
func (s *Server) Hold(t *testing.T, name, database, sql string) (release func()) {
	t.Helper()
	cmd := s.psql(name, "-d", database)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	release = sync.OnceFunc(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	t.Cleanup(release)
	if _, err := fmt.Fprintf(in, "%s;\n\\echo done\n", sql); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if lines.Text() == "done" {
			return release
		}
	}
	t.Fatalf("%s: psql has ended", sql)
	return release
}
