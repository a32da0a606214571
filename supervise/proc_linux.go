package supervise

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process names one process for good: pids are used again, a pid with its start
// time (in clock ticks since boot, proc_pid_stat(5) field 22) is not.
type process struct {
	pid   int
	start uint64
}

type relative struct {
	process
	ppid, group int
	// zombie: it is dead, and its parent has not reaped it. stopped: it stands still, as of
	// SIGSTOP, or for a tracer.
	zombie, stopped bool
	// traced: a tracer holds it, which makes it stopped too.
	traced bool
	// catchesTERM: it has a handler for SIGTERM.
	catchesTERM bool
	// pages is its resident set.
	pages int
}

var errNoProc = errors.New("/proc is not mounted, or shows another PID namespace")

// census is everybody in /proc, by pid.
type census map[int]relative

func everybody() (census, error) {
	if me, err := os.Readlink("/proc/self"); err != nil || me != strconv.Itoa(os.Getpid()) {
		return nil, errNoProc
	}
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	all := census{}
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if r, err := readRelative(pid); err == nil {
			all[pid] = r
		}
	}
	return all, nil
}

// within tells whether r, or somebody that it descends from, is one of these.
func (all census) within(r relative, family map[int]bool) bool {
	for range len(all) { // a look that takes its time may show a circle
		if family[r.pid] {
			return true
		}
		parent, ok := all[r.ppid]
		if !ok {
			return false
		}
		r = parent
	}
	return false
}

// isNearest tells whether p descends from main and nobody between them has that word on its
// command line.
func (all census) isNearest(p relative, main int, word string) bool {
	for range len(all) {
		if p.ppid == main {
			return true
		}
		parent, ok := all[p.ppid]
		if !ok || commandLineHolds(parent.pid, word) {
			return false
		}
		p = parent
	}
	return false
}

// descendants gives all processes below these, parents before their children.
func (all census) descendants(of ...int) []relative {
	children := map[int][]relative{}
	for _, r := range all {
		children[r.ppid] = append(children[r.ppid], r)
	}
	var tree []relative
	for level := of; len(level) > 0; {
		var next []int
		for _, pid := range level {
			tree = append(tree, children[pid]...)
			for _, r := range children[pid] {
				next = append(next, r.pid)
			}
		}
		level = next
	}
	return tree
}

func readProcess(pid int) (process, error) {
	r, err := readRelative(pid)
	return r.process, err
}

func readRelative(pid int) (relative, error) {
	raw, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return relative{}, err
	}
	return parseStat(pid, raw)
}

// parseStat reads fields 3 (state), 4 (ppid), 5 (pgrp), 20 (num_threads), 22 (starttime),
// 24 (rss) and 34 (sigcatch) of proc_pid_stat(5). The name in field 2 may hold blanks and brackets, so
// what counts is the last bracket. The state is the first thread's: where that one has
// ended and others run (pthread_exit(3)) it is Z too, and the process lives.
func parseStat(pid int, raw []byte) (relative, error) {
	fields := bytes.Fields(raw[bytes.LastIndexByte(raw, ')')+1:])
	if len(fields) < 32 {
		return relative{}, errors.New("short stat")
	}
	ppid, err := strconv.Atoi(string(fields[1]))
	if err != nil {
		return relative{}, err
	}
	group, err := strconv.Atoi(string(fields[2]))
	if err != nil {
		return relative{}, err
	}
	start, err := strconv.ParseUint(string(fields[19]), 10, 64)
	if err != nil {
		return relative{}, err
	}
	pages, err := strconv.Atoi(string(fields[21]))
	if err != nil {
		return relative{}, err
	}
	catches, err := strconv.ParseUint(string(fields[31]), 10, 64)
	if err != nil {
		return relative{}, err
	}
	zombie := fields[0][0] == 'Z' && string(fields[17]) <= "1"
	stopped := fields[0][0] == 'T' || fields[0][0] == 't'
	return relative{process{pid, start}, ppid, group, zombie, stopped, fields[0][0] == 't', catches>>(unix.SIGTERM-1)&1 == 1, pages}, nil
}

func commandLineHolds(pid int, word string) bool {
	raw, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	return err == nil && strings.Contains(string(raw), word)
}

// open gives a pidfd of p (man 2 pidfd_open, Linux 5.3), having made sure that the
// pid is still the same process.
func (p process) open() (int, error) {
	fd, err := unix.PidfdOpen(p.pid, 0)
	if err != nil {
		return -1, err
	}
	if now, err := readProcess(p.pid); err != nil || now != p {
		_ = unix.Close(fd)
		return -1, syscall.ESRCH
	}
	return fd, nil
}

// sendExactly signals p and never a process that has its pid by now.
func sendExactly(p process, sig syscall.Signal) error {
	fd, err := p.open()
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		return syscall.Kill(p.pid, sig) // an old kernel, or a seccomp filter that knows no pidfd
	}
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.PidfdSendSignal(fd, sig, nil, 0); !errors.Is(err, unix.ENOSYS) {
		return err
	}
	return syscall.Kill(p.pid, sig) // a filter that knows the one call and not the other
}

// waiter gives a function that comes back when p has ended.
func waiter(p process) (func(), error) {
	fd, err := p.open()
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		return func() { pollUntilGone(p) }, nil
	}
	if err != nil {
		return nil, err
	}
	return func() {
		defer func() { _ = unix.Close(fd) }()
		// A pidfd becomes readable when its process ends.
		for {
			_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
			if err != unix.EINTR {
				return
			}
		}
	}, nil
}

// pollUntilGone looks 50 times a second, for the length of a drain, where the
// kernel offers nothing to wait on.
func pollUntilGone(p process) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		if now, err := readProcess(p.pid); err != nil || now != p {
			return
		}
	}
}

// Usage is what a child and all that belongs to it take.
type Usage struct {
	Processes int
	// RSS is their resident sets' sum in KiB. What they share is counted for each.
	RSS int64
}

// UsageOf looks at those children's process groups and all that descends from them. It
// gives nothing where /proc gives nothing.
func UsageOf(children []int) map[int]Usage {
	all, _ := everybody() // none
	usage := map[int]Usage{}
	for _, child := range children {
		family := map[int]bool{child: true}
		for _, r := range all {
			family[r.pid] = family[r.pid] || r.group == child
		}
		var sum Usage
		for _, r := range all {
			if !r.zombie && all.within(r, family) {
				sum.Processes++
				sum.RSS += int64(r.pages) * int64(os.Getpagesize()) / 1024
			}
		}
		usage[child] = sum
	}
	return usage
}

// Member is one process of a child's family.
type Member struct {
	PID, Parent int
	// Age is for how long it has run, to a hundredth of a second.
	Age time.Duration
	// Zombie: it is dead, and its parent has not reaped it. Stopped: it stands still, by
	// SIGSTOP, and no tracer has it.
	Zombie, Stopped bool
	// CatchesTERM: it has a handler for SIGTERM. A new program image begins without (execve(2)).
	CatchesTERM bool
}

// FamilyOf gives a child, all that descends from it, and those of ak-init's own other
// children on whose command line word stands, with their descendants: a process that replaces
// itself leaves the new one to the init (gunicorn's USR2). It gives nothing where the child is
// gone or /proc gives nothing.
func FamilyOf(child int, word string) []Member {
	all, err := everybody()
	main, lives := all[child]
	if err != nil || !lives {
		return nil
	}
	roots := []int{child}
	tree := []relative{main}
	for pid, r := range all {
		if word != "" && pid != child && r.ppid == os.Getpid() && commandLineHolds(pid, word) {
			roots, tree = append(roots, pid), append(tree, r)
		}
	}
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &now) != nil { // man 2 clock_gettime: it is always there
		return nil
	}
	var family []Member
	for _, r := range append(tree, all.descendants(roots...)...) {
		begun := time.Duration(r.start) * (time.Second / userHZ)
		family = append(family, Member{PID: r.pid, Parent: r.ppid, Age: time.Duration(now.Nano()) - begun, Zombie: r.zombie, Stopped: r.stopped && !r.traced, CatchesTERM: r.catchesTERM})
	}
	return family
}

// userHZ is the unit of start times in /proc (proc_pid_stat(5), sysconf(_SC_CLK_TCK)): 100 on
// every architecture that Go builds for Linux.
const userHZ = 100
