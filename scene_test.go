package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"ak-init/testdata/standin/layout"
)

// standIn builds the stand-in authentik, once for all tests. It is static, so that it
// runs in an image of its own.
var standIn = sync.OnceValues(func() (string, error) { return builtFrom("./testdata/standin") })

// buildDir is where programs are built, which all may run. It is removed behind the last test.
var buildDir = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "ak-init-test-")
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o755)
})

// builtFrom builds a static program.
func builtFrom(room string) (string, error) {
	dir, err := buildDir()
	if err != nil {
		return "", err
	}
	program := filepath.Join(dir, filepath.Base(room))
	cmd := exec.Command("go", "build", "-trimpath", "-o", program, room)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return program, nil
}

// patience is how long a test waits for what must come; only a broken one waits so long.
const patience = 60 * time.Second

// scene is one authentik under one ak-init, on ports and in directories of its own.
type scene struct {
	t *testing.T
	// dir is short, for sockets, and reachable by every uid.
	dir, root, tmpdir, record, akInit string
	address, healthAddress            string
	// env is what ak-init gets, and nothing else.
	env []string
	// wrap comes before ak-init, as setpriv.
	wrap []string
}

// newScene lays the stand-in out as the official image.
func newScene(t *testing.T) *scene {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "ak-") //nolint:usetesting // t.TempDir is too long for sockets and closed to other uids
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &scene{
		t: t, dir: dir, root: dir + "/root", tmpdir: dir + "/t", record: dir + "/record", akInit: dir + "/ak-init",
		address: freeAddress(t, dir),
	}
	t.Cleanup(func() { // what another init, or a failed test, left behind
		for _, left := range s.leftovers() {
			_ = syscall.Kill(left.pid, syscall.SIGKILL)
		}
	})
	standin, err := standIn()
	s.must(err)
	s.must(os.Chmod(dir, 0o755), layout.Image(s.root, standin), os.Mkdir(s.tmpdir, 0o700), os.Mkdir(s.record, 0o777),
		os.Chmod(s.record, 0o777), s.copySelf())
	s.env = []string{
		"PATH=/usr/local/bin:/usr/bin:/bin",
		"TMPDIR=" + s.tmpdir + "/",
		"STANDIN_RECORD=" + s.record,
		"AUTHENTIK_LISTEN__HTTP=" + s.address,
		"AUTHENTIK_SECRET_KEY=canary-of-the-scene",
		"AK_INIT_ROOT=" + s.root,
		"AK_INIT_LOG_LEVEL=debug",
		"AK_INIT_WAIT_DATABASE=0", // there is none
	}
	return s
}

func (s *scene) must(errs ...error) {
	s.t.Helper()
	if err := errors.Join(errs...); err != nil {
		s.t.Fatal(err)
	}
}

// copySelf puts this test binary where any uid can run it, by the name that makes it
// ak-init.
func (s *scene) copySelf() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if os.Link(self, s.akInit) == nil {
		return nil
	}
	syscall.ForkLock.RLock() // see layout.copyProgram
	defer syscall.ForkLock.RUnlock()
	raw, err := os.ReadFile(self)
	if err != nil {
		return err
	}
	return os.WriteFile(s.akInit, raw, 0o755)
}

// freeAddress is a loopback address that nobody listens on: each name has a host of its
// own in 127.0.0.0/8, so that scenes at work at the same time do not meet.
func freeAddress(t *testing.T, name string) string {
	t.Helper()
	sum := sha256.Sum256([]byte(name))
	l, err := net.Listen("tcp", fmt.Sprintf("127.%d.%d.%d:0", sum[0], sum[1], 1+sum[2]%250))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// running is an ak-init (or another init) at work.
type running struct {
	*exec.Cmd
	t    *testing.T
	logs output
	// ended is closed when it has ended and ProcessState may be read.
	ended chan struct{}
}

// output is what a process has written so far.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// start runs ak-init with these words.
func (s *scene) start(words ...string) *running {
	s.t.Helper()
	return s.startOther(append([]string{s.akInit}, words...))
}

// startOther runs any program in the scene, in a process group of its own.
func (s *scene) startOther(argv []string) *running {
	s.t.Helper()
	argv = slices.Concat(s.wrap, argv)
	r := &running{Cmd: exec.Command(argv[0], argv[1:]...), t: s.t, ended: make(chan struct{})}
	r.Env, r.Dir = s.env, s.root
	r.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	r.Stdout, r.Stderr = &r.logs, &r.logs
	// What outlives ak-init must not keep Wait from coming back.
	r.WaitDelay = time.Second
	s.must(r.Start())
	go func() { // ends with the process
		defer close(r.ended)
		_ = r.Wait() // its exit code says all
	}()
	s.t.Cleanup(func() {
		select {
		case <-r.ended:
		default:
			_ = syscall.Kill(-r.Process.Pid, syscall.SIGKILL)
			_ = r.Process.Kill()
			<-r.ended
		}
		if s.t.Failed() {
			s.t.Logf("output of %q:\n%s", argv, r.logs.String())
		}
	})
	return r
}

func (r *running) signal(sig syscall.Signal) {
	r.t.Helper()
	if err := r.Process.Signal(sig); err != nil {
		r.t.Fatalf("cannot send %s: %v", sig, err)
	}
}

// stop sends TERM and wants the service's 0.
func (r *running) stop() {
	r.t.Helper()
	r.signal(syscall.SIGTERM)
	if code := r.exitCode(); code != 0 {
		r.t.Errorf("exit code %d, want the service's 0", code)
	}
}

// exitCode waits for the end.
func (r *running) exitCode() int {
	r.t.Helper()
	select {
	case <-r.ended:
	case <-time.After(patience):
		r.t.Fatal("it does not end")
	}
	return r.ProcessState.ExitCode()
}

// health asks once.
func (s *scene) health(words ...string) (code int, said string) {
	s.t.Helper()
	argv := slices.Concat(s.wrap, []string{s.akInit, "healthcheck"}, words)
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = s.env
	out, err := cmd.CombinedOutput()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		s.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// awaitHealth asks until the answer is this code, and gives what was said.
func (s *scene) awaitHealth(code int, words ...string) (said string) {
	s.t.Helper()
	s.await(fmt.Sprintf("healthcheck %v with %d", words, code), func() bool {
		var got int
		got, said = s.health(words...)
		return got == code
	})
	return said
}

// started is what the stand-in wrote down when it was started.
type started struct {
	Role   string            `json:"role"`
	Argv   []string          `json:"argv"`
	Env    map[string]string `json:"env"`
	Cwd    string            `json:"cwd"`
	UID    int               `json:"uid"`
	GID    int               `json:"gid"`
	Groups []int             `json:"groups"`
	PID    int               `json:"pid"`
	PPID   int               `json:"ppid"`
	Start  int64             `json:"start"`
}

// starts gives all recorded starts of a role, oldest first.
func (s *scene) starts(role string) []started {
	s.t.Helper()
	files, err := filepath.Glob(filepath.Join(s.record, role+"-*.json"))
	s.must(err)
	var all []started
	for _, f := range files {
		raw, err := os.ReadFile(f)
		s.must(err)
		var one started
		s.must(json.Unmarshal(raw, &one))
		if one.Role == role {
			all = append(all, one)
		}
	}
	slices.SortFunc(all, func(a, b started) int { return int(a.Start - b.Start) })
	return all
}

// events gives the recorded events that hold a word, oldest first.
func (s *scene) events(word string) []string {
	raw, err := os.ReadFile(filepath.Join(s.record, "events"))
	if err != nil && !os.IsNotExist(err) {
		s.t.Fatal(err)
	}
	var found []string
	for line := range strings.Lines(string(raw)) {
		if strings.Contains(line, word) {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found
}

// awaitEvent reads the events until one holds the word.
func (s *scene) awaitEvent(word string) {
	s.t.Helper()
	defer func() {
		if s.t.Failed() {
			s.t.Logf("events:\n%s", strings.Join(s.events(""), "\n"))
		}
	}()
	s.await("event "+word, func() bool { return len(s.events(word)) > 0 })
}

// await looks until something is so.
func (s *scene) await(what string, so func() bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			s.t.Fatalf("%s never came", what)
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// uid is ours, as a flag takes it.
func uid() string { return strconv.Itoa(os.Geteuid()) }

// reply is what a client heard.
type reply struct {
	status int
	body   string
	err    error
}

// get asks authentik for a path, in the background.
func (s *scene) get(path string) <-chan reply {
	done := make(chan reply, 1)
	go func() {
		client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
		res, err := client.Get("http://" + s.address + path)
		if err != nil {
			done <- reply{err: err}
			return
		}
		defer func() { _ = res.Body.Close() }()
		body, err := io.ReadAll(res.Body)
		done <- reply{res.StatusCode, string(body), err}
	}()
	return done
}

// leftover is a process of the scene that still lives.
type leftover struct {
	pid     int
	command string
}

// leftovers are known by their working directory. (Their environment would not do:
// setproctitle, which gunicorn uses, writes over it.)
func (s *scene) leftovers() []leftover {
	var left []leftover
	entries, err := filepath.Glob("/proc/[0-9]*/cwd")
	s.must(err)
	for _, path := range entries {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		s.must(err)
		if cwd, err := os.Readlink(path); err != nil || cwd != s.root {
			continue
		}
		line, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
		left = append(left, leftover{pid, strings.ReplaceAll(string(line), "\x00", " ")})
	}
	return left
}

// nothingLeft wants no process of the scene.
func (s *scene) nothingLeft() {
	s.t.Helper()
	if left := s.leftovers(); len(left) > 0 {
		s.t.Errorf("left behind: %v", left)
	}
}
