package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ak-init/health"
)

func TestHealthReport(t *testing.T) {
	ready := health.Answer{Healthy: true, Service: "server", Phase: health.Serving}
	migrating := health.Answer{Healthy: true, Service: "worker", Phase: health.Migrating, Reason: "it has not answered yet"}
	degraded := health.Answer{Service: "server", Phase: health.Degraded, Reason: "a\nb\x1b[31m" + strings.Repeat("x", 1<<20)}
	for _, tt := range []struct {
		name       string
		answers    []health.Answer
		code       int
		json, text string
	}{
		{
			"all is well", []health.Answer{ready}, 0,
			`{"healthy":true,"question":"live","phase":"ready","services":[{"name":"server","phase":"ready","healthy":true,"reason":""}]}`,
			"healthy: server ready\n",
		},
		{
			"the phase is that of the one on its way", []health.Answer{ready, migrating}, 0,
			`{"healthy":true,"question":"live","phase":"migrating","services":[{"name":"server","phase":"ready","healthy":true,"reason":""},` +
				`{"name":"worker","phase":"migrating","healthy":true,"reason":"it has not answered yet"}]}`,
			"healthy: server ready\nhealthy: worker migrating: it has not answered yet\n",
		},
		{
			"one unhealthy service is enough, and its reason stays one line", []health.Answer{degraded, ready}, 1,
			`{"healthy":false,"question":"live","phase":"degraded","services":[{"name":"server","phase":"degraded","healthy":false,"reason":"a b [31m` + strings.Repeat("x", maxSaid-8) + `"},` +
				`{"name":"server","phase":"ready","healthy":true,"reason":""}]}`,
			"unhealthy: server degraded: a b [31m" + strings.Repeat("x", maxSaid-8) + "\nhealthy: server ready\n",
		},
		{
			"who answers as ak-init is no more believed than a file", []health.Answer{{Service: "ser\x1bver", Phase: "rea\x1bdy"}}, 1,
			`{"healthy":false,"question":"live","phase":"rea dy","services":[{"name":"ser ver","phase":"rea dy","healthy":false,"reason":""}]}`,
			"unhealthy: ser ver rea dy\n",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for output, want := range map[string][2]string{"json": {tt.json + "\n", ""}, "text": {"", tt.text}} {
				var stdout, stderr strings.Builder
				code := reportHealth(options{question: health.Live, output: output}, tt.answers, &stdout, &stderr)
				if diff := cmp.Diff(want, [2]string{stdout.String(), stderr.String()}); diff != "" || code != tt.code {
					t.Errorf("%s: exit code %d, want %d; stdout and stderr (-want +got):\n%s", output, code, tt.code, diff)
				}
			}
		})
	}
}

func TestJSONIsShortForOutputJSON(t *testing.T) {
	for _, tt := range []struct {
		args, environ []string
		want          string
	}{
		{[]string{"healthcheck", "--json"}, nil, "json"},
		{[]string{"status", "--json"}, []string{"AK_INIT_OUTPUT=text"}, "json"},
		{[]string{"status", "--json", "--output", "json"}, nil, "json"},
		{[]string{"status"}, []string{"AK_INIT_JSON=true"}, "json"},
		{[]string{"status", "--output", "text"}, []string{"AK_INIT_JSON=true"}, "text"},
		{[]string{"status", "--json=false"}, nil, "text"},
	} {
		if o, err := parse(tt.args, tt.environ); err != nil || o.output != tt.want {
			t.Errorf("%q %q: output %q, %v; want %q", tt.args, tt.environ, o.output, err, tt.want)
		}
	}
	if _, err := parse([]string{"status", "--json", "--output", "text"}, nil); err == nil {
		t.Error("--json --output text is taken")
	}
	if _, err := parse([]string{"status", "--output", "yaml", "--json"}, nil); err == nil || len(asRefusal(err).faults) != 1 {
		t.Errorf("one mistake is said as: %v", err)
	}
}

// askJSON asks for health as JSON, and wants nothing but one object on stdout.
func (s *scene) askJSON(words ...string) (code int, r healthReport) {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), s.akInit, append([]string{"healthcheck", "--json"}, words...)...)
	var stdout, stderr strings.Builder
	cmd.Env, cmd.Stdout, cmd.Stderr = s.env, &stdout, &stderr
	if _, exited := errors.AsType[*exec.ExitError](cmd.Run()); !exited && !cmd.ProcessState.Success() {
		s.t.Fatal(cmd.ProcessState)
	}
	decoder := json.NewDecoder(strings.NewReader(stdout.String()))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&r); err != nil || decoder.More() || stderr.String() != "" {
		s.t.Fatalf("%v: stdout %q, stderr %q", err, stdout.String(), stderr.String())
	}
	return cmd.ProcessState.ExitCode(), r
}

func TestHealthAsJSONOfARunningAkInit(t *testing.T) {
	t.Parallel()
	s := newAllScene(t)
	if code, r := s.askJSON(); code != 1 || r.Healthy || len(r.Services) != 1 || r.Services[0].Name != "authentik" || r.Services[0].Reason == "" {
		t.Errorf("before the start: %d, %+v", code, r)
	}
	r := s.start("all")
	s.awaitHealth(0, "--started")
	for _, q := range []health.Question{health.Live, health.Ready, health.Started} {
		want := healthReport{Healthy: true, Question: q, Phase: health.Serving, Services: []serviceHealth{
			{Name: "server", Phase: health.Serving, Healthy: true}, {Name: "worker", Phase: health.Serving, Healthy: true},
		}}
		code, got := s.askJSON("--" + string(q))
		if diff := cmp.Diff(want, got); code != 0 || diff != "" {
			t.Errorf("%s: exit code %d (-want +got):\n%s", q, code, diff)
		}
	}
	r.stop()
}

// answerer answers as a server does, at one path alone, and counts.
type answerer struct {
	net.Listener
	hits atomic.Int64
}

// listenAs answers HEAD at the path with 200 and all else with 502, until the test ends.
func listenAs(t *testing.T, network, address, path string) *answerer {
	t.Helper()
	inner, err := net.Listen(network, address)
	if err != nil {
		if strings.Contains(address, "::") {
			t.Skip("no IPv6 here: ", err)
		}
		t.Fatal(err)
	}
	l := &answerer{Listener: inner}
	server := &http.Server{ReadHeaderTimeout: patience, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if l.hits.Add(1); r.Method != http.MethodHead || r.URL.Path != path {
			w.WriteHeader(http.StatusBadGateway)
		}
	})}
	go func() { _ = server.Serve(inner) }() // until it is closed
	t.Cleanup(func() { _ = server.Close() })
	return l
}

func (l *answerer) port() string {
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// newDirectScene is a scene without ak-init's socket and with no program at work: there is only
// what the test listens with.
func newDirectScene(t *testing.T) *scene {
	t.Helper()
	s := newScene(t)
	s.must(os.WriteFile(s.tmpdir+"/authentik-mode", []byte("server\n"), 0o644))
	return s
}

// asksOnce wants one line that begins so, and this exit code.
func (s *scene) asksOnce(code int, begins string, words ...string) {
	s.t.Helper()
	got, said := s.health(words...)
	if got != code || !strings.HasPrefix(said, begins) || strings.Count(said, "\n") != 1 || !strings.HasSuffix(said, "\n") {
		s.t.Errorf("%d, %q; want %d and one line that begins with %q", got, said, code, begins)
	}
}

func TestWithoutAkInitAServerIsAskedWhereItListens(t *testing.T) {
	t.Parallel()
	const live = "/-/health/live/"
	closed := freeAddress(t, "closed")
	for _, tt := range []struct {
		name, network, bind string
		// setting is listen.http for the port.
		setting       func(port string) string
		webPath, path string
	}{
		{"IPv4", "tcp4", "127.0.0.1:0", func(p string) string { return "127.0.0.1:" + p }, "", live},
		{"IPv4's wildcard", "tcp4", "0.0.0.0:0", func(p string) string { return "0.0.0.0:" + p }, "", live},
		{"IPv6", "tcp6", "[::1]:0", func(p string) string { return "[::1]:" + p }, "", live},
		{"both wildcards in one", "tcp", "[::]:0", func(p string) string { return "[::]:" + p }, "", live},
		{"IPv6's wildcard on a machine that only has IPv4", "tcp4", "127.0.0.1:0", func(p string) string { return "[::]:" + p }, "", live},
		{"a port alone", "tcp", ":0", func(p string) string { return ":" + p }, "", live},
		{"a name", "tcp4", "127.0.0.1:0", func(p string) string { return "localhost:" + p }, "", live},
		{"the second of a list", "tcp4", "127.0.0.1:0", func(p string) string { return closed + ", 127.0.0.1:" + p }, "", live},
		{"web.path", "tcp4", "127.0.0.1:0", func(p string) string { return "127.0.0.1:" + p }, "/sub/", "/sub" + live},
		{"web.path with a blank", "tcp4", "127.0.0.1:0", func(p string) string { return "127.0.0.1:" + p }, "/a b/", "/a b" + live},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newDirectScene(t)
			l := listenAs(t, tt.network, tt.bind, tt.path)
			s.env = append(s.env, "AUTHENTIK_LISTEN__HTTP="+tt.setting(l.port()), "AUTHENTIK_WEB__PATH="+tt.webPath)
			s.asksOnce(0, "healthy: server without ak-init\n")
			s.asksOnce(1, "unhealthy: server without ak-init: http://", "--ready") // answered at one path alone
			_ = l.Close()
			s.asksOnce(1, "unhealthy: server without ak-init: dial tcp ")
		})
	}
	t.Run("the socket in TMPDIR", func(t *testing.T) {
		t.Parallel()
		s := newDirectScene(t)
		l := listenAs(t, "unix", s.tmpdir+"/authentik.sock", "/sub"+live)
		s.env = append(s.env, "AUTHENTIK_LISTEN__HTTP="+closed, "AUTHENTIK_WEB__PATH=/sub/")
		s.asksOnce(0, "healthy: server")
		s.asksOnce(1, "unhealthy: server without ak-init: http://localhost/sub/-/health/ready/ at "+s.tmpdir+"/authentik.sock answers 502", "--ready")
		_ = l.Close()
		s.asksOnce(1, "unhealthy: server without ak-init: dial tcp "+closed)
	})
	t.Run("the port where that socket is stale", func(t *testing.T) {
		t.Parallel()
		s := newDirectScene(t)
		stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: s.tmpdir + "/authentik.sock", Net: "unix"})
		s.must(err)
		stale.SetUnlinkOnClose(false)
		s.must(stale.Close())
		s.env = append(s.env, "AUTHENTIK_LISTEN__HTTP="+listenAs(t, "tcp", "127.0.0.1:0", live).Addr().String())
		s.asksOnce(0, "healthy: server")
	})
}

// A list in a file is what commas are in the environment (authentik/lib/default.yml, main branch
// of April 2026).
func TestListenersInAFileAreAList(t *testing.T) {
	f, err := somewhereWith(options{env: map[string]string{}}, "listen: {http: ['[::]:9000', '10.0.0.1:8000']}")
	if err != nil || f.config.ListenHTTP != "[::]:9000,10.0.0.1:8000" {
		t.Errorf("%q, %v", f.config.ListenHTTP, err)
	}
}

func TestHealthcheckAsksNoProxy(t *testing.T) {
	t.Parallel()
	s := newDirectScene(t)
	// authentik's own address must not be one that every client leaves out of its proxy's reach.
	address := freeAddress(t, s.dir)
	s.env = append(s.env, "AUTHENTIK_LISTEN__HTTP="+listenAs(t, "tcp", address, "/-/health/live/").Addr().String())
	proxy := listenAs(t, "tcp", "127.0.0.1:0", "")
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"} {
		s.env = append(s.env, name+"=http://"+proxy.Addr().String())
	}
	s.asksOnce(0, "healthy: server")
	if n := proxy.hits.Load(); n != 0 {
		t.Errorf("the proxy was asked %d times", n)
	}
}

// It must have ended, and said why, before Docker's time-out of 3 s ends it.
func TestWithoutAkInitItComesBackInTime(t *testing.T) {
	t.Parallel()
	t.Run("from a server that accepts and is silent", func(t *testing.T) {
		t.Parallel()
		s := newDirectScene(t)
		port, _ := mute(t)
		s.env = append(s.env, "AUTHENTIK_LISTEN__HTTP=127.0.0.1:"+port)
		begun := time.Now()
		s.asksOnce(1, "unhealthy: server without ak-init: http://127.0.0.1:"+port+"/-/health/live/: no answer in time (2.2")
		beforeDocker(t, begun)
	})
	t.Run("from an address that drops packets, with the next of the list", func(t *testing.T) {
		t.Parallel()
		s := newDirectScene(t)
		full := fullBacklog(t)
		s.env = append(s.env, "AUTHENTIK_LISTEN__HTTP="+full+","+listenAs(t, "tcp", "127.0.0.1:0", "/-/health/live/").Addr().String())
		begun := time.Now()
		s.asksOnce(0, "healthy: server")
		beforeDocker(t, begun)
		s.env = append(s.env, "AUTHENTIK_LISTEN__HTTP="+full)
		begun = time.Now()
		s.asksOnce(1, "unhealthy: server without ak-init: "+full+": no connection in time (2.2")
		beforeDocker(t, begun)
	})
	t.Run("past a file that does not answer", func(t *testing.T) {
		t.Parallel()
		s := newDirectScene(t)
		s.env = append(s.env, "AUTHENTIK_WEB__PATH=file://"+hungDir(s)+"/x",
			"AUTHENTIK_LISTEN__HTTP="+listenAs(t, "tcp", "127.0.0.1:0", "/-/health/live/").Addr().String())
		begun := time.Now()
		s.asksOnce(0, "healthy: server")
		beforeDocker(t, begun)
	})
}

func beforeDocker(t *testing.T, begun time.Time) {
	t.Helper()
	if took := time.Since(begun); took > 3*time.Second {
		t.Errorf("it took %s, and Docker waits for 3s", took)
	}
}

// fullBacklog is the address of a listener whose queue is full and from which nobody takes: SYNs
// are dropped (man 2 listen).
func fullBacklog(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	bound := &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	if err := errors.Join(syscall.Bind(fd, bound), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	at, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", at.(*syscall.SockaddrInet4).Port)
	fill(t, address)
	return address
}

// fill connects until nobody is let in any more.
func fill(t *testing.T, address string) {
	t.Helper()
	for {
		conn, err := net.DialTimeout("tcp", address, 200*time.Millisecond)
		if err != nil {
			return
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
}

// A file that is there is named by what it holds, also where that is another verb of authentik's.
func TestAModeFileThatNamesNoServiceIsOneLine(t *testing.T) {
	t.Parallel()
	s := newDirectScene(t)
	for content, held := range map[string]string{
		"": `""`, "\n": `""`, "ser\nver\n": `"ser\nver"`, "\x1b[2J\x00": `"\x1b[2J\x00"`, strings.Repeat("x", 1<<16): `"` + strings.Repeat("x", 40) + `"`,
		"healthy: server\nhealthy: server": `"healthy: server\nhealthy: server"`, "bash": `"bash"`, "manage\n": `"manage"`, "allinone": `"allinone"`,
	} {
		s.must(os.WriteFile(s.tmpdir+"/authentik-mode", []byte(content), 0o644))
		s.asksOnce(1, "unhealthy: authentik unknown: no ak-init, and "+s.tmpdir+"/authentik-mode holds "+held+", which is neither server nor worker\n")
	}
	s.must(os.Remove(s.tmpdir + "/authentik-mode"))
	s.asksOnce(1, "unhealthy: authentik not running: no ak-init and no authentik-mode in "+s.tmpdir)
}

func TestWithoutAkInitAWorkerIsAskedByItsFileAndItsPort(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.env = append(s.env, "AK_INIT_USER="+uid())
	s.must(os.WriteFile(s.tmpdir+"/authentik-mode", []byte("worker\n"), 0o644))
	s.asksOnce(1, "unhealthy: worker without ak-init: open "+s.tmpdir+"/authentik-worker.pid: no such file")
	other := s.startOther([]string{s.root + "/ak-root/.venv/bin/python", "-m", "manage", "worker", "--pid-file", s.tmpdir + "/authentik-worker.pid"})
	s.awaitHealth(0)
	s.awaitHealth(0, "--ready") // which takes the port too
	bare := *s
	bare.env = append(bare.env, "AUTHENTIK_LISTEN__HTTP="+freeAddress(t, s.dir+"other"))
	bare.asksOnce(0, "healthy: worker without ak-init\n", "--live")
	bare.asksOnce(1, "unhealthy: worker without ak-init: dial tcp ", "--ready")
	_ = other.Process.Kill()
	other.exitCode()
	s.asksOnce(1, fmt.Sprintf("unhealthy: worker without ak-init: %s/authentik-worker.pid names pid %d, which is gone\n", s.tmpdir, other.Process.Pid))
}
