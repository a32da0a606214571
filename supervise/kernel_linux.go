package supervise

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// system is the real kernel.
type system struct {
	self   int
	caught *Signals
	guard  guard
	tty    terminal
	// suspended: the job is stopped, or about to be, and has not been continued.
	suspended bool
	// runs is what is known of each of our own children that lives.
	runs map[int]childRun
	// groups are the process groups that were ever ours: each is led, or was, by a child.
	groups map[int]bool
	// told remembers who has had which signal, so that nobody gets it twice: a
	// second TERM makes dramatiq drop its tasks.
	told map[syscall.Signal]map[process]bool
	// helpers are the pids of those that drain told, by main's pid. What has one of these
	// pids is looked up in the tree each time.
	helpers         map[int][]int
	noNewPrivileges bool
	// onceStarted is called when the first child runs.
	onceStarted func()
}

// childRun is one child's run.
type childRun struct {
	since time.Time
	// ooms is what oomKills gave when it began.
	ooms int
}

// newSystem makes this process the reaper of all below it. err says why nobody stands by
// to end our children should we be killed.
func newSystem(spec Spec, caught *Signals) (s *system, err error) {
	s = &system{
		self:    os.Getpid(),
		caught:  caught,
		runs:    map[int]childRun{},
		groups:  map[int]bool{},
		told:    map[syscall.Signal]map[process]bool{},
		helpers: map[int][]int{},

		noNewPrivileges: spec.NoNewPrivileges,
		onceStarted:     sync.OnceFunc(func() { caught.catchRest(); LetGo() }),
	}
	keepDescriptors()
	keepQuiet()
	raiseOpenFiles(spec.OpenFiles)
	if s.self != 1 {
		// Orphans go to the nearest subreaper instead of PID 1 (man 2 prctl). It fails
		// on no kernel that Go runs on.
		_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
		s.guard, err = caught.takeGuard()
	}
	return s, err
}

// keepDescriptors sees to it that descriptors above 2 that ak-init was started with stop
// at ak-init (man 2 close_range, CLOSE_RANGE_CLOEXEC; older kernels than 5.11 answer
// ENOSYS or EINVAL).
func keepDescriptors() {
	if unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC) == nil {
		return
	}
	entries, _ := os.ReadDir("/proc/self/fd") // without /proc there is no telling
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
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
	tty := -1
	if c.Foreground {
		if fd, err := openTerminal(); err == nil {
			defer func() { _ = unix.Close(fd) }()
			tty = fd
			attr.Sys.Foreground, attr.Sys.Ctty = isForeground(tty, syscall.Getpgrp()) && !inPipeline(), tty
		}
	}
	if id := c.Identity; id != nil {
		attr.Sys.Credential = &syscall.Credential{Uid: id.UID, Gid: id.GID, Groups: id.Groups}
	}
	now := time.Now()
	pid, err := s.forkExec(c.Path, c.Argv, attr)
	if err != nil {
		if attr.Sys.Foreground {
			setForeground(tty, syscall.Getpgrp()) // it takes the terminal before it becomes the program
		}
		return 0, whyNot(c, err)
	}
	// It has run for some microseconds. PR_SET_PDEATHSIG would cover these and cost more: a
	// child that dies with us, before the guard has looked, hides those of its children that
	// have left its process group.
	s.guard.watch(pid)
	s.runs[pid], s.groups[pid] = childRun{now, oomKills("")}, true
	if tty >= 0 {
		s.tty = terminal{pid, attr.Sys.Foreground}
	}
	s.onceStarted()
	return pid, nil
}

// forkExec starts a child. What it may not gain is a matter of the thread that forks, which
// keeps it: it starts nothing else than children (man 2 prctl, PR_SET_NO_NEW_PRIVS).
func (s *system) forkExec(path string, argv []string, attr *syscall.ProcAttr) (pid int, err error) {
	s.caught.unblocked(func() {
		if s.noNewPrivileges {
			_ = unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) // no Linux since 3.5 refuses it
		}
		pid, err = syscall.ForkExec(path, argv, attr)
	})
	return pid, err
}

// forkExec starts a process with an empty signal mask: it gets that of the thread which
// forks (runtime/proc.go, syscall_runtime_BeforeFork), and ours may have been started with
// signals blocked. It reaps the process that it made when exec fails.
func forkExec(caught *Signals, path string, argv []string, attr *syscall.ProcAttr) (pid int, err error) {
	caught.unblocked(func() { pid, err = syscall.ForkExec(path, argv, attr) })
	return pid, err
}

// whyNot makes what execve says (man 2 execve) name what is missing: ENOENT may mean the
// program, its working directory, or the interpreter in its first line.
func whyNot(c Command, err error) error {
	switch {
	case errors.Is(err, syscall.ENOEXEC):
		return fmt.Errorf("%w: built for another machine, or a script without a #! line", err)
	case errors.Is(err, syscall.EAGAIN):
		return fmt.Errorf("%w: the user's limit of processes (ulimit -u) or the container's (pids.max) is reached", err)
	case errors.Is(err, syscall.ENOMEM):
		return fmt.Errorf("%w: no memory for another process", err)
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

func (s *system) reap() (in input, childless bool) {
	options := syscall.WNOHANG
	if s.tty.child != 0 {
		options |= syscall.WUNTRACED // who works at a terminal may be stopped from there
	}
	var status syscall.WaitStatus
	var usage syscall.Rusage
	for {
		pid, err := syscall.Wait4(-1, &status, options, &usage)
		switch {
		case err == syscall.EINTR:
			continue
		case err != nil: // ECHILD
			return nil, true
		case pid == 0:
			return nil, false
		case status.Stopped() && s.suspended:
			continue // with the rest of the job
		case status.Stopped():
			return halted{pid, status.StopSignal()}, false
		case pid == s.guard.pid:
			_ = unix.Close(s.guard.tell)
			s.guard = guard{}
			return unguarded{}, false
		}
		return s.exit(pid, status, usage.Maxrss), false
	}
}

// await reaps one child of ours, which is about to end.
func await(pid int) {
	for {
		if _, err := syscall.Wait4(pid, nil, 0, nil); err != syscall.EINTR {
			return
		}
	}
}

// exit is the end of a process, with what is known of it if it is a child of our own.
func (s *system) exit(pid int, status syscall.WaitStatus, maxRSS int64) exited {
	exit := exited{pid: pid, status: status, maxRSS: maxRSS}
	if run, ours := s.runs[pid]; ours {
		exit.uptime = time.Since(run.since)
		exit.oom = status.Signaled() && status.Signal() == syscall.SIGKILL && oomKills("") > run.ooms
		delete(s.runs, pid)
		if syscall.Kill(-pid, 0) == syscall.ESRCH {
			delete(s.groups, pid) // it leaves nobody, and the number may be another's by and by
		}
	}
	if pid == s.tty.child {
		s.tty.takeBack()
		s.tty = terminal{}
	}
	return exit
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

// tree is everybody below us but the guard. Where /proc hides somebody of whom we know
// (hidepid=, proc(5)) it is as good as none.
func (s *system) tree() ([]relative, error) {
	all, err := everybody()
	if err != nil {
		return nil, err
	}
	for pid := range s.runs {
		if _, seen := all[pid]; !seen {
			return nil, errNoProc
		}
	}
	tree := all.descendants(s.self)
	return slices.DeleteFunc(tree, func(r relative) bool { return r.pid == s.guard.pid }), nil
}

func (s *system) sendTree(sig syscall.Signal, spare int) int {
	tree, err := s.tree()
	if err != nil || len(tree) == 0 { // wait4 says that there is somebody
		return s.sendBlind(sig)
	}
	n := 0
	for _, p := range tree {
		if p.pid != spare && !p.zombie && !s.told[sig][p.process] && s.tell(p.process, sig) {
			n++
		}
	}
	return n
}

func (s *system) sendLeft(group int, sig syscall.Signal) {
	if syscall.Kill(-group, 0) == syscall.ESRCH {
		delete(s.groups, group) // its number may be another's by and by
		return                  // as a rule nothing is left, which is told sooner than by all of /proc
	}
	tree, _ := s.tree() // without /proc nobody knows whose group this is by now
	for _, p := range tree {
		if p.group == group {
			s.tell(p.process, sig)
		}
	}
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

// sendBlind is for where /proc does not help: as PID 1 everybody in the namespace
// (man 2 kill, pid -1), else the process groups that are or were our own children's.
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
		for group := range s.groups {
			_ = syscall.Kill(-group, sig)
		}
	}
	return len(s.runs)
}

func (s *system) note(p process, sig syscall.Signal) {
	if s.told[sig] == nil {
		s.told[sig] = map[process]bool{}
	}
	s.told[sig][p] = true
}

func (s *system) suspend(pids []int, halted int, sig syscall.Signal) bool {
	switch {
	case s.suspended:
		return false
	case halted != 0 && wantsTerminal(sig) && s.tty.lend():
		// Our job has been brought to the foreground without a SIGCONT, as a shell does with
		// one that runs, or the child waits in a pipeline.
		_ = syscall.Kill(-halted, syscall.SIGCONT)
		return false
	case !wakeable():
		s.unfreeze(halted, sig)
		return false
	}
	s.suspended = true
	for _, pid := range pids {
		_ = syscall.Kill(-pid, sig)
	}
	s.tty.takeBack()
	whom := s.self
	if halted != 0 {
		whom = 0 // our whole group: the key would have stopped it, had the child not been the foreground
	}
	// SIGSTOP: SIGTSTP is one that we catch.
	_ = syscall.Kill(whom, syscall.SIGSTOP)
	return true
}

// unfreeze wakes a child that has halted where nobody could continue us. One that wants the
// terminal would halt again at once: it is told that the terminal is gone, as the kernel
// tells who is stopped in a group that becomes an orphaned one (setpgid(2)).
func (s *system) unfreeze(halted int, sig syscall.Signal) {
	if halted == 0 {
		return
	}
	if wantsTerminal(sig) {
		p := process{pid: halted}
		if s.told[syscall.SIGHUP][p] {
			return // it does not mind, and stays stopped
		}
		s.note(p, syscall.SIGHUP)
		_ = syscall.Kill(-halted, syscall.SIGHUP)
	}
	_ = syscall.Kill(-halted, syscall.SIGCONT)
}

func (s *system) resume(pids []int) {
	s.suspended = false
	if s.tty.given {
		s.tty.lend() // fails in the background
	}
	for _, pid := range pids {
		_ = syscall.Kill(-pid, syscall.SIGCONT)
	}
}

// guardAlone is true, too, where /proc does not tell: then the guard has to go for wait4 to
// say that nobody else is left.
func (s *system) guardAlone() bool {
	if s.guard.pid == 0 {
		return false
	}
	tree, err := s.tree()
	return err != nil || len(tree) == 0
}

func (s *system) unguard() {
	s.guard.dismiss()
	s.guard = guard{}
}

// isHelper tells who is to end before main. Behind the first look it can only be somebody
// who has been re-parented to us since: main may start a helper anew that has been told to
// end, and that would never end.
func (s *system) isHelper(p relative, main int, word string, all census) bool {
	if p.pid == main || p.zombie || s.told[syscall.SIGTERM][p.process] || !commandLineHolds(p.pid, word) {
		return false
	}
	return p.ppid == s.self || len(s.helpers[main]) == 0 && all.isNearest(p, main, word)
}

// drain looks for helpers among main's children, behind those that are none themselves ("go run" is
// what starts the server then), and among those re-parented to us: gunicorn's new master after
// USR2 is the latter.
func (s *system) drain(main int, word string, over func(some bool)) []int {
	tree, err := s.tree()
	if err != nil {
		go over(false)
		return nil
	}
	var pids []int
	var ended []func()
	all := census{}
	for _, p := range tree {
		all[p.pid] = p
	}
	for _, p := range tree {
		if !s.isHelper(p, main, word, all) {
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
	s.helpers[main] = append(s.helpers[main], pids...)
	// Ends with the helpers, at the latest when SIGKILL takes them.
	go func() {
		for _, wait := range ended {
			wait()
		}
		over(len(ended) > 0)
	}()
	return pids
}

// nudge reaches helpers that live, and so still have their pids. One of their children that
// has helpers for children itself is no worker: it is gunicorn's next master, and its turn
// will come.
func (s *system) nudge(main int, word string) {
	tree, _ := s.tree() // without /proc there was no drain
	masters := map[int]bool{}
	for _, p := range tree {
		masters[p.ppid] = masters[p.ppid] || commandLineHolds(p.pid, word)
	}
	for _, p := range tree {
		if slices.Contains(s.helpers[main], p.ppid) && !masters[p.pid] {
			s.tell(p.process, syscall.SIGTERM)
		}
	}
}
