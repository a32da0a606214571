package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"golang.org/x/sys/unix"

	"ak-init/health"
	"ak-init/prepare"
)

// addHTTP puts ak-init-http beside ak-init and has it listen.
func (s *scene) addHTTP() {
	s.t.Helper()
	s.addProgram(akInitHTTP)
	s.healthAddress = freeAddress(s.t, s.dir+"health")
	s.env = append(s.env, "AK_INIT_HEALTH_LISTEN="+s.healthAddress)
}

// ask asks ak-init-http, on a connection of its own; code 0: nobody answers.
func (s *scene) ask(path string) (code int, body string) {
	s.t.Helper()
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get("http://" + s.healthAddress + path)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	s.must(err)
	return res.StatusCode, string(raw)
}

// awaitPage asks until the answer is this one, and holds what was said.
func (s *scene) awaitPage(path string, want int, holds string) {
	s.t.Helper()
	s.await(fmt.Sprintf("%s with %d, %q", path, want, holds), func() bool {
		code, body := s.ask(path)
		return code == want && strings.Contains(body, holds)
	})
}

// run runs ak-init to its end.
func (s *scene) run(words ...string) (code int, said string) {
	s.t.Helper()
	r := s.start(words...)
	code = r.exitCode()
	return code, r.logs.String()
}

// companion is the pid of the ak-init-http that this run started last.
func (r *running) companion() int {
	r.t.Helper()
	lines := r.lines(`"event":"child started"`, `"role":"ak-init-http"`)
	if len(lines) == 0 {
		r.t.Fatal("it was not started")
	}
	return childIn(r.t, lines[len(lines)-1])
}

// childIn is the pid that a line is about.
func childIn(t *testing.T, line string) int {
	t.Helper()
	_, rest, _ := strings.Cut(line, `"child":`)
	text, _, _ := strings.Cut(rest, ",")
	return number(t, text)
}

func TestHTTPAnswersFromStartToStop(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.addHTTP()
	s.env = append(s.env, "AUTHENTIK_WEB__PATH=/sso/")
	r := s.start("server", "--stop-delay", "1s")
	s.awaitPage("/readyz?verbose", 200, "[+]server ok\nreadyz check passed\n")
	for _, path := range []string{"/livez", "/startupz", "/-/health/live/", "/sso/-/health/ready/"} {
		if code, body := s.ask(path); code != 200 || body != "ok" {
			t.Errorf("%s: %d %q", path, code, body)
		}
	}
	pid := r.companion()
	if env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid)); err != nil || len(env) > 0 {
		t.Errorf("its environment: %q, %v; want none, since secrets are in it", env, err)
	}
	code, body := s.ask("/metrics")
	problems, err := promlint.New(strings.NewReader(body)).Lint()
	if code != 200 || err != nil || len(problems) > 0 {
		t.Errorf("%d, %v, %v", code, problems, err)
	}
	for _, want := range []string{
		"ak_init_up 1\n", `ak_init_build_info{command="server",version="` + version + `"} 1`, `ak_init_phase{phase="ready",service="server"} 1`,
		`ak_init_restarts_total{service="server"} 0`, `ak_init_probe_duration_seconds{probe="ready",service="server"} 0.`,
		"ak_init_service_resident_memory_bytes", "ak_init_service_processes", "ak_init_orphans_reaped_total",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in\n%s", want, body)
		}
	}

	if check, said := s.run("check", "server"); check != 0 || !strings.Contains(said, s.healthAddress+" is in use, as it should be: an ak-init runs here") {
		t.Errorf("a check beside it: %d\n%s", check, said)
	}

	// Not ready while it stops, and live: an orderly stop is never shot.
	answer := s.get("/sso/slow?for=2s")
	s.awaitEvent("request begin")
	r.signal(syscall.SIGTERM)
	s.awaitPage("/readyz", 503, "[-]server failed: stopping: it was told to stop\nreadyz check failed\n")
	if code, body := s.ask("/livez"); code != 200 {
		t.Errorf("live in the stop: %d %q", code, body)
	}
	s.await("the drain", func() bool { return len(r.lines("helpers told to finish first")) > 0 })
	if code, body := s.ask("/readyz"); code != 503 {
		t.Errorf("ready in the drain: %d %q", code, body)
	}
	if got := <-answer; got.status != 200 {
		t.Errorf("the client has %+v", got)
	}
	if code := r.exitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if code, body := s.ask("/livez"); code != 0 {
		t.Errorf("behind the end it answers %d %q", code, body)
	}
	ends := r.lines(`"event":"child exited"`)
	if len(ends) != 2 || !strings.Contains(ends[1], `"role":"ak-init-http"`) || !strings.Contains(ends[1], `"exit_code":0`) {
		t.Errorf("it is not the last to end, or not well: %q", ends)
	}
	if left := r.lines("what was left told to stop"); len(left) > 0 {
		t.Errorf("it is taken for something left: %q", left)
	}
	r.discreet()
	s.nothingLeft()
	if left, err := os.ReadDir(s.tmpdir); err != nil || exists(s.tmpdir+"/ak-init-"+uid()+"-server") {
		t.Errorf("left in TMPDIR: %v, %v", left, err)
	}
}

func TestHTTPAnswersBeforeTheServicesRun(t *testing.T) {
	t.Parallel()
	s := newAllScene(t)
	s.addHTTP()
	s.env = append(s.env, "STANDIN_MIGRATE_DELAY=1h")
	r := s.start("all")
	s.awaitPage("/readyz", 503, "[-]server failed: migrating")
	if code, body := s.ask("/livez?verbose"); code != 200 || body != "[+]server ok\n[+]worker ok\nlivez check passed\n" {
		t.Errorf("live: %d %q", code, body)
	}
	if code, body := s.ask("/startupz"); code != 503 {
		t.Errorf("started: %d %q", code, body)
	}
	if code, body := s.ask("/metrics"); code != 200 || !strings.Contains(body, `ak_init_phase{phase="migrating",service="worker"} 1`) {
		t.Errorf("metrics: %d %s", code, body)
	}
	r.signal(syscall.SIGTERM)
	if code := r.exitCode(); code != 143 {
		t.Errorf("exit code %d, want the migration's 143", code)
	}
	s.nothingLeft()
}

func TestHTTPComesBackWhateverBecomesOfIt(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.addHTTP()
	r := s.start("server", "--restart", "on-failure")
	s.awaitPage("/readyz", 200, "ok")
	s.must(syscall.Kill(r.companion(), syscall.SIGKILL))
	s.await("its successor", func() bool { return len(r.lines(`"event":"restart scheduled"`, `"role":"ak-init-http"`)) == 1 })
	s.awaitPage("/readyz", 200, "ok")
	// No signal is handed on to it.
	pid := r.companion()
	r.signal(syscall.SIGHUP)
	r.awaitLine(s, "signal forwarded", `"signal":"SIGHUP"`)
	// The end of the service is counted, its own is not.
	s.must(syscall.Kill(s.starts("server")[0].PID, syscall.SIGKILL))
	s.awaitPage("/metrics", 200, `ak_init_exits_total{code="137",service="server",signal="SIGKILL"} 1`)
	s.awaitPage("/metrics", 200, `ak_init_restarts_total{service="server"} 1`)
	s.awaitPage("/readyz", 200, "ok")
	if _, body := s.ask("/metrics"); strings.Contains(body, httpName) {
		t.Errorf("it counts itself:\n%s", body)
	}
	for _, span := range s.status()[0].Timeline {
		if span.Service == httpName {
			t.Errorf("its rest is in the timeline: %+v", span)
		}
	}
	if now := r.companion(); now != pid {
		t.Errorf("it was started again beside the service: %d, before %d", now, pid)
	}
	r.stop()
	s.nothingLeft()
}

// A kubelet gives a probe one second, and an ak-init that does not run is not well.
func TestHTTPSaysThatAkInitIsStuck(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.addHTTP()
	r := s.start("server")
	s.awaitPage("/readyz", 200, "ok")
	r.signal(syscall.SIGSTOP)
	s.await("its halt", func() bool { return strings.HasPrefix(procStatus(t, r.Process.Pid, "State"), "T") })
	begun := time.Now()
	code, body := s.ask("/livez")
	if took := time.Since(begun); took > time.Second {
		t.Errorf("it took %s", took)
	}
	if code != 503 || body != "[-]ak-init failed: ak-init does not answer in time\nlivez check failed\n" {
		t.Errorf("%d %q", code, body)
	}
	r.signal(syscall.SIGCONT)
	s.awaitPage("/livez", 200, "ok")
	r.stop()
	s.nothingLeft()
}

// Who was root asks as the children, in a directory of root's.
func TestHTTPRunsAsTheChildren(t *testing.T) {
	s := asRoot(t)
	s.giveAll(4711, 4712)
	s.addHTTP()
	docker := s.dir + "/docker.sock"
	listener, err := net.Listen("unix", docker)
	s.must(err, os.Chown(docker, 0, 4750), os.Chmod(docker, 0o660))
	t.Cleanup(func() { _ = listener.Close() })
	s.env = append(s.env, "DOCKER_HOST=unix://"+docker)
	r := s.start("worker", "--user", "4711:4712")
	s.awaitPage("/readyz?verbose", 200, "[+]worker ok\n")
	if worker := s.starts("worker")[0]; !slices.Contains(worker.Groups, 4750) {
		t.Errorf("the worker has groups %v, and not docker.sock's", worker.Groups)
	}
	pid := r.companion()
	for field, want := range map[string]string{
		"Uid": "4711\t4711\t4711\t4711", "Gid": "4712\t4712\t4712\t4712", "Groups": "4712", "NoNewPrivs": "1", "CapEff": "0000000000000000",
	} {
		if got := procStatus(t, pid, field); got != want {
			t.Errorf("%s is %q, want %q", field, got, want)
		}
	}
	// Another uid than these two is not heard, though it gets to the socket.
	socket := s.tmpdir + "/ak-init-0-worker/sock"
	s.must(os.Chmod(s.tmpdir, 0o711))
	if heard, err := askAs(4713, socket); err == nil || len(heard) > 0 {
		t.Errorf("a stranger hears %v, %v", heard, err)
	}
	if heard, err := askAs(4711, socket); err != nil || len(heard) != 1 || !heard[0].Healthy {
		t.Errorf("the children's user hears %v, %v", heard, err)
	}
	r.stop()
	s.nothingLeft()

	// What was opened to them is closed again by the next, whoever ended the one before.
	s.must(os.Mkdir(s.tmpdir+"/ak-init-0-worker", 0o711), os.Chmod(s.tmpdir+"/ak-init-0-worker", 0o711))
	s.env = append(s.env, "AK_INIT_HEALTH_LISTEN=")
	r = s.start("worker", "--user", "4711:4712")
	s.awaitHealth(0, "--ready")
	if info, err := os.Stat(s.tmpdir + "/ak-init-0-worker"); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	r.stop()
}

// askAs asks at a socket as another uid: that of one thread, which ends with its goroutine
// (man 2 setresuid, C library/kernel differences).
func askAs(uid int, socket string) (answers []health.Answer, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), uintptr(uid), ^uintptr(0)); errno != 0 {
			err = errno
			return
		}
		answers, err = health.Ask(socket, health.Live, patience)
	}()
	<-done
	return answers, err
}

// At four fifths of the grace period it is spared, at its end nobody is.
func TestHTTPAnswersToTheLast(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.addHTTP()
	r := s.start("run", "--grace-period", "5s", "--", "sh", "-c", `trap "" TERM; while :; do sleep 1; done`)
	s.awaitPage("/readyz", 200, "ok")
	pid := r.companion()
	r.signal(syscall.SIGTERM)
	r.awaitLine(s, "grace period nearly over, everything told to stop")
	if code, body := s.ask("/readyz"); code != 503 || !strings.HasPrefix(body, "[-]sh failed: stopping: it was told to stop\n") {
		t.Errorf("%d %q", code, body)
	}
	if code := r.exitCode(); code != 137 {
		t.Errorf("exit code %d, want 137", code)
	}
	if now := r.companion(); now != pid {
		t.Errorf("it was told, and started again: %d, before %d", now, pid)
	}
	s.nothingLeft()
}

func TestHTTPIsInThePlan(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.addHTTP()
	s.env = append(s.env, "AUTHENTIK_WEB__PATH=/sso/", "AK_INIT_USER="+uid())
	want := "ak-init-http --socket " + s.tmpdir + "/ak-init-" + uid() + "-server/sock --listen " + s.healthAddress + " --web-path /sso/ --log-format auto --log-level debug"
	if code, said := s.run("server", "--dry-run"); code != 0 || !strings.Contains(said, want) {
		t.Errorf("%d, no %q in\n%s", code, want, said)
	}
	for _, other := range []string{"migrate", "manage"} { // the twin is not meant for these
		if _, said := s.run(other, "--dry-run"); strings.Contains(said, httpName) {
			t.Errorf("%s has it, too", other)
		}
	}
}

func TestHTTPForAProgramOfOnesOwn(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.env = []string{"PATH=/usr/bin:/bin", "TMPDIR=" + s.tmpdir, "SECRET=canary", "AK_INIT_LOG_LEVEL=info"}
	s.addHTTP()
	r := s.start("run", "--", "sleep", "1000")
	s.awaitPage("/readyz?verbose", 200, "[+]sleep ok\n")
	second := s.start("run", "--health-listen", freeAddress(t, s.dir+"second"), "--", "sleep", "1000")
	if code := second.exitCode(); code != exitConfig || len(second.lines("another ak-init of this kind runs with this TMPDIR")) != 1 {
		t.Errorf("a second one, whose socket nobody could tell from the first's: %d", code)
	}
	r.signal(syscall.SIGTERM)
	if code := r.exitCode(); code != 143 {
		t.Errorf("exit code %d, want sleep's 143", code)
	}
}

// What a program of the user's own is called says nothing about what it is.
func TestRunTakesNothingFromAName(t *testing.T) {
	t.Parallel()
	for file, name := range map[string]string{
		"migrate": "migrate", "wait-for-database": "wait-for-database", httpName: httpName, "my own\nprogram:\xff": "my_own_program:_",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			s.addHTTP()
			program := s.dir + "/own/" + file
			s.must(os.Mkdir(s.dir+"/own", 0o755), os.WriteFile(program, []byte("#!/bin/sh\nexec sleep 1000\n"), 0o755))
			r := s.start("run", "--", program)
			s.awaitPage("/readyz?verbose", 200, "[+]"+name+" ok\n")
			if code, said := s.health("run", "--ready"); code != 0 {
				t.Errorf("not ready: %s", said)
			}
			companions := func() []string { return r.lines("child started", s.dir+"/"+httpName) }
			s.must(syscall.Kill(childIn(t, companions()[0]), syscall.SIGKILL))
			s.await("another", func() bool { return len(companions()) == 2 })
			s.awaitPage("/metrics", 200, `ak_init_restarts_total{service="`+name+`"} 0`+"\n")
			r.signal(syscall.SIGTERM)
			if code := r.exitCode(); code != 143 || len(r.lines("a migration was interrupted")) > 0 {
				t.Errorf("exit code %d", code)
			}
		})
	}
}

func TestHTTPIsRefusedWhereItCannotBe(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	s.must(err)
	t.Cleanup(func() { _ = taken.Close() })
	address := taken.Addr().String()
	refusal := func(code int, says string, words ...string) {
		t.Helper()
		r := s.start(words...)
		if got := r.exitCode(); got != code || len(r.lines(`"level":"error"`, says)) != 1 && code != exitUsage || !strings.Contains(r.logs.String(), says) {
			t.Errorf("%q: exit code %d, want %d and %q", words, got, code, says)
		}
	}
	free := freeAddress(t, s.dir+"health")
	refusal(exitConfig, "no ak-init-http stands beside ak-init; put it there, as into an image by COPY, or unset --health-listen", "server", "--health-listen", free)
	refusal(exitConfig, "no ak-init-http stands beside ak-init", "run", "--health-listen", free, "--", "true")
	built, err := akInitHTTP()
	s.must(err)
	elf, err := os.ReadFile(built)
	s.must(err)
	elf[18] ^= 0xff // its machine (elf(5), e_machine)
	for _, foreign := range [][]byte{nil, []byte("not found\n"), elf} {
		s.must(os.WriteFile(s.dir+"/"+httpName, foreign, 0o755))
		refusal(exitConfig, httpName+" is no program for this machine", "server", "--health-listen", free)
	}
	s.addProgram(akInitHTTP)
	refusal(exitConfig, address+" is in use; give --health-listen another port", "server", "--health-listen", free+","+address)
	refusal(exitConfig, address+" is in use", "run", "--health-listen", address, "--", "true")
	refusal(exitConfig, s.address+" is server's own: its listen.http is "+s.address, "server", "--health-listen", s.address)
	refusal(exitConfig, ":9443 is server's own: its listen.https is 0.0.0.0:9443", "server", "--health-listen", ":9443")
	own, port, err := net.SplitHostPort(s.address)
	s.must(err)
	refusal(exitConfig, s.address+" is server's own: its listen.http is "+s.address, "server", "--health-listen", "[::ffff:"+own+"]:0"+port)
	refusal(exitConfig, "127.0.0.1:9999 and 127.0.0.1:9999, both of --health-listen, are one address", "server", "--health-listen", "127.0.0.1:9999,localhost:09999")
	if prepare.HasIPv6() {
		refusal(exitConfig, "[fe80::1]:9999 is no address without its interface", "server", "--health-listen", "[fe80::1]:9999")
	}
	refusal(exitUsage, `"9999" is not HOST:PORT, such as :9999`, "server", "--health-listen", "9999")
	refusal(exitCannotWrite, s.dir+"/none does not exist; make it or set another TMPDIR", "run", "--tmpdir", s.dir+"/none", "--health-listen", free, "--", "true")
	refusal(exitUsage, "--health-listen is for server, worker, all, run, check, env, not for migrate", "migrate", "--health-listen", free)
	for _, role := range []string{"server", "worker", "python"} {
		if len(s.starts(role)) > 0 {
			t.Errorf("%s was started", role)
		}
	}
	s.nothingLeft()
}

func TestMeetingAddresses(t *testing.T) {
	for pair, want := range map[[2]string]bool{
		{":9999", "0.0.0.0:9999"}:          true,
		{"[::]:9999", "127.0.0.1:9999"}:    true,
		{"127.0.0.1:9999", "0.0.0.0:9999"}: true,
		{"127.0.0.1:9999", "[::1]:9999"}:   false,
		{"127.0.0.1:1", "127.0.0.1:2"}:     false,
		{":9999", "9999"}:                  false,
		// However they are written.
		{"127.0.0.1:9940", "localhost:9940"}:          true,
		{"127.0.0.1:9940", "127.0.0.1:09940"}:         true,
		{"[::1]:9940", "[0:0::1]:9940"}:               true,
		{"127.0.0.1:9940", "[::ffff:127.0.0.1]:9940"}: true,
		{"[0::0]:80", "127.0.0.1:http"}:               true,
		{":9940", "a-name-of-a-host:9940"}:            true,
		{"127.0.0.1:9940", "a-name-of-a-host:9940"}:   false,
	} {
		if got := [2]bool{meet(pair[0], pair[1]), meet(pair[1], pair[0])}; got != [2]bool{want, want} {
			t.Errorf("%v: %v, want %t", pair, got, want)
		}
	}
}

func TestHealthListen(t *testing.T) {
	o, err := parse([]string{"server", "--health-listen", ":1,127.0.0.1:2", "--health-listen", "[::1]:65535"}, nil)
	if diff := cmp.Diff([]string{":1", "127.0.0.1:2", "[::1]:65535"}, o.healthListen); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	o, err = parse([]string{"server", "--health-listen", ":09999,localhost:9998,[0:0::1]:9997,[::ffff:127.0.0.1]:9996,[fe80::1%lo]:9995"}, nil)
	if diff := cmp.Diff([]string{":9999", "127.0.0.1:9998", "[::1]:9997", "127.0.0.1:9996", "[fe80::1%lo]:9995"}, o.healthListen); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for _, bad := range []string{
		"", "9999", ":0", ":65536", ":http", "::1:9999", ":1,", "host", ":-1", ":+1",
		"noname.invalid:9999", "256.1.1.1:9999", "*:9999", " :9999", "-1:9999", "a\nb:99",
	} {
		if _, err := parse([]string{"server", "--health-listen=" + bad}, nil); codeOf(err) != exitUsage {
			t.Errorf("%q is taken: %v", bad, err)
		}
	}
}
