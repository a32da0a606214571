package supervise

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// system is the real kernel.
type system struct {
	self int
	// since is when each of our own children started.
	since map[int]time.Time
	// told remembers who has had which signal, so that nobody gets it twice: a
	// second TERM makes dramatiq drop its tasks.
	told map[syscall.Signal]map[process]bool
	// onceStarted is called when the first child runs.
	onceStarted func()
}

func newSystem(caught *Signals) *system {
	s := &system{
		self:        os.Getpid(),
		since:       map[int]time.Time{},
		told:        map[syscall.Signal]map[process]bool{},
		onceStarted: sync.OnceFunc(caught.catchRest),
	}
	if s.self != 1 {
		// Orphans go to the nearest subreaper instead of PID 1 (man 2 prctl). It fails
		// on no kernel that Go runs on.
		_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	}
	// Descriptors above 2 that ak-init was started with stop at ak-init (man 2
	// close_range, Linux 5.11; older ones answer ENOSYS or EINVAL and nothing is lost).
	_ = unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC)
	return s
}

// start runs a command in a process group of its own: Ctrl-C at a terminal goes to
// the whole foreground group, and would reach the service beside the orderly stop.
func (s *system) start(c Command) (int, error) {
	attr := &syscall.ProcAttr{
		Dir:   c.Dir,
		Env:   c.Env,
		Files: []uintptr{0, 1, 2},
		Sys:   &syscall.SysProcAttr{Setpgid: true},
	}
	if id := c.Identity; id != nil {
		attr.Sys.Credential = &syscall.Credential{Uid: id.UID, Gid: id.GID, Groups: id.Groups}
	}
	now := time.Now()
	// ForkExec reaps the process it made when exec fails.
	pid, err := syscall.ForkExec(c.Path, c.Argv, attr)
	if err != nil {
		return 0, whyNot(c, err)
	}
	s.since[pid] = now
	s.onceStarted()
	return pid, nil
}

// whyNot makes what execve says (man 2 execve) name what is missing: ENOENT may mean the
// program, its working directory, or the interpreter in its first line.
func whyNot(c Command, err error) error {
	if errors.Is(err, syscall.ENOEXEC) {
		return fmt.Errorf("%w: built for another machine, or a script without a #! line", err)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, dirErr := os.Stat(c.Dir); c.Dir != "" && dirErr != nil {
		return fmt.Errorf("its working directory %s is missing", c.Dir)
	}
	if _, pathErr := os.Stat(c.Path); pathErr == nil {
		return fmt.Errorf("%s is missing", interpreter(c.Path))
	}
	return err
}

// interpreter names what a program's first line wants, for a message.
func interpreter(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return "its interpreter"
	}
	defer func() { _ = f.Close() }()
	line, _ := bufio.NewReaderSize(f, 256).ReadString('\n')
	if name, ok := strings.CutPrefix(line, "#!"); ok {
		return "its interpreter " + strings.TrimSpace(name)
	}
	return "the dynamic loader that it names"
}

func (s *system) reap() (exit exited, ok, childless bool) {
	var status syscall.WaitStatus
	var usage syscall.Rusage
	for {
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, &usage)
		switch {
		case err == syscall.EINTR:
			continue
		case err != nil: // ECHILD
			return exited{}, false, true
		case pid == 0:
			return exited{}, false, false
		}
		exit = exited{pid: pid, status: status, maxRSS: usage.Maxrss}
		if since, ours := s.since[pid]; ours {
			exit.uptime = time.Since(since)
			delete(s.since, pid)
		}
		return exit, true, false
	}
}

// send needs no pidfd: pid is our own child and not reaped, so it is still its own, and
// so is the process group that it leads.
func (s *system) send(pid int, sig syscall.Signal, group bool) {
	target := pid
	if group {
		target = -pid
	}
	// It may be a zombie, which is fine, or have another uid without CAP_KILL, which
	// nobody can help.
	_ = syscall.Kill(target, sig)
	if sig != syscall.SIGTERM {
		return // only TERM is ever sent to the whole tree as well
	}
	_ = syscall.Kill(target, syscall.SIGCONT) // who is stopped cannot end
	if p, err := readProcess(pid); err == nil {
		s.note(p, sig)
	}
}

func (s *system) sendTree(sig syscall.Signal) int {
	tree, err := descendants(s.self)
	if err != nil {
		return s.sendBlind(sig)
	}
	n := 0
	for _, p := range tree {
		if s.told[sig][p.process] {
			continue
		}
		if s.tell(p.process, sig) {
			n++
		}
	}
	return n
}

// tell signals one process of the tree, once, and wakes it if it is stopped, since it
// could not end otherwise.
func (s *system) tell(p process, sig syscall.Signal) bool {
	if sendExactly(p, sig) != nil {
		return false
	}
	s.note(p, sig)
	if sig == syscall.SIGTERM {
		_ = sendExactly(p, syscall.SIGCONT) // it may be gone by now
	}
	return true
}

// sendBlind is for where /proc is not mounted: as PID 1 everybody in the namespace
// (man 2 kill, pid -1), else the process groups of our own children.
func (s *system) sendBlind(sig syscall.Signal) int {
	nobody := process{}
	if s.told[sig][nobody] && sig != syscall.SIGKILL {
		return 0
	}
	s.note(nobody, sig)
	signals := []syscall.Signal{sig}
	if sig == syscall.SIGTERM {
		signals = append(signals, syscall.SIGCONT)
	}
	for _, sig := range signals {
		if s.self == 1 {
			_ = syscall.Kill(-1, sig)
			continue
		}
		for pid := range s.since {
			_ = syscall.Kill(-pid, sig)
		}
	}
	return len(s.since)
}

func (s *system) note(p process, sig syscall.Signal) {
	if s.told[sig] == nil {
		s.told[sig] = map[process]bool{}
	}
	s.told[sig][p] = true
}

// drain looks for helpers among main's children and among those re-parented to us:
// gunicorn's new master after USR2 is the latter.
func (s *system) drain(main int, word string, over func()) []int {
	tree, err := descendants(s.self)
	if err != nil {
		go over()
		return nil
	}
	var pids []int
	var ended []func()
	for _, p := range tree {
		if p.pid == main || (p.ppid != main && p.ppid != s.self) || !commandLineHolds(p.pid, word) {
			continue
		}
		wait, err := waiter(p.process)
		if err != nil {
			continue // gone since the look
		}
		if s.tell(p.process, syscall.SIGTERM) {
			pids = append(pids, p.pid)
			ended = append(ended, wait)
		}
	}
	for _, p := range tree {
		if slices.Contains(pids, p.ppid) {
			_ = sendExactly(p.process, syscall.SIGCONT) // a helper waits for its own children
		}
	}
	// Ends with the helpers, at the latest when SIGKILL takes them.
	go func() {
		for _, wait := range ended {
			wait()
		}
		over()
	}()
	return pids
}
