package supervise

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// nobody is Debian's uid of that name; none is needed in /etc/passwd.
const nobody = 65534

// expect wants the init to end with this code and to have said all this, but nothing of
// what begins with a "!".
func (u *underInit) expect(code int, said ...string) {
	u.t.Helper()
	if got := u.end(); got != code {
		u.t.Errorf("exit code %d, want %d", got, code)
	}
	for _, pattern := range said {
		pattern, never := strings.CutPrefix(pattern, "!")
		if regexp.MustCompile(pattern).MatchString(u.seen.String()) == never {
			u.t.Errorf("%q was said: %t", pattern, !never)
		}
	}
	if u.t.Failed() {
		u.t.Logf("seen:\n%s", tail(u.seen.String()))
	}
}

// asNobody runs the init as another user where we are root, for whom some limits do not
// count. That one cannot reach where go test has put this binary.
func asNobody(u *underInit) {
	u.t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	from, err := os.Open(u.self)
	if err != nil {
		u.t.Fatal(err)
	}
	defer func() { _ = from.Close() }()
	u.self = filepath.Join(u.dir, "init")
	syscall.ForkLock.RLock() // nobody forks with it open for writing: it could not be executed
	defer syscall.ForkLock.RUnlock()
	to, err := os.OpenFile(u.self, os.O_CREATE|os.O_WRONLY, 0o755)
	if err == nil {
		_, err = io.Copy(to, from)
		_ = to.Close()
	}
	if err == nil {
		err = os.Chmod(filepath.Dir(u.dir), 0o755)
	}
	if err != nil {
		u.t.Fatal(err)
	}
	u.Path, u.Args = u.self, []string{u.self}
	u.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
}

// one is a spec with one service that is told to end well before patience is over.
func one(script string) initSpec {
	return initSpec{Spec: Spec{Services: []Service{{Command: shell("service", script)}}, Grace: 20 * time.Second}}
}

// always restarts the services of a spec after 10 ms.
func (s initSpec) always() initSpec {
	s.Restart = Restart{Policy: Always, First: 10 * time.Millisecond, Max: 10 * time.Millisecond, Healthy: time.Hour}
	return s
}

func TestFaultNoProcessToBeHad(t *testing.T) {
	t.Parallel()
	spec := one("exit 0")
	spec.Processes = new(uint64(1))
	startSpec(t, nil, spec, asNobody).expect(126, `Unguarded \{Err:resource temporarily unavailable`,
		`StartFailed .*Err:resource temporarily unavailable: .*ulimit -u.*pids\.max`, `!Started`)
}

func TestFaultNoProcessToBeHadForARestart(t *testing.T) {
	t.Parallel()
	spec := one(`echo pid $$ >&2; exec sleep 1000`).always()
	var now unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NPROC, &now); err != nil {
		t.Fatal(err)
	}
	spec.Processes = &now.Max // as it is
	u := startSpec(t, nil, spec, asNobody)
	u.await(`^pid `, "Started")
	limit := func(most uint64) { // as its own user: root without CAP_SYS_RESOURCE may not
		cmd := exec.CommandContext(t.Context(), "prlimit", "--pid", strconv.Itoa(u.pid()), fmt.Sprintf("--nproc=%d:", most))
		cmd.SysProcAttr = u.SysProcAttr
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatal(err, string(out))
		}
	}
	limit(1)
	_, others := u.split()
	killAll(others)
	u.await("Exited .*Status:9 ", "StartFailed .*ulimit -u", "RestartScheduled")
	u.await("StartFailed .*ulimit -u", "RestartScheduled") // it goes on trying
	limit(now.Max)
	u.await("Started", `^pid `)
	u.signal(syscall.SIGTERM)
	u.expect(143)
}

// split tells the init's guard, 0 for none, from its other children.
func (u *underInit) split() (guard int, others []int) {
	u.t.Helper()
	for _, pid := range childrenOf(u.t, u.pid()) {
		var raw []byte
		for r, err := readRelative(pid); len(raw) == 0 && err == nil && !r.zombie; r, err = readRelative(pid) {
			raw, _ = os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)) // empty in the midst of execve
		}
		if string(raw) == GuardName+"\x00" {
			guard = pid
		} else {
			others = append(others, pid)
		}
	}
	return guard, others
}

// Here fork goes well, and execve says that the child's new user has too many processes
// already (man 2 execve, EAGAIN).
func TestFaultNoProcessForTheChildsUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root starts a child as another user")
	}
	spec := one("exec sleep 1000")
	spec.Processes = new(uint64(0))
	spec.Services[0].Identity = &Identity{UID: 1_000_000_000 + uint32(os.Getpid()), GID: nobody} // nobody else's
	spec.Services = append(spec.Services, spec.Services[0])
	spec.Services[1].Name = "second"
	startSpec(t, nil, spec).expect(126, `StartFailed \{Command:\{Name:second .*ulimit -u`, `StopBegun \{.*Ended:second`,
		"!Unguarded", "!OrphanReaped")
}

func TestFaultArgumentsTooLong(t *testing.T) {
	t.Parallel()
	spec := one("exit 0").always()
	spec.Services[0].Argv = append(spec.Services[0].Argv, strings.Repeat("x", 32*os.Getpagesize())) // MAX_ARG_STRLEN
	startSpec(t, nil, spec).expect(126, `StartFailed .*argument list too long`, "!RestartScheduled")
}

func TestFaultNoMemory(t *testing.T) {
	t.Parallel()
	spec := one("exit 0")
	spec.Refused = map[uint32]syscall.Errno{unix.SYS_EXECVE: unix.ENOMEM}
	startSpec(t, nil, spec).expect(126, "Unguarded", `StartFailed .*cannot allocate memory: no memory for another process`)

	u := startSpec(t, nil, spec.always())
	u.await("StartFailed", "RestartScheduled")
	u.await("StartFailed", "RestartScheduled")
	u.signal(syscall.SIGTERM)
	u.expect(126, "!Started", "!OrphanReaped")
}

// An old kernel, or a seccomp filter that is older than the kernel: no pidfd_open, no
// close_range. Nothing else changes.
func TestFaultOldKernel(t *testing.T) {
	for way, wrap := range ways() {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			for _, errno := range []syscall.Errno{unix.ENOSYS, unix.EPERM} {
				refused := map[uint32]syscall.Errno{unix.SYS_PIDFD_OPEN: errno, unix.SYS_CLOSE_RANGE: errno}
				spec := one(serviceWithAdoptedHelper)
				spec.Services[0].Drain, spec.Refused = "gunicorn", refused
				helpersFinishFirst(t, startSpec(t, wrap(t), spec))

				spec = one(`ls /proc/self/fd; setsid sh -c 'trap "" TERM; echo ready >&2; sleep 1000' & read x <"$DIR/never"`)
				spec.Grace, spec.Refused = 500*time.Millisecond, refused
				u := startSpec(t, append(wrap(t), "sh", "-c", `exec 7</dev/null; exec "$@"`, "sh"), spec,
					func(u *underInit) { u.fifo("never") })
				u.await("^ready")
				u.signal(syscall.SIGTERM)
				u.expect(143, "Swept", "Killed", "!GaveUp")
				if got := u.out.String(); got != "0\n1\n2\n3\n" { // ls has the directory itself open as 3
					t.Errorf("the child has descriptors %q", got)
				}
			}
		})
	}
}

// 64 signals wait for a Run that is held up, here by a reader that does not read; those
// that come then are dropped. A TERM is not among them.
func TestFaultStopSignalBehindManyOthers(t *testing.T) {
	t.Parallel()
	u := startSpec(t, nil, one(`trap '' HUP USR1
		i=0; while [ $i -lt 300 ]; do (:&); i=$((i+1)); done; exec sleep 1000`))
	u.await("Started")
	pid := u.pid()
	u.awaitFull()
	for range 1000 {
		for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGUSR1} {
			if err := syscall.Kill(pid, sig); err != nil {
				t.Fatal(err)
			}
		}
	}
	u.signal(syscall.SIGTERM)
	u.expect(143, "StopBegun")
}

// awaitFull makes the pipe of the events small and waits until it is full.
func (u *underInit) awaitFull() {
	u.t.Helper()
	raw, err := u.pipe.SyscallConn()
	if err != nil {
		u.t.Fatal(err)
	}
	const size, line = 4096, 128 // a line that does not fit waits
	held := 0
	for held < size-line && err == nil && u.t.Context().Err() == nil {
		controlErr := raw.Control(func(fd uintptr) {
			if _, err = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, size); err == unix.EBUSY { // it holds more than that
				err = nil
			}
			if err == nil {
				held, err = unix.IoctlGetInt(int(fd), unix.TIOCINQ)
			}
		})
		err = cmp.Or(err, controlErr)
	}
	if err != nil {
		u.t.Fatal(err)
	}
}
