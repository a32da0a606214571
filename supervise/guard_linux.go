package supervise

import (
	"encoding/binary"
	"io"
	"syscall"

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
			Files: []uintptr{uintptr(hear), ^uintptr(0), 2},
			Sys:   &syscall.SysProcAttr{Setsid: true},
		})
	}
	if err != nil {
		_ = unix.Close(tell)
		return guard{}, err
	}
	return guard{pid, tell}, nil
}

// messageSize is a pid's and its start time's, as watch writes them.
const messageSize = 12

// watch tells it of one more child, which has not been reaped: by the time that the guard
// listens its pid may be somebody else's. A guard that is gone needs no telling.
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

// Guard is the whole life of a guard: it reads of children from the pipe until ak-init is
// gone, kills what is left of those children's process groups and all that descends from
// them, and gives how many processes that were.
func Guard(hear io.Reader) (killed int) {
	keepQuiet()
	children := map[int]process{}
	var message [messageSize]byte
	for {
		if _, err := io.ReadFull(hear, message[:]); err != nil {
			break
		}
		pid := int(binary.LittleEndian.Uint32(message[:]))
		children[pid] = process{pid, binary.LittleEndian.Uint64(message[4:])}
	}
	// Stopped first, so that none forks any more: a child that leaves its group while its
	// parent is killed could not be told from others.
	halted := map[process]bool{}
	for range haltRounds {
		if !haltFamilies(children, halted) {
			break
		}
	}
	for p := range halted {
		if sendExactly(p, syscall.SIGKILL) == nil {
			killed++
		}
	}
	return killed
}

// haltRounds bounds the looks of a guard: what is forked during one has the next one.
const haltRounds = 100

// haltFamilies stops who has not been stopped yet, and tells whether there was anybody.
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
		if !r.zombie && !halted[r.process] && all.within(r, family) && sendExactly(r.process, syscall.SIGSTOP) == nil {
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
