package supervise

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// family is a service with a child, a grandchild, an orphan of its own group, and a child of
// a child in a group of its own. None of them ends of TERM.
const family = `
	trap '' TERM
	sleep 1000 &
	sh -c 'sleep 1000 & echo ready >&2; wait' &
	(sh -c 'echo ready >&2; exec sleep 1000' &)
	sh -c 'setsid sh -c "echo ready >&2; exec sleep 1000" & wait' &
	echo ready >&2
	wait`

// guarded starts a family under an init that is not PID 1, and gives all that belongs to it.
func guarded(t *testing.T, spec initSpec, change ...func(*underInit)) (u *underInit, guard int, all watched) {
	t.Helper()
	u = startSpec(t, nil, spec, change...)
	u.await("Started")
	for n := strings.Count(u.seen.String(), "ready\n"); n < 4; {
		if u.next("family") == "ready" {
			n++
		}
	}
	guard, _ = u.split()
	if guard == 0 {
		t.Fatal("no guard")
	}
	return u, guard, watch(t, append(withEnvironment("DIR="+u.dir), guard)...)
}

func TestGuardEndsWhatAKilledInitLeaves(t *testing.T) {
	t.Parallel()
	u, _, all := guarded(t, one(family))
	if len(all) != 9 { // init, guard, 3 shells, 4 that sleep
		t.Errorf("only %d processes: this test shows nothing", len(all))
	}
	u.signal(syscall.SIGKILL)
	all.allGone(t)
}

// The guard has the tree of a stop that is under way as well: TERM for all of it passes
// by the guard.
func TestGuardStaysForTheStop(t *testing.T) {
	t.Parallel()
	spec := one(family)
	spec.Grace = 2 * time.Second
	u, _, all := guarded(t, spec)
	u.signal(syscall.SIGTERM)
	u.await("GraceNearlyOver")
	u.signal(syscall.SIGKILL)
	all.allGone(t)
}

// And what a service has left, for as long as that takes to end.
func TestGuardStaysForTheSweep(t *testing.T) {
	t.Parallel()
	spec := one(family)
	spec.Grace = time.Hour
	u, _, all := guarded(t, spec)
	var service int
	_, rest, _ := strings.Cut(u.seen.String(), " PID:")
	if _, err := fmt.Sscan(rest, &service); err != nil {
		t.Fatal(err, u.seen.String())
	}
	if err := syscall.Kill(service, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	u.await("Swept")
	u.signal(syscall.SIGKILL)
	all.allGone(t)
}

func TestGuardGoesWithTheInit(t *testing.T) {
	t.Parallel()
	u, guard, all := guarded(t, one(family))
	u.signal(syscall.SIGTERM)
	u.signal(syscall.SIGINT)
	u.expect(137, "Killed", "!OrphanReaped {PID:"+fmt.Sprint(guard)+" ")
	for pid, pidfd := range all {
		if !endsWithin(t, pidfd, 0) {
			t.Errorf("%d is still there", pid)
		}
	}
}

func TestGuardIsKilled(t *testing.T) {
	t.Parallel()
	spec := one(family)
	spec.Grace = 500 * time.Millisecond
	u, guard, all := guarded(t, spec)
	before := descriptors(t, u.pid())
	if err := syscall.Kill(guard, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	// The init's end of the pipe goes when it has reaped it.
	for end := time.Now().Add(patience); len(descriptors(t, u.pid())) >= len(before); {
		if time.Now().After(end) {
			t.Fatalf("the init has %q, and had %q", descriptors(t, u.pid()), before)
		}
	}
	if _, err := readProcess(guard); err == nil {
		t.Error("the guard is not reaped")
	}
	u.await("Unguarded {Err:somebody has ended the guard}")
	u.signal(syscall.SIGHUP)
	u.await("Forwarded")
	u.expect(129, "!OrphanReaped {PID:"+fmt.Sprint(guard)+" ")
	all.allGone(t)
}

// Who reads what the service prints sees its end when the service and the init have gone,
// and so does who writes to it.
func TestGuardHoldsNoInputAndOutput(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = r.Close(), w.Close() }()
	u, guard, all := guarded(t, one(family), func(u *underInit) { u.Stdin, u.Dir = r, u.dir })
	ofInit, ofGuard := descriptors(t, u.pid()), descriptors(t, guard)
	for number, file := range ofGuard {
		if file == ofInit["0"] || file == ofInit["1"] || number != "2" && file == ofInit["2"] {
			t.Errorf("the guard has %s as %s; the init %q", file, number, ofInit)
		}
	}
	u.signal(syscall.SIGKILL)
	all.allGone(t)
}

// The init is killed as soon as the guard knows of its child, which may be before the
// guard listens.
func TestGuardInTheFirstMoment(t *testing.T) {
	t.Parallel()
	for range 10 {
		u := startSpec(t, nil, one("exec sleep 1000"))
		u.await("Started")
		u.signal(syscall.SIGKILL)
		u.end()
		u.nothingLeft()
	}
}

// Children that leave their parent's group come faster than the guard looks.
func TestGuardEndsAStorm(t *testing.T) {
	t.Parallel()
	u := startSpec(t, nil, one(`
		i=0; while [ $i -lt 500 ]; do setsid sh -c 'echo >&2; exec sleep 1000' & i=$((i+1)); done; wait`))
	for range 50 {
		u.next("storm")
	}
	u.signal(syscall.SIGKILL)
	u.end()
	u.nothingLeft()
}

// besideOther runs the init and, when it is told a number, somebody else by this pid, who
// has a process group of its own (proc_sys_kernel(5), ns_last_pid).
const besideOther = `
	"$@" &
	read pid <"$DIR/pid"
	echo $((pid - 1)) >/proc/sys/kernel/ns_last_pid
	OTHER=$DIR setsid sleep 1000 &
	echo other $! >&2
	wait`

// The guard listens late, here because it was stopped: the pid of a child that has ended
// is somebody else's by then, in a group of that number.
func TestGuardSparesWhoHasAChildsPID(t *testing.T) {
	t.Parallel()
	wrap := append(pid1(t), "sh", "-c", besideOther, "sh")
	var pid *os.File
	u := startSpec(t, wrap, one("exec sleep 1000").always(), func(u *underInit) { pid = u.fifo("pid") })
	u.await("Started")
	guard, children := u.split()
	if err := syscall.Kill(guard, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	killAll(children)
	u.await("Started")
	_, children = u.split()
	killAll(children)
	ended, _ := happened(u.nextOf("Exited"))
	u.await("Started")
	if _, err := fmt.Fprintln(pid, ended.pid); err != nil {
		t.Fatal(err)
	}
	if got, want := u.nextOf("other"), fmt.Sprint("other ", ended.pid); got != want {
		t.Skipf("%s, want %s: the pid was not to be had", got, want)
	}
	var others []int
	for end := time.Now().Add(patience); len(others) == 0 && time.Now().Before(end); { // until it is what it is to be
		others = withEnvironment("OTHER=" + u.dir)
	}
	if len(others) == 0 {
		t.Fatal("there is nobody to be spared")
	}
	other := watch(t, others...)
	_, children = u.split()
	all := watch(t, append(children, guard)...)
	u.signal(syscall.SIGKILL)
	if err := syscall.Kill(guard, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	all.allGone(t)
	for pid, pidfd := range other {
		if endsWithin(t, pidfd, 100*time.Millisecond) { // it was signalled before the guard ended
			t.Errorf("%d was killed, which is nobody's child", pid)
		}
	}
	killAll(others)
	u.end()
}

// nextOf reads events up to one that holds a word.
func (u *underInit) nextOf(word string) string {
	u.t.Helper()
	for {
		if line := u.next(word); strings.Contains(line, word) {
			return line
		}
	}
}
