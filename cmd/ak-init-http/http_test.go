package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"ak-init/health"
)

// programName makes this test binary the program itself, so that what the tests run is what
// they were built from, race detector included.
const programName = "ak-init-http"

func TestMain(m *testing.M) {
	if os.Args[0] == programName {
		main()
	}
	os.Exit(m.Run())
}

// patience is how long a test waits for what must come; only a broken one waits so long.
const patience = 30 * time.Second

// akInit is the answering side of an ak-init: the real socket and the real wire, with
// answers that the test sets.
type akInit struct {
	socket  string
	answers atomic.Pointer[[]health.Answer]
	asked   atomic.Int64
	// atOnce are the questions that are being answered, crowded tells that there were several.
	atOnce  atomic.Int64
	crowded atomic.Bool
	// hold, if there is one, keeps every answer back until it is closed.
	hold chan struct{}
}

const fullStatus = `{"pid":1,"version":"1.2.3","command":"all","phase":"ready","uptime_seconds":61.5,"orphans_reaped":7,"services":[
{"name":"server","phase":"ready","pid":9,"uptime_seconds":60,"restarts":2,"rss_kib":2048,"processes":3,
 "exits":[{"exit_code":1,"count":1},{"exit_code":137,"signal":"SIGKILL","count":1}],"probe_seconds":{"live":0.002,"ready":0.0125}},
{"name":"worker","phase":"paused","reason":"x","pid":0,"uptime_seconds":0,"restarts":0,"rss_kib":0,"processes":0}]}`

func newAkInit(t *testing.T, answers ...health.Answer) *akInit {
	t.Helper()
	a := &akInit{socket: filepath.Join(t.TempDir(), "sock")}
	a.answers.Store(&answers)
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: a.socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		health.Serve(listener, []int{os.Geteuid()}, health.Desk{
			Answer: func(health.Question) []health.Answer {
				a.asked.Add(1)
				a.crowded.Store(a.atOnce.Add(1) > 1 || a.crowded.Load())
				defer a.atOnce.Add(-1)
				if a.hold != nil {
					<-a.hold
				}
				return *a.answers.Load()
			},
			Status: func() []byte { return []byte(strings.ReplaceAll(fullStatus, "\n", "")) },
		})
	}()
	t.Cleanup(func() { _ = listener.Close(); <-served })
	return a
}

// program is an ak-init-http at work.
type program struct {
	t       *testing.T
	cmd     *exec.Cmd
	address string
	log     bytes.Buffer
	ended   chan struct{}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// start runs the program with no environment at all, and comes back when it listens.
func start(t *testing.T, socket string, more ...string) *program {
	t.Helper()
	p := &program{t: t, address: freeAddress(t), ended: make(chan struct{})}
	p.cmd = command(t, append([]string{"--socket", socket, "--listen", p.address, "--log-level", "debug"}, more...)...)
	p.cmd.Stderr = &p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { // ends with the process
		defer close(p.ended)
		_ = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.ended
		if t.Failed() {
			t.Logf("it said:\n%s", p.log.String())
		}
	})
	await(t, "its listener", func() bool {
		conn, err := net.Dial("tcp", p.address)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	return p
}

func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return &exec.Cmd{Path: self, Args: append([]string{programName}, args...), Env: []string{}}
}

func await(t *testing.T, what string, so func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s never came", what)
		}
	}
}

// ask sends one request as a kubelet does: on a connection of its own.
func (p *program) ask(method, path string) (code int, body string, head http.Header) {
	p.t.Helper()
	client := http.Client{
		Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	req, err := http.NewRequestWithContext(p.t.Context(), method, "http://"+p.address+path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	res, err := client.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return res.StatusCode, string(raw), res.Header
}

func well(service string) health.Answer {
	return health.Answer{Healthy: true, Service: service, Phase: health.Serving}
}

func ill(service string) health.Answer {
	return health.Answer{Service: service, Phase: health.Degraded, Reason: "connection refused, for 31s now"}
}

func TestVerdictHasKubernetesShape(t *testing.T) {
	tests := []struct {
		name    string
		answers []health.Answer
		err     error
		exclude []string
		healthy bool
		want    string
	}{
		{"all is well", []health.Answer{well("server"), well("worker")}, nil, nil, true, "[+]server ok\n[+]worker ok\nlivez check passed\n"},
		{
			"one is not", []health.Answer{well("server"), ill("worker")}, nil, nil, false,
			"[+]server ok\n[-]worker failed: degraded: connection refused, for 31s now\nlivez check failed\n",
		},
		{"no reason is known", []health.Answer{{Service: "server", Phase: health.Starting}}, nil, nil, false, "[-]server failed: starting\nlivez check failed\n"},
		{
			"the ill one is left out", []health.Answer{well("server"), ill("worker")}, nil, []string{"worker"}, true,
			"[+]server ok\n[+]worker excluded: ok\nlivez check passed\n",
		},
		{
			"nobody of that name", []health.Answer{ill("server")}, nil, []string{"etcd"}, false,
			"[-]server failed: degraded: connection refused, for 31s now\nwarn: no service is called \"etcd\"\nlivez check failed\n",
		},
		{
			"nobody of these names", []health.Answer{well("server")}, nil, []string{"x", "server", "y\n", strings.Repeat("z", 100)}, true,
			"[+]server excluded: ok\nwarn: no service is called \"x\", \"y\\n\", \"" + strings.Repeat("z", 87) + "\nlivez check passed\n",
		},
		{
			"ak-init is mute, whoever is left out", nil, errors.New("ak-init does not answer in time"), []string{"ak-init", "server"}, false,
			"[-]ak-init failed: ak-init does not answer in time\nlivez check failed\n",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			healthy, text := verdict("livez", tt.answers, tt.err, tt.exclude)
			if diff := cmp.Diff(tt.want, text); diff != "" || healthy != tt.healthy {
				t.Errorf("healthy %t, want %t (-want +got):\n%s", healthy, tt.healthy, diff)
			}
		})
	}
}

func TestPagesAndWhatIsNone(t *testing.T) {
	t.Parallel()
	a := newAkInit(t, well("server"))
	p := start(t, a.socket, "--web-path", "/sso/")
	for _, tt := range []struct {
		method, path string
		code         int
		body         string
	}{
		{"GET", "/livez", 200, "ok"},
		{"GET", "/readyz?verbose", 200, "[+]server ok\nreadyz check passed\n"},
		{"GET", "/startupz?verbose=1", 200, "[+]server ok\nstartupz check passed\n"},
		{"HEAD", "/readyz", 200, ""},
		{"GET", "/-/health/live/", 200, "ok"},
		{"GET", "/-/health/ready/", 200, "ok"},
		{"GET", "/sso/-/health/ready/?verbose", 200, "[+]server ok\nready check passed\n"},
		{"GET", "/-/health/live", 404, "Not Found\n"},
		{"GET", "//livez", 404, "Not Found\n"},
		{"GET", "/livez/../readyz", 404, "Not Found\n"},
		{"GET", "/", 404, "Not Found\n"},
		{"GET", "/debug/pprof/", 404, "Not Found\n"},
		{"POST", "/livez", 405, "Method Not Allowed\n"},
		{"DELETE", "/nothing", 405, "Method Not Allowed\n"},
		{"TRACE", "/livez", 405, "Method Not Allowed\n"},
		{"OPTIONS", "/livez", 405, "Method Not Allowed\n"},
	} {
		code, body, head := p.ask(tt.method, tt.path)
		if code != tt.code || body != tt.body {
			t.Errorf("%s %s: %d %q, want %d %q", tt.method, tt.path, code, body, tt.code, tt.body)
		}
		if kind := head.Get("Content-Type"); kind != "text/plain; charset=utf-8" || head.Get("Cache-Control") != "no-store" {
			t.Errorf("%s %s: %q, %v", tt.method, tt.path, kind, head)
		}
		if code == 405 && head.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s %s allows %q", tt.method, tt.path, head.Get("Allow"))
		}
	}
	a.answers.Store(&[]health.Answer{ill("server")})
	for path, name := range map[string]string{"/livez": "livez", "/readyz?verbose": "readyz", "/-/health/ready/": "ready"} {
		want := "[-]server failed: degraded: connection refused, for 31s now\n" + name + " check failed\n"
		if code, body, _ := p.ask("GET", path); code != 503 || body != want {
			t.Errorf("%s: %d %q, want 503 %q", path, code, body, want)
		}
	}
}

func TestMetricsPassTheLint(t *testing.T) {
	t.Parallel()
	p := start(t, newAkInit(t, well("server")).socket)
	code, body, head := p.ask("GET", "/metrics")
	if code != 200 || !strings.HasPrefix(head.Get("Content-Type"), "text/plain; version=0.0.4") {
		t.Fatalf("%d, %v", code, head)
	}
	problems, err := promlint.New(strings.NewReader(body)).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	var lines []string
	for line := range strings.Lines(body) {
		if !strings.HasPrefix(line, "#") && !strings.HasSuffix(line, "} 0\n") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	want := []string{
		`ak_init_build_info{command="all",version="1.2.3"} 1`,
		`ak_init_exits_total{code="1",service="server",signal=""} 1`,
		`ak_init_exits_total{code="137",service="server",signal="SIGKILL"} 1`,
		`ak_init_orphans_reaped_total 7`,
		`ak_init_phase{phase="ready",service="server"} 1`,
		`ak_init_phase{phase="paused",service="worker"} 1`, // one that this program does not know
		`ak_init_probe_duration_seconds{probe="live",service="server"} 0.002`,
		`ak_init_probe_duration_seconds{probe="ready",service="server"} 0.0125`,
		`ak_init_restarts_total{service="server"} 2`,
		`ak_init_service_processes{service="server"} 3`,
		`ak_init_service_resident_memory_bytes{service="server"} 2.097152e+06`,
		`ak_init_service_uptime_seconds{service="server"} 60`,
		`ak_init_up 1`,
		`ak_init_uptime_seconds 61.5`,
	}
	slices.Sort(want)
	slices.Sort(lines)
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !strings.Contains(body, `ak_init_phase{phase="waiting-for-database",service="server"} 0`+"\n") {
		t.Error("a phase that is not has no 0")
	}
}

// A kubelet gives a probe one second.
func TestAMuteAkInitIsSaidInTime(t *testing.T) {
	t.Parallel()
	mute := filepath.Join(t.TempDir(), "sock")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: mute, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() // nobody ever accepts, as with one that is stopped
	for _, tt := range []struct{ socket, says string }{
		{mute, "[-]ak-init failed: ak-init does not answer in time\n"},
		{"/nowhere/sock", "[-]ak-init failed: no ak-init to ask there: no such file or directory\n"},
	} {
		p := start(t, tt.socket)
		begun := time.Now()
		code, body, _ := p.ask("GET", "/livez")
		if code != 503 || body != tt.says+"livez check failed\n" {
			t.Errorf("%d %q", code, body)
		}
		if took := time.Since(begun); took > time.Second {
			t.Errorf("it took %s", took)
		}
		if code, body, _ := p.ask("GET", "/metrics"); code != 200 || !strings.Contains(body, "\nak_init_up 0\n") || strings.Contains(body, "phase") {
			t.Errorf("metrics: %d %q", code, body)
		}
	}
}

// However many ask, ak-init hears one question at a time of each kind.
func TestAskersInACrowdCostOneQuestion(t *testing.T) {
	t.Parallel()
	a := newAkInit(t, well("server"))
	a.hold = make(chan struct{})
	p := start(t, a.socket)
	var askers sync.WaitGroup
	for range 50 {
		askers.Go(func() {
			if code, body, _ := p.ask("GET", "/readyz"); code != 200 {
				t.Errorf("%d %q", code, body)
			}
		})
	}
	await(t, "all of them", func() bool { return p.sockets() >= 50+2 }) // beside the listener and the one to ak-init
	close(a.hold)
	askers.Wait()
	if n := a.asked.Load(); a.crowded.Load() || n > 25 { // who came too late for the first share the next
		t.Errorf("50 askers cost %d questions, several at a time: %t", n, a.crowded.Load())
	}
}

// sockets are how many the program has open.
func (p *program) sockets() (n int) {
	fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", p.cmd.Process.Pid)) // the pattern is sound
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

// crowdOf opens that many connections and says this on each.
func (p *program) crowdOf(n int, says string) {
	p.t.Helper()
	for range n {
		conn, err := net.Dial("tcp", p.address)
		if err != nil {
			p.t.Fatal(err)
		}
		p.t.Cleanup(func() { _ = conn.Close() })
		if _, err := io.WriteString(conn, says); err != nil && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
			p.t.Fatal(err)
		}
	}
}

func TestAProbeIsAnsweredWhateverElseIsConnected(t *testing.T) {
	t.Parallel()
	for name, says := range map[string]string{
		"idle":                    "",
		"slow with their headers": "GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: ",
		"keeping the connection":  "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n",
		"deaf to their answers":   strings.Repeat("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 2000),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := start(t, newAkInit(t, well("server")).socket)
			n := 1000
			if len(says) > 1000 {
				n = 100
			}
			p.crowdOf(n, says)
			for range 10 {
				begun := time.Now()
				if code, body, _ := p.ask("GET", "/livez"); code != 200 {
					t.Fatalf("%d %q", code, body)
				}
				if took := time.Since(begun); took > time.Second {
					t.Errorf("a probe took %s", took)
				}
			}
			await(t, "a small crowd", func() bool { return p.sockets() <= maxConnections+3 })
			if raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", p.cmd.Process.Pid)); err != nil {
				t.Errorf("it has not lived through this: %q, %v", raw, err)
			}
		})
	}
}

// raw sends a text and gives the first line of the answer.
func (p *program) raw(text string) string {
	p.t.Helper()
	conn, err := net.Dial("tcp", p.address)
	if err != nil {
		p.t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(conn, text) // it may hang up before the end
	line, _ := bufio.NewReader(conn).ReadString('\n')
	return strings.TrimSpace(line)
}

func TestWhatIsTooMuchOrNoRequest(t *testing.T) {
	t.Parallel()
	p := start(t, newAkInit(t, well("server")).socket)
	const get = "GET /livez HTTP/1.1\r\nHost: x\r\n"
	for _, tt := range []struct{ name, sent, want string }{
		{"some kilobytes of headers", get + "X: " + strings.Repeat("x", 7<<10) + "\r\n\r\n", "HTTP/1.1 200 OK"},
		{"more than eight", get + "X: " + strings.Repeat("x", 9<<10) + "\r\n\r\n", "HTTP/1.1 431 Request Header Fields Too Large"},
		{"a long path", "GET /" + strings.Repeat("x", 9<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 431 Request Header Fields Too Large"},
		{"a body", get + "Content-Length: 1000000000\r\n\r\nx", "HTTP/1.1 413 Request Entity Too Large"},
		{"a body of no known length", get + "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n", "HTTP/1.1 413 Request Entity Too Large"},
		{"a method of its own", "FOO /livez HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 405 Method Not Allowed"},
		{"the whole server's options", "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 405 Method Not Allowed"},
		{"a tunnel", "CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\n", "HTTP/1.1 405 Method Not Allowed"},
		{"HTTP/2 without TLS", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/1.1 405 Method Not Allowed"},
		{"no HTTP at all", "\x16\x03\x01\x00\xa5hello\r\n\r\n", "HTTP/1.1 400 Bad Request"},
	} {
		if got := p.raw(tt.sent); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	if code, _, _ := p.ask("GET", "/livez"); code != 200 {
		t.Errorf("behind all that it answers %d", code)
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	<-p.ended
	if strings.Contains(p.log.String(), "goroutine") {
		t.Error("it shows its insides")
	}
}

func TestItEndsWhenToldToAndAnswersFirst(t *testing.T) {
	t.Parallel()
	a := newAkInit(t, well("server"))
	a.hold = make(chan struct{})
	p := start(t, a.socket)
	answered := make(chan int, 1)
	go func() {
		code, _, _ := p.ask("GET", "/readyz")
		answered <- code
	}()
	await(t, "the question", func() bool { return a.asked.Load() > 0 })
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	await(t, "the end of its listener", func() bool {
		conn, err := net.Dial("tcp", p.address)
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	})
	close(a.hold)
	if code := <-answered; code != 200 {
		t.Errorf("who asked before the stop has %d", code)
	}
	<-p.ended
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestWhatCannotBeIsSaidInOneLine(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	address := taken.Addr().String()
	for _, tt := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"--socket", "/s", "--listen", address}, exitUnavailable, "cannot listen on " + address + ": bind: address already in use (uid "},
		{[]string{"--socket", "/s"}, exitUsage, "--socket and --listen are needed"},
		{[]string{"--socket", "/s", "--listen", address, "x"}, exitUsage, `"x" is no flag`},
		{[]string{"--nonsense"}, exitUsage, "unknown flag: --nonsense"},
		{[]string{"--socket", "/s", "--listen", address, "--log-level", "bogus"}, exitUsage, `--log-level: "bogus" is none of debug, info, warning, error`},
		{[]string{"--socket", "/s", "--listen", address, "--log-format", "bogus"}, exitUsage, `--log-format: "bogus" is none of auto, json, console`},
		{[]string{"--socket", "/s", "--listen", address, "--listen", ":0"}, exitUsage, `--listen: ":0" has no port`},
		{[]string{"--socket", "/s", "--listen", "127.0.0.1:"}, exitUsage, `--listen: "127.0.0.1:" has no port`},
		{[]string{"--socket", "/s", "--listen", "9999"}, exitUsage, `--listen: "9999" has no port`},
	} {
		out, err := command(t, tt.args...).CombinedOutput()
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok || exit.ExitCode() != tt.code || !bytes.Contains(out, []byte(tt.says)) || bytes.Count(out, []byte("\n")) != 1 {
			t.Errorf("%q: %v, %q", tt.args, err, out)
		}
	}
}
