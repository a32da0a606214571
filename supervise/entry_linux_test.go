//go:build amd64 || arm64

package supervise

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// buildAtEntry builds this test once more, as an init that begins at entry.
func buildAtEntry(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "init")
	cmd := exec.CommandContext(t.Context(), "go", "test", "-c", "-ldflags=-E ak-init/supervise.entry", "-o", path, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go test -c: %v\n%s", err, out)
	}
	return path
}

// A signal to PID 1 before main: it may neither be lost, in which case the service runs
// and ends with 9, nor be Go's to end with 2.
func TestEntry(t *testing.T) {
	path := buildAtEntry(t)
	afterFirst := func(p *traced) {
		p.toSystemCall()
		if got := p.systemCall(); got != unix.SYS_RT_SIGACTION {
			t.Fatalf("system call %d, want rt_sigaction, %d", got, unix.SYS_RT_SIGACTION)
		}
		p.toSystemCall() // and out of it
	}
	afterThird := func(p *traced) {
		for range 3 {
			afterFirst(p)
		}
	}
	// Go starts its second thread when its handlers are there, and before main.
	inGo := func(p *traced) {
		for p.toSystemCall(); p.systemCall() != unix.SYS_CLONE; p.toSystemCall() {
			p.toSystemCall()
		}
	}
	for name, tt := range map[string]struct {
		until func(*traced)
		sig   syscall.Signal
		want  int
	}{
		"TERM after one system call": {afterFirst, syscall.SIGTERM, 143},
		"TERM before Go":             {afterThird, syscall.SIGTERM, 143},
		"INT before Go":              {afterThird, syscall.SIGINT, 130},
		"QUIT before Go":             {afterThird, syscall.SIGQUIT, 131},
		"TERM before main":           {inGo, syscall.SIGTERM, 143},
		"INT before main":            {inGo, syscall.SIGINT, 130},
	} {
		t.Run(name, func(t *testing.T) {
			runtime.LockOSThread() // only the thread that starts a process traces it (ptrace(2))
			defer runtime.UnlockOSThread()
			p := startTraced(t, path, "5s", "", "sh", "-c", "exit 9")
			tt.until(p)
			if got := p.end(tt.sig); got != tt.want {
				t.Errorf("exit code %d, want %d", got, tt.want)
			}
			if strings.Contains(p.said.String(), "Started") {
				t.Errorf("a service was started\n%s", p.said.String())
			}
		})
	}
}

// What entry blocks is what signals_linux.go leaves for later, no more and no less.
func TestEntryBlocksWhatCanWait(t *testing.T) {
	u := startSpec(t, nil, one("echo ready >&2; exec sleep 1000"), atEntry(t))
	u.await("^ready", "Started")
	want := blockedBy(t, os.Getpid()) // who starts us may block some as well
	for _, sig := range canWait() {
		want |= maskOf(asSyscall(sig)).Val[0]
	}
	if got := blockedBy(t, u.Process.Pid); got != want {
		t.Errorf("it blocks %016x, want %016x", got, want)
	}
	u.send(syscall.SIGTERM)
	if got := u.end(); got != 143 {
		t.Errorf("exit code %d, want sleep's 143", got)
	}
}

// A child must not inherit that mask, and so a thread does without it while one is forked:
// no signal that comes just then is lost, whatever it finds, a child or none.
func TestEntryLosesNoSignalWhileChildrenStart(t *testing.T) {
	u := startSpec(t, nil, one("exit 0").always(), atEntry(t))
	u.await("Started")
	for strings.Count(u.seen.String(), "Started") < 20 {
		u.send(syscall.SIGUSR1)
		u.await("(Forwarded|Unheard) {Signal:user defined signal 1")
	}
	u.send(syscall.SIGTERM)
	u.end()
}

// atEntry makes the init one that begins at entry.
func atEntry(t *testing.T) func(*underInit) {
	t.Helper()
	path := buildAtEntry(t)
	return func(u *underInit) { u.Path, u.Args[0] = path, path }
}

// send is for an init that was not wrapped in anything.
func (u *underInit) send(sig syscall.Signal) {
	u.t.Helper()
	if err := u.Process.Signal(sig); err != nil {
		u.t.Fatal(err)
	}
}

// blockedBy is what all of a process's threads block (proc_pid_status(5)): that which takes
// signals in for os/signal blocks more.
func blockedBy(t *testing.T, pid int) uint64 {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(files) == 0 {
		t.Fatalf("no threads of %d: %v", pid, err)
	}
	all := ^uint64(0)
	for _, file := range files {
		raw, err := os.ReadFile(file)
		_, rest, _ := strings.Cut(string(raw), "SigBlk:\t")
		var mask uint64
		if _, scanErr := fmt.Sscanf(rest, "%x", &mask); err != nil || scanErr != nil {
			t.Fatal(err, scanErr)
		}
		all &= mask
	}
	return all
}

// traced is PID 1 of a new namespace, stopped by ptrace.
type traced struct {
	*exec.Cmd
	t    *testing.T
	said bytes.Buffer
}

// startTraced starts an init that stands still when execve is done.
func startTraced(t *testing.T, argv ...string) *traced {
	t.Helper()
	p := &traced{Cmd: exec.CommandContext(t.Context(), argv[0], argv[1:]...), t: t}
	p.Env = append(os.Environ(), initRole+"=1")
	p.Stderr = &p.said
	p.SysProcAttr = &syscall.SysProcAttr{Ptrace: true, Cloneflags: syscall.CLONE_NEWPID}
	if err := p.Start(); err != nil {
		t.Skipf("no traced process in a PID namespace to be had here: %v", err)
	}
	t.Cleanup(func() { _ = p.Process.Kill() }) // it has ended, unless the test failed
	p.awaitTrap()
	return p
}

// toSystemCall goes on until the process enters a system call, or leaves it.
func (p *traced) toSystemCall() {
	p.t.Helper()
	if err := syscall.PtraceSyscall(p.Process.Pid, 0); err != nil {
		p.t.Fatal(err)
	}
	p.awaitTrap()
}

func (p *traced) awaitTrap() {
	p.t.Helper()
	var status syscall.WaitStatus
	_, err := syscall.Wait4(p.Process.Pid, &status, 0, nil)
	if err != nil || !status.Stopped() || status.StopSignal() != syscall.SIGTRAP {
		p.t.Fatalf("the process has not stopped: %v, status %#x", err, status)
	}
}

// systemCall gives the number of the one that the process stands in (proc_pid_syscall(5)).
func (p *traced) systemCall() (n int) {
	p.t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", p.Process.Pid))
	if err == nil {
		_, err = fmt.Sscan(string(raw), &n)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return n
}

// end sends a signal, lets the process run, and gives its exit code.
func (p *traced) end(sig syscall.Signal) int {
	p.t.Helper()
	if err := syscall.Kill(p.Process.Pid, sig); err != nil {
		p.t.Fatal(err)
	}
	if err := syscall.PtraceDetach(p.Process.Pid); err != nil {
		p.t.Fatal(err)
	}
	_ = p.Wait() // its exit code says all
	return p.ProcessState.ExitCode()
}
