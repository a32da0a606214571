package supervise

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
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
		return
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

// beInit runs argv as the service: GRACE DRAIN PROGRAM [ARG...].
func beInit() int {
	caught := Catch()
	grace, err := time.ParseDuration(os.Args[1])
	if err != nil {
		panic(err)
	}
	argv := os.Args[3:]
	path, err := exec.LookPath(argv[0])
	if err != nil {
		path = argv[0]
	}
	spec := Spec{
		Services: []Service{{Command: Command{Name: "service", Path: path, Argv: argv, Env: os.Environ()}, Drain: os.Args[2]}},
		Grace:    grace,
	}
	return Run(spec, caught, func(e Event) {
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
	case Exited:
		e.Command = Command{Name: e.Command.Name}
		return e
	}
	return e
}

// underInit is a running init with its output.
type underInit struct {
	*exec.Cmd
	t      *testing.T
	events *bufio.Scanner
	seen   bytes.Buffer
	out    bytes.Buffer
}

// startInit runs a shell script under an init; wrap comes before the init's own words.
func startInit(t *testing.T, wrap []string, grace, drain, script string) *underInit {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	argv := slices.Concat(wrap, []string{self, grace, drain, "sh", "-c", script})
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	dir := t.TempDir()
	cmd.Env = append(os.Environ(), initRole+"=1", "DIR="+dir, "SELF="+self)
	t.Cleanup(func() { killAll("DIR=" + dir) })
	u := &underInit{Cmd: cmd, t: t}
	cmd.Stdout = &u.out
	// A pipe of our own: what outlives the init must not keep Wait from coming back.
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	t.Cleanup(func() { _ = r.Close() })
	u.events = bufio.NewScanner(r)
	return u
}

// killAll ends what a failed test left behind: processes with this in their environment.
func killAll(entry string) {
	files, _ := filepath.Glob("/proc/[0-9]*/environ") // the pattern is sound
	for _, file := range files {
		raw, err := os.ReadFile(file)
		pid, numErr := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err == nil && numErr == nil && bytes.Contains(raw, []byte("\x00"+entry+"\x00")) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
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

func (u *underInit) signal(sig syscall.Signal) {
	u.t.Helper()
	if err := u.Process.Signal(sig); err != nil {
		u.t.Fatal(err)
	}
}

func TestRealExitCodes(t *testing.T) {
	for script, want := range map[string]int{
		"exit 0": 0, "exit 3": 3, "exit 255": 255,
		"kill -TERM $$": 143, "kill -KILL $$": 137, "kill -SEGV $$": 139,
	} {
		t.Run(script, func(t *testing.T) {
			t.Parallel()
			if got := startInit(t, nil, "5s", "", script).end(); got != want {
				t.Errorf("exit code %d, want %d", got, want)
			}
		})
	}
}

// Each subshell ends before its child does, so that the child becomes an orphan.
const makeOrphans = `i=0; while [ $i -lt 300 ]; do (sh -c "exit $((i % 7))" &); i=$((i+1)); done; exit 9`

func TestRealOrphansAreReaped(t *testing.T) {
	u := startInit(t, nil, "10s", "", makeOrphans)
	if got := u.end(); got != 9 {
		t.Errorf("exit code %d, want 9", got)
	}
	if n := strings.Count(u.seen.String(), "OrphanReaped"); n != 300 {
		t.Errorf("%d orphans reaped, want 300", n)
	}
}

func TestRealEscapeeIsKilledAtTheEndOfTheGracePeriod(t *testing.T) {
	u := startInit(t, nil, "500ms", "",
		`setsid sh -c 'trap "" TERM; echo $$ >"$DIR/pid.new"; mv "$DIR/pid.new" "$DIR/pid"; sleep 1000 & wait; wait' &
		while [ ! -s "$DIR/pid" ]; do sleep 0.01; done; exit 4`)
	if got := u.end(); got != 4 {
		t.Errorf("exit code %d, want 4\n%s", got, u.seen.String())
	}
	if !strings.Contains(u.seen.String(), "supervise.Killed {Why:grace period over") {
		t.Errorf("nothing was killed:\n%s", u.seen.String())
	}
}

func TestRealSignalsGoToTheMainChildAlone(t *testing.T) {
	u := startInit(t, nil, "5s", "", `
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
}

func TestRealSecondStopKillsAtOnce(t *testing.T) {
	u := startInit(t, nil, "1h", "", `trap 'echo told >&2' TERM; echo ready >&2; while :; do sleep 1000 & wait; done`)
	u.await("^ready")
	u.signal(syscall.SIGTERM)
	u.await("^told")
	u.signal(syscall.SIGTERM)
	if got := u.end(); got != 137 {
		t.Errorf("exit code %d, want 137", got)
	}
}

func TestRealEverySignalThatIsHeardArrives(t *testing.T) {
	u := startInit(t, nil, "5s", "", `exec env `+reportRole+`=1 "$SELF"`)
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
	u := startInit(t, nil, "1h", "", `sleep 1000 & kill -STOP $!; exit 3`)
	if got := u.end(); got != 3 {
		t.Errorf("exit code %d, want 3", got)
	}
}

// The helper is the shell whose $0 is the word; it ends a while after TERM, and the
// service must not have been told before.
const serviceWithHelper = `
	trap 'echo service told; exit 0' TERM
	sh -c 'trap "sleep 0.3; echo helper done; exit 0" TERM; echo ready >&2; while :; do sleep 0.05; done' gunicorn &
	while :; do wait; sleep 0.05; done`

func TestRealHelpersFinishFirst(t *testing.T) {
	u := startInit(t, nil, "10s", "gunicorn", serviceWithHelper)
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

// A helper that was re-parented to us, as gunicorn's new master after USR2 is.
func TestRealAdoptedHelperFinishesFirst(t *testing.T) {
	u := startInit(t, nil, "10s", "gunicorn", `
		trap 'echo service told; exit 0' TERM
		(sh -c 'trap "sleep 0.3; echo helper done; exit 0" TERM; echo ready >&2; while :; do sleep 0.05; done' gunicorn &)
		while :; do sleep 0.05; done`)
	u.await("^ready")
	u.signal(syscall.SIGTERM)
	u.end()
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
	words := []string{"unshare", "-pf", "--mount-proc", "--kill-child=KILL"}
	if os.Geteuid() != 0 {
		words = []string{"unshare", "-Urpf", "--mount-proc", "--kill-child=KILL"}
	}
	if out, err := exec.CommandContext(t.Context(), words[0], append(words[1:], "true")...).CombinedOutput(); err != nil {
		t.Skipf("no PID namespace to be had here: %v %s", err, out)
	}
	return words
}

func TestRealPID1(t *testing.T) {
	wrap := pid1(t)
	t.Run("orphans are reaped", func(t *testing.T) {
		u := startInit(t, wrap, "10s", "", makeOrphans)
		if got := u.end(); got != 9 {
			t.Errorf("exit code %d, want 9", got)
		}
		if n := strings.Count(u.seen.String(), "OrphanReaped"); n != 300 {
			t.Errorf("%d orphans reaped, want 300", n)
		}
	})
	t.Run("TERM stops it in order", func(t *testing.T) {
		u := startInit(t, wrap, "10s", "", `trap 'echo told; exit 6' TERM; echo parent $PPID; echo ready >&2; while :; do sleep 0.05; done`)
		u.await("^ready")
		signalPID1(t, u.Process.Pid)
		if got := u.end(); got != 6 {
			t.Errorf("exit code %d, want 6\n%s", got, u.seen.String())
		}
		if got := u.out.String(); got != "parent 1\ntold\n" {
			t.Errorf("the service says %q", got)
		}
	})
	t.Run("without /proc it still ends what is left", func(t *testing.T) {
		u := startInit(t, append(wrap, "sh", "-c", `umount /proc && exec "$@"`, "sh"), "300ms", "",
			`(trap "" TERM; sleep 1000) & exit 8`)
		if got := u.end(); got != 8 {
			t.Errorf("exit code %d, want 8\n%s", got, u.seen.String())
		}
	})
}

// signalPID1 sends TERM to the only child of unshare.
func signalPID1(t *testing.T, unshare int) {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", unshare))
	if err != nil || len(tasks) == 0 {
		t.Fatal("unshare has no children file", err)
	}
	raw, err := os.ReadFile(tasks[0])
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
}
