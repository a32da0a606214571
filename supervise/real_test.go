package supervise

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// These tests run real processes under a real init: this test binary, started again
// with initRole set, calls Run in a process of its own, so that its wait4 takes nothing
// from the test's own children. It writes one line for each event.
const initRole = "AK_INIT_TEST_INIT"

const reportRole = "AK_INIT_TEST_REPORT"

func TestMain(m *testing.M) {
	if os.Args[0] == GuardName {
		Guard(os.Stdin)
		os.Exit(1) // with 0 the race detector sleeps for a second
	}
	if os.Getenv(reportRole) != "" {
		report()
		return
	}
	if os.Getenv(initRole) != "" {
		os.Exit(beInit())
	}
	os.Exit(m.Run())
}

// initSpec is what an init of these tests reads from the file that initRole names.
type initSpec struct {
	Spec
	// Processes is the most that its user may have (RLIMIT_NPROC), set when Go has the
	// threads that it needs; nil leaves it as it is.
	Processes *uint64
	// Lasts is how much longer than others it may run.
	Lasts time.Duration
	// Refused are system calls that fail, by number, and how.
	Refused map[uint32]syscall.Errno
}

// beInit runs such a spec, or, where initRole names no file, argv as the only service:
// GRACE DRAIN PROGRAM [ARG...]. A child without an environment gets ours.
func beInit() int {
	caught := Catch()
	var spec initSpec
	raw, err := os.ReadFile(os.Getenv(initRole))
	if err == nil {
		err = json.Unmarshal(raw, &spec)
	} else {
		spec, err = oneService(os.Args[1], os.Args[2], os.Args[3:])
	}
	if err != nil {
		panic(err)
	}
	for i := range spec.Services {
		if s := &spec.Services[i]; s.Env == nil {
			s.Env = os.Environ()
		}
	}
	spec.injectFaults()
	return Run(spec.Spec, caught, func(e Event) {
		fmt.Fprintf(os.Stderr, "event %T %+v\n", e, withoutCommand(e))
	})
}

// report is a child that says which signals it gets, until TERM.
func report() {
	got := make(chan os.Signal, 64)
	for n := syscall.Signal(1); n <= 64; n++ {
		if n != syscall.SIGURG && n != syscall.SIGCHLD {
			signal.Notify(got, n)
		}
	}
	fmt.Fprintln(os.Stderr, "ready")
	for sig := range got {
		fmt.Fprintf(os.Stderr, "got %d\n", sig)
		if sig == syscall.SIGTERM {
			return
		}
	}
}

// withoutCommand keeps the environment out of the lines.
func withoutCommand(e Event) Event {
	switch e := e.(type) {
	case Started:
		e.Command = Command{Name: e.Command.Name}
		return e
	case StartFailed:
		e.Command = Command{Name: e.Command.Name}
		return e
	case Exited:
		e.Command = Command{Name: e.Command.Name}
		return e
	case RestartScheduled:
		e.Command = Command{Name: e.Command.Name}
		return e
	case RestartsExhausted:
		e.Command = Command{Name: e.Command.Name}
		return e
	}
	return e
}

// underInit is a running init with its output.
type underInit struct {
	*exec.Cmd
	t *testing.T
	// dir is the children's DIR, self this binary.
	dir, self string
	// events are what comes through pipe.
	events *bufio.Scanner
	pipe   *os.File
	seen   bytes.Buffer
	out    bytes.Buffer
}

// patience is how long a test waits for what must come; only a broken one waits so long.
const patience = 60 * time.Second

// oneService is a spec with a program of PATH.
func oneService(grace, drain string, argv []string) (initSpec, error) {
	limit, err := time.ParseDuration(grace)
	path, lookErr := exec.LookPath(argv[0])
	if lookErr != nil {
		path = argv[0]
	}
	command := Command{Name: "service", Path: path, Argv: argv}
	return initSpec{Spec: Spec{Services: []Service{{Command: command, Drain: drain}}, Grace: limit}}, err
}

// startInit runs a shell script under an init; wrap comes before the init's own words.
func startInit(t *testing.T, wrap []string, grace, drain, script string) *underInit {
	t.Helper()
	spec, err := oneService(grace, drain, []string{"sh", "-c", script})
	if err != nil {
		t.Fatal(err)
	}
	return startSpec(t, wrap, spec)
}

// shell is a command that runs a script.
func shell(name, script string) Command {
	return Command{Name: name, Path: "/bin/sh", Argv: []string{"sh", "-c", script}}
}

// startSpec runs a whole spec under an init, which ends at the latest when patience does;
// change may change how.
func startSpec(t *testing.T, wrap []string, spec initSpec, change ...func(*underInit)) *underInit {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience+spec.Lasts)
	t.Cleanup(cancel)
	argv := append(slices.Clone(wrap), self)
	u := &underInit{Cmd: exec.CommandContext(ctx, argv[0], argv[1:]...), t: t, dir: t.TempDir(), self: self}
	t.Cleanup(func() { killAll(withEnvironment("DIR=" + u.dir)) })
	u.Stdout, u.WaitDelay = &u.out, time.Second // what outlives the init may hold it
	for _, f := range change {
		f(u)
	}
	u.Env = append(os.Environ(), "DIR="+u.dir, "SELF="+u.self, initRole+"="+u.write("spec.json", spec),
		"GORACE=atexit_sleep_ms=0") // else each takes a second to end well
	// A pipe of our own: what outlives the init must not keep Wait from coming back, nor
	// the reading from ending when time is over.
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	u.Stderr = w
	if err := u.Start(); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	context.AfterFunc(ctx, func() { _ = r.Close() })
	u.events, u.pipe = bufio.NewScanner(r), r
	return u
}

// write makes a file in the children's DIR, as it is or as JSON, and gives its path.
func (u *underInit) write(name string, content any) string {
	u.t.Helper()
	text, isText := content.(string)
	raw := []byte(text)
	if !isText {
		var err error
		if raw, err = json.Marshal(content); err != nil {
			u.t.Fatal(err)
		}
	}
	path := filepath.Join(u.dir, name)
	if err := os.WriteFile(path, raw, 0o644); err != nil {
		u.t.Fatal(err)
	}
	return path
}

// withEnvironment are the processes with this in their environment.
func withEnvironment(entry string) (pids []int) {
	files, _ := filepath.Glob("/proc/[0-9]*/environ") // the pattern is sound
	for _, file := range files {
		raw, err := os.ReadFile(file)
		pid, numErr := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err == nil && numErr == nil && bytes.Contains(raw, []byte("\x00"+entry+"\x00")) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// killAll ends what a failed test left behind.
func killAll(pids []int) {
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// await reads events until each pattern has matched one, in any order.
func (u *underInit) await(patterns ...string) {
	u.t.Helper()
	for len(patterns) > 0 {
		if !u.events.Scan() {
			u.t.Fatalf("%q never came; seen:\n%s", patterns, u.seen.String())
		}
		line := u.events.Text()
		fmt.Fprintln(&u.seen, line)
		patterns = slices.DeleteFunc(patterns, func(p string) bool { return regexp.MustCompile(p).MatchString(line) })
	}
}

// end reads the rest and gives the init's exit code.
func (u *underInit) end() int {
	u.t.Helper()
	for u.events.Scan() {
		fmt.Fprintln(&u.seen, u.events.Text())
	}
	_ = u.Wait() // its exit code says all
	return u.ProcessState.ExitCode()
}

// signal is for an init that has been heard of.
func (u *underInit) signal(sig syscall.Signal) {
	u.t.Helper()
	if err := syscall.Kill(u.pid(), sig); err != nil {
		u.t.Fatal(err)
	}
}

// pid is the init's, as we see it: the first below what wraps it that runs this binary.
func (u *underInit) pid() int {
	u.t.Helper()
	for pid := u.Process.Pid; ; {
		if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err == nil && exe == u.self {
			return pid
		}
		below := childrenOf(u.t, pid)
		if len(below) == 0 {
			u.t.Fatalf("no init below %d; seen:\n%s", u.Process.Pid, u.seen.String())
		}
		pid = below[0]
	}
}

// childrenOf are the children of a process (proc_pid_task(5), children).
func childrenOf(t *testing.T, pid int) []int {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	var children []int
	for _, file := range tasks {
		raw, err := os.ReadFile(file)
		if err != nil {
			continue // a thread that has ended
		}
		for word := range strings.FieldsSeq(string(raw)) {
			child, err := strconv.Atoi(word)
			if err != nil {
				t.Fatal(err)
			}
			children = append(children, child)
		}
	}
	return children
}

func TestRealExitCodes(t *testing.T) {
	for script, want := range map[string]int{
		"exit 0": 0, "exit 3": 3, "exit 255": 255,
		"kill -TERM $$": 143, "kill -KILL $$": 137, "kill -SEGV $$": 139,
	} {
		t.Run(script, func(t *testing.T) {
			for way, wrap := range ways() {
				t.Run(way, func(t *testing.T) {
					t.Parallel()
					if got := startInit(t, wrap(t), "5s", "", script).end(); got != want {
						t.Errorf("exit code %d, want %d", got, want)
					}
				})
			}
		})
	}
}

// Each subshell ends before its child does, so that the child becomes an orphan.
const makeOrphans = `i=0; while [ $i -lt 300 ]; do (sh -c "exit $((i % 7))" &); i=$((i+1)); done; exit 9`

func TestRealOrphansAreReaped(t *testing.T) {
	for way, wrap := range ways() {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			u := startInit(t, wrap(t), "10s", "", makeOrphans)
			if got := u.end(); got != 9 {
				t.Errorf("exit code %d, want 9", got)
			}
			if n := strings.Count(u.seen.String(), "OrphanReaped"); n != 300 {
				t.Errorf("%d orphans reaped, want 300", n)
			}
		})
	}
}

func TestRealEscapeeIsKilledAtTheEndOfTheGracePeriod(t *testing.T) {
	for way, wrap := range ways() {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			u := startInit(t, wrap(t), "500ms", "",
				`setsid sh -c 'trap "" TERM; echo $$ >"$DIR/pid.new"; mv "$DIR/pid.new" "$DIR/pid"; sleep 1000 & wait; wait' &
				while [ ! -s "$DIR/pid" ]; do sleep 0.01; done; exit 4`)
			if got := u.end(); got != 4 {
				t.Errorf("exit code %d, want 4\n%s", got, u.seen.String())
			}
			if !strings.Contains(u.seen.String(), "supervise.Killed {Why:grace period over") {
				t.Errorf("nothing was killed:\n%s", u.seen.String())
			}
		})
	}
}

func TestRealSignalsGoToTheMainChildAlone(t *testing.T) {
	for way, wrap := range ways() {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			u := startInit(t, wrap(t), "5s", "", `
				trap 'echo main HUP; exit 5' HUP
				sh -c 'trap "echo child HUP" HUP; echo ready >&2; sleep 1000 & wait $!' &
				wait`)
			u.await("^ready")
			u.signal(syscall.SIGHUP)
			u.await("Forwarded")
			if got := u.end(); got != 5 {
				t.Errorf("exit code %d, want 5", got)
			}
			if got := u.out.String(); got != "main HUP\n" {
				t.Errorf("who had the signal: %q", got)
			}
		})
	}
}

func TestRealSecondStopKillsAtOnce(t *testing.T) {
	for way, wrap := range ways() {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			u := startInit(t, wrap(t), "1h", "", `trap 'echo told >&2' TERM; echo ready >&2; while :; do sleep 1000 & wait; done`)
			u.await("^ready")
			u.signal(syscall.SIGTERM)
			u.await("^told")
			u.signal(syscall.SIGTERM)
			if got := u.end(); got != 137 {
				t.Errorf("exit code %d, want 137", got)
			}
		})
	}
}

func TestRealEverySignalThatIsHeardArrives(t *testing.T) {
	for way, wrap := range ways() {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			u := startInit(t, wrap(t), "5s", "", `exec env `+reportRole+`=1 "$SELF"`)
			u.await("^ready", "Started")
			for n := syscall.Signal(1); n <= 64; n++ {
				if Heard(n) && !isStop(n) && n != syscall.SIGTSTP { // which stops the job
					u.signal(n)
					u.await(fmt.Sprintf("^got %d$", n))
				}
			}
			u.signal(syscall.SIGTERM)
			u.await("^got 15$")
			if got := u.end(); got != 0 {
				t.Errorf("exit code %d, want 0", got)
			}
		})
	}
}

// docs/signals.md has a row for each signal, and says of those that are handed on that
// they are.
func TestSignalsDocument(t *testing.T) {
	raw, err := os.ReadFile("../docs/signals.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[syscall.Signal]string{}
	for _, row := range regexp.MustCompile(`(?m)^\|[^|]*\| ([\d, ]+|\d+ to \d+) \| ([^|]*) \|`).FindAllStringSubmatch(string(raw), -1) {
		first, last, isRange := strings.Cut(row[1], " to ")
		for text := range strings.SplitSeq(first, ", ") {
			n, err := strconv.Atoi(strings.TrimSpace(text))
			if err != nil {
				t.Fatal(err)
			}
			rows[syscall.Signal(n)] = row[2]
			for to, err := strconv.Atoi(last); isRange && err == nil && n < to; {
				n++
				rows[syscall.Signal(n)] = row[2]
			}
		}
	}
	for n := syscall.Signal(1); n <= 64; n++ {
		handedOn := Heard(n) && !isStop(n) && n != syscall.SIGTSTP
		if row, ok := rows[n]; !ok || (row == "handed on") != handedOn {
			t.Errorf("signal %d: the row says %q, handed on: %t", n, row, handedOn)
		}
	}
}

// A stopped process has TERM pending and never ends of it.
func TestRealStoppedLeftoverIsWoken(t *testing.T) {
	for way, wrap := range ways() {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			u := startInit(t, wrap(t), "1h", "", `sleep 1000 & kill -STOP $!; exit 3`)
			if got := u.end(); got != 3 {
				t.Errorf("exit code %d, want 3", got)
			}
		})
	}
}

// The helper is the shell whose $0 is the word; it ends a while after TERM, and the
// service must not have been told before.
const serviceWithHelper = `
	trap 'echo service told; exit 0' TERM
	sh -c 'trap "sleep 0.3; echo helper done; exit 0" TERM; echo ready >&2; while :; do sleep 0.05; done' gunicorn &
	while :; do wait; sleep 0.05; done`

// A helper that was re-parented to us, as gunicorn's new master after USR2 is.
const serviceWithAdoptedHelper = `
	trap 'echo service told; exit 0' TERM
	(sh -c 'trap "sleep 0.3; echo helper done; exit 0" TERM; : >"$DIR/ready"; while :; do sleep 0.05; done' gunicorn &)
	until [ -e "$DIR/ready" ]; do sleep 0.01; done
	echo ready >&2
	while :; do sleep 0.05; done`

func TestRealHelpersFinishFirst(t *testing.T) {
	for whose, script := range map[string]string{"its own": serviceWithHelper, "adopted": serviceWithAdoptedHelper} {
		t.Run(whose, func(t *testing.T) {
			for way, wrap := range ways() {
				t.Run(way, func(t *testing.T) {
					t.Parallel()
					helpersFinishFirst(t, startInit(t, wrap(t), "10s", "gunicorn", script))
				})
			}
		})
	}
}

func helpersFinishFirst(t *testing.T, u *underInit) {
	t.Helper()
	u.await("^ready")
	u.signal(syscall.SIGTERM)
	if got := u.end(); got != 0 {
		t.Errorf("exit code %d, want 0", got)
	}
	if got := u.out.String(); got != "helper done\nservice told\n" {
		t.Errorf("order: %q\n%s", got, u.seen.String())
	}
}

// gunicorn tells its workers once, and one that was forked just before loses it.
const workerThatMissesOne = `
	cat >"$DIR/worker" <<'END'
	trap 'n=x$n; [ "$n" = xx ] && exit' TERM; echo ready >&2; while :; do sleep 0.05; done
END
	cat >"$DIR/master" <<'END'
	trap 'kill -TERM $w' TERM; sh "$DIR/worker" & w=$!
	while kill -0 $w 2>/dev/null; do wait; sleep 0.05; done; echo helper done
END
	trap 'echo service told; exit 0' TERM
	sh "$DIR/master" gunicorn &
	while :; do wait; sleep 0.05; done`

func TestRealHelpersChildThatMissesTheFirstTERM(t *testing.T) {
	u := startInit(t, nil, "1h", "gunicorn", workerThatMissesOne)
	u.await("^ready")
	u.signal(syscall.SIGTERM)
	if got := u.end(); got != 0 {
		t.Errorf("exit code %d, want 0", got)
	}
	if got := u.out.String(); got != "helper done\nservice told\n" {
		t.Errorf("order: %q\n%s", got, u.seen.String())
	}
}

// A TERM that comes as soon as Go's runtime catches signals ends the init by that
// signal: in order, or by the signal itself where main has not been reached. Nothing
// else may come of it, and no service may be left.
func TestRealSignalInTheFirstMoment(t *testing.T) {
	for range 20 {
		u := startInit(t, nil, "5s", "", "exec sleep 1000")
		awaitCatching(t, u.Process.Pid)
		u.signal(syscall.SIGTERM)
		code := u.end()
		status, _ := u.ProcessState.Sys().(syscall.WaitStatus)
		if code != 143 && (!status.Signaled() || status.Signal() != syscall.SIGTERM) {
			t.Fatalf("exit code %d, want 143\n%s", code, u.seen.String())
		}
		if strings.Contains(u.seen.String(), "Started") && !strings.Contains(u.seen.String(), "Exited") {
			t.Fatalf("the service was left behind:\n%s", u.seen.String())
		}
	}
}

// awaitCatching waits until a process catches TERM (proc_pid_status(5), SigCgt): Go's
// runtime installs its handlers before any Go code runs.
func awaitCatching(t *testing.T, pid int) {
	t.Helper()
	for t.Context().Err() == nil {
		raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		_, rest, _ := strings.Cut(string(raw), "SigCgt:\t")
		mask, _, _ := strings.Cut(rest, "\n")
		if bits, err := strconv.ParseUint(mask, 16, 64); err == nil && bits&(1<<(syscall.SIGTERM-1)) != 0 {
			return
		}
	}
}

// Whoever starts ak-init with signals blocked or ignored, and with descriptors open, does
// not do so to the service; limits, umask, directory and OOM score are as they were. What
// prints them is no shell and no Go program, which would change some of it.
func TestRealChildrenInheritNothing(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	around := []string{
		"bash", "-c", `umask 027; ulimit -Sn 77; cd /usr; exec 9</dev/null; echo 17 >/proc/self/oom_score_adj; exec "$@"`, "bash",
		"env", "--block-signal", "--ignore-signal", // all of them
	}
	if out, err := exec.CommandContext(t.Context(), around[0], append(around[1:], "true")...).CombinedOutput(); err != nil {
		t.Skipf("env cannot block signals here: %v %s", err, out)
	}
	init := []string{self, "5s", ""}
	nothing := regexp.MustCompile(`^Umask:\t0027\nSigBlk:\t0{16}\nSigIgn:\t0{16}\nMax open files +77 +\d+ .*\n17\n$`)
	for _, tt := range []struct {
		name string
		argv []string
		want *regexp.Regexp
		// alone is what it prints without an init: a control, that there is something to see.
		alone *regexp.Regexp
	}{
		{
			"signals, limits, umask, OOM score",
			[]string{"grep", "-hE", "^(SigBlk|SigIgn|Umask|Max open files)|^17$", "/proc/self/status", "/proc/self/limits", "/proc/self/oom_score_adj"},
			nothing, regexp.MustCompile(`SigBlk:\tf.*\nSigIgn:\tf`),
		},
		// ls has the directory itself open as 3.
		{"descriptors", []string{"ls", "/proc/self/fd"}, regexp.MustCompile(`^0\n1\n2\n3\n$`), regexp.MustCompile(`\n9\n`)},
		{"directory", []string{"readlink", "/proc/self/cwd"}, regexp.MustCompile("^/usr\n$"), regexp.MustCompile("^/usr\n$")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			seenBy := func(argv []string) string {
				cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
				cmd.Env = append(os.Environ(), initRole+"=1")
				out, err := cmd.Output()
				if err != nil {
					t.Fatal(err)
				}
				return string(out)
			}
			if got := seenBy(slices.Concat(around, tt.argv)); !tt.alone.MatchString(got) {
				t.Errorf("without an init it sees %q: this test shows nothing", got)
			}
			if got := seenBy(slices.Concat(around, init, tt.argv)); !tt.want.MatchString(got) {
				t.Errorf("a child sees %q, want %s", got, tt.want)
			}
		})
	}
}

// pid1 gives the words that make what follows PID 1 of a new namespace.
func pid1(t *testing.T) []string {
	t.Helper()
	words, missing := namespace()
	if missing != "" {
		t.Skip("no PID namespace to be had here: " + missing)
	}
	return words
}

// namespace says how to be PID 1, or why that cannot be.
var namespace = sync.OnceValues(func() (words []string, missing string) {
	words = []string{"unshare", "-pf", "--mount-proc", "--kill-child=KILL"}
	if os.Geteuid() != 0 {
		words[1] = "-Urpf"
	}
	if out, err := exec.Command(words[0], append(words[1:], "true")...).CombinedOutput(); err != nil {
		return nil, fmt.Sprintf("%v %s", err, out)
	}
	return slices.Clip(words), ""
})

// ways are both ways to be an init.
func ways() map[string]func(*testing.T) []string {
	return map[string]func(*testing.T) []string{"subreaper": subreaper, "PID 1": pid1}
}

// subreaper needs no words before the init's.
func subreaper(*testing.T) []string { return nil }

func TestRealPID1StopsInOrder(t *testing.T) {
	t.Parallel()
	u := startInit(t, pid1(t), "10s", "", `trap 'echo told; exit 6' TERM; echo parent $PPID; echo ready >&2; while :; do sleep 0.05; done`)
	u.await("^ready")
	u.signal(syscall.SIGTERM)
	if got := u.end(); got != 6 {
		t.Errorf("exit code %d, want 6\n%s", got, u.seen.String())
	}
	if got := u.out.String(); got != "parent 1\ntold\n" {
		t.Errorf("the service says %q", got)
	}
}
