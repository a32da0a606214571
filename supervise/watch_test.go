package supervise

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// watched are pidfds: who has one misses no end, and takes no later process for it.
type watched map[int]*os.File

// watch opens a pidfd for each of these processes.
func watch(t *testing.T, pids ...int) watched {
	t.Helper()
	all := watched{}
	for _, pid := range pids {
		fd, err := unix.PidfdOpen(pid, 0)
		if err == unix.ENOSYS || err == unix.EPERM {
			t.Skip("no pidfd here: ", err)
		}
		if err != nil {
			t.Fatal(pid, err)
		}
		all[pid] = os.NewFile(uintptr(fd), fmt.Sprint("pidfd of ", pid))
		t.Cleanup(func() { _ = all[pid].Close() })
	}
	return all
}

// endsWithin tells whether a process has ended within that time.
func endsWithin(t *testing.T, pidfd *os.File, within time.Duration) bool {
	t.Helper()
	for end := time.Now().Add(within); ; {
		left := int(max(0, time.Until(end).Milliseconds()))
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd.Fd()), Events: unix.POLLIN}}, left)
		if err != unix.EINTR {
			return err == nil && n == 1
		}
	}
}

// allGone wants all of them to end soon.
func (w watched) allGone(t *testing.T) {
	t.Helper()
	for pid, pidfd := range w {
		if !endsWithin(t, pidfd, patience) {
			line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			t.Errorf("%d lives on: %q, %s", pid, strings.ReplaceAll(string(line), "\x00", " "), stat)
		}
	}
}

// nothingLeft waits until nobody is left of the children: those who were killed may take
// a moment.
func (u *underInit) nothingLeft() {
	u.t.Helper()
	for end := time.Now().Add(patience); ; {
		left := withEnvironment("DIR=" + u.dir)
		if len(left) == 0 {
			return
		}
		if time.Now().After(end) {
			u.t.Fatalf("left behind: %v", left)
		}
	}
}

// descriptors of a process, as /proc/PID/fd has them.
func descriptors(t *testing.T, pid int) map[string]string {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, file := range files {
		if to, err := os.Readlink(file); err == nil {
			all[filepath.Base(file)] = to
		}
	}
	return all
}
