package supervise

import (
	"cmp"
	"encoding/binary"
	"io"
	"maps"
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// GuardName is argv[0] of the guard: a program that is started by this name calls
// [Guard] and nothing else.
const GuardName = "ak-init-guard"

// guard is the process that ends our children should we be killed. As PID 1 there is none:
// with PID 1 the kernel kills everybody (pid_namespaces(7)).
type guard struct {
	pid int
	// tell is the pipe through which it learns of our children. Only we hold this end, so
	// that the kernel closes it when we die, however that happens.
	tell int
}

// startGuard runs this program again, in a session of its own, so that nothing that is
// meant for the terminal's processes reaches it.
func startGuard(caught *Signals) (guard, error) {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return guard{}, err
	}
	hear, tell := pipe[0], pipe[1]
	defer func() { _ = unix.Close(hear) }()
	// Should it not listen, we do not wait.
	err := unix.SetNonblock(tell, true)
	var pid int
	if err == nil {
		pid, err = forkExec(caught, "/proc/self/exe", []string{GuardName}, &syscall.ProcAttr{
			Env:   []string{"GOMAXPROCS=1"}, // it waits; threads that look for work would be in the service's way
			Files: []uintptr{uintptr(hear), ^uintptr(0), 2},
			Sys:   &syscall.SysProcAttr{Setsid: true},
		})
	}
	if err != nil {
		_ = unix.Close(tell)
		return guard{}, err
	}
	g := guard{pid, tell}
	g.watch(os.Getpid())
	return g, nil
}

// Guarded starts the guard that [Run] would start, before Run, so that it gets ready while
// others prepare; with PID 1 there is none. Who does not come to Run after all calls
// [Signals.Unguarded].
func (s *Signals) Guarded() {
	if os.Getpid() != 1 {
		s.early, _ = startGuard(s) // Run tries again, and tells why not
	}
}

// Unguarded ends a guard that nobody has taken over.
func (s *Signals) Unguarded() {
	s.early.dismiss()
	s.early = guard{}
}

// takeGuard gives the guard that was started before, or starts it.
func (s *Signals) takeGuard() (g guard, err error) {
	if g, s.early = s.early, (guard{}); g.pid != 0 {
		return g, nil
	}
	return startGuard(s)
}

// messageSize is a pid's and its start time's, as watch writes them.
const messageSize = 12

// watch tells it of one more process: us, then each child that has been started. By the
// time that the guard listens a child's pid may be somebody else's. A guard that is gone
// needs no telling.
func (g guard) watch(pid int) {
	if g.pid == 0 {
		return
	}
	child, _ := readProcess(pid) // where /proc has gone away meanwhile, its start is 0
	message := binary.LittleEndian.AppendUint32(make([]byte, 0, messageSize), uint32(pid))
	_, _ = unix.Write(g.tell, binary.LittleEndian.AppendUint64(message, child.start))
}

// dismiss ends it and reaps it. It takes microseconds: what SIGKILL meets is asleep in
// read.
func (g guard) dismiss() {
	if g.pid == 0 {
		return
	}
	_ = syscall.Kill(g.pid, syscall.SIGKILL) // our child, not reaped: its pid is its own
	await(g.pid)
	_ = unix.Close(g.tell)
}

// Guard is the whole life of a guard: it reads of ak-init, and then of its children, from
// the pipe until ak-init is gone, kills what is left of those children's process groups and
// all that descends from them, and gives how many processes that were.
func Guard(hear io.Reader) (killed int) {
	keepQuiet()
	parent, err := readMessage(hear)
	children := map[int]process{}
	for err == nil {
		var child process
		if child, err = readMessage(hear); err == nil {
			children[child.pid] = child
			LetGo()
		}
	}
	tick := time.NewTicker(haltWait / 1000)
	defer tick.Stop()
	end := time.Now().Add(haltWait)
	// The kernel closes the pipe before it gives us another parent. Who is stopped in between
	// is woken again, by a SIGHUP to the process groups that become orphaned (setpgid(2)).
	for os.Getppid() == parent.pid && time.Now().Before(end) {
		<-tick.C
	}
	// Stopped first, so that none forks any more: a child that leaves its group while its
	// parent is killed could not be told from others. The second look that finds nobody sees
	// whom the first has missed: forked behind its list, by who stood still when it came to it.
	halted := map[process]bool{}
	for looks := 0; looks < 2 && time.Now().Before(end); looks++ {
		if haltFamilies(children, halted) {
			looks = -1
			<-tick.C
		}
	}
	// The youngest first, so that no death orphans and wakes a group that is stopped.
	for _, p := range slices.SortedFunc(maps.Keys(halted), younger) {
		if sendExactly(p, syscall.SIGKILL) == nil {
			killed++
		}
	}
	return killed
}

func readMessage(hear io.Reader) (process, error) {
	var message [messageSize]byte
	_, err := io.ReadFull(hear, message[:])
	return process{int(binary.LittleEndian.Uint32(message[:])), binary.LittleEndian.Uint64(message[4:])}, err
}

// younger sorts children before their parents: start times are ticks, pids are given out in
// order but for a turn of the counter.
func younger(a, b process) int {
	return cmp.Or(cmp.Compare(b.start, a.start), cmp.Compare(b.pid, a.pid))
}

// haltWait is how long a guard waits for all to stand still. Only what sleeps
// uninterruptibly in the kernel takes any time at all.
const haltWait = 2 * time.Second

// haltFamilies stops who does not stand still, and tells whether there was anybody: what
// has begun to fork ends that first.
func haltFamilies(children map[int]process, halted map[process]bool) (more bool) {
	all, err := everybody()
	if err != nil {
		for pid := range children {
			_ = syscall.Kill(-pid, syscall.SIGKILL)
		}
		return false
	}
	family := all.families(children)
	for _, r := range all {
		switch {
		case r.zombie || !all.within(r, family):
		case r.stopped:
			halted[r.process] = true
		case sendExactly(r.process, syscall.SIGSTOP) == nil:
			halted[r.process], more = true, true
		}
	}
	return more
}

// families are the members of these children's process groups. A group whose leader began
// later than the child has the same number, and is not the same group.
func (all census) families(children map[int]process) map[int]bool {
	family := map[int]bool{}
	for _, r := range all {
		for _, pid := range []int{r.pid, r.group} {
			child, ours := children[pid]
			leader, lives := all[pid]
			if ours && (!lives || child.start == 0 || leader.process == child) {
				family[r.pid] = true
			}
		}
	}
	return family
}
