package supervise

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// hideProc makes what follows lack /proc.
func hideProc(t *testing.T, way string, wrap []string) []string {
	t.Helper()
	script := `umount /proc && exec "$@"`
	if way == "subreaper" {
		wrap = []string{"unshare", "-m"}
		if os.Geteuid() != 0 {
			wrap[1] = "-Urm"
		}
		script = `mount -t tmpfs none /proc && exec "$@"`
	}
	wrap = append(wrap, "sh", "-c", script, "sh")
	if out, err := exec.CommandContext(t.Context(), wrap[0], append(wrap[1:], "true")...).CombinedOutput(); err != nil {
		t.Skipf("/proc cannot be hidden here: %v %s", err, out)
	}
	return slices.Clip(wrap)
}

// Without /proc there is no guard, and who leaves its process group is out of reach, but
// for PID 1, which can signal everybody (man 2 kill, pid -1). All else is as ever.
func TestFaultNoProc(t *testing.T) {
	for way, wrap := range ways() {
		guard, escapee := "!Unguarded", "!GaveUp"
		if way == "subreaper" {
			guard, escapee = `Unguarded \{Err:no such file or directory`, "GaveUp"
		}
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			wrap := hideProc(t, way, wrap(t))
			run := func(grace time.Duration, script string) *underInit {
				spec := one(script)
				spec.Grace, spec.Services[0].Drain = grace, "gunicorn"
				return startSpec(t, wrap, spec)
			}
			run(patience, `sleep 1000 & sleep 1000 & exit 8`).expect(8, guard, "Swept", "!Killed")
			u := run(300*time.Millisecond, `trap "" TERM; sleep 1000 & exit 8`)
			u.expect(8, guard, "Swept", "Killed", "!GaveUp")
			if left := withEnvironment("DIR=" + u.dir); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
			run(300*time.Millisecond, `setsid sh -c 'trap "" TERM; echo >"$DIR/ready"; exec sleep 1000' 2>/dev/null &
				until [ -e "$DIR/ready" ]; do sleep 0.01; done; exit 8`).expect(8, "Swept", "Killed", escapee)

			u = run(patience, `trap 'exit 6' TERM; echo ready >&2; while :; do sleep 0.01; done`)
			u.await("^ready")
			u.signal(syscall.SIGTERM)
			u.expect(6, "StopSent", "!Draining", "!Killed")

			spec := one(`sleep 1000 & [ -e "$DIR/again" ] || { echo >"$DIR/again"; exit 3; }; echo again >&2; wait`)
			u = startSpec(t, wrap, spec.always())
			u.await("^again")
			u.signal(syscall.SIGTERM)
			u.expect(143, "RestartScheduled", "!GaveUp")
		})
	}
}

// hidePID lets those who may not trace a process not see it either (proc(5), hidepid=2),
// and takes the right to trace from root, and the group 0, which sees all by default (gid=).
const hidePID = `
	mount -o remount,hidepid=2 /proc || exit
	setpriv --reuid 65534 --clear-groups sleep 1000 &
	until [ "$(cat /proc/$!/comm)" = sleep ]; do :; done
	exec="setpriv --regid 65534 --clear-groups --bounding-set -sys_ptrace --inh-caps -sys_ptrace"
	if $exec [ -e /proc/$! ]; then echo hidepid hides nothing; exit 1; fi
	kill $!
	wait $!
	case $0 in
	1) exec $exec "$@" ;;
	*) $exec "$@"; exit $? ;;
	esac`

// Root without CAP_SYS_PTRACE, as in a container with all capabilities dropped but those
// to change the user, does not see its own child.
func TestFaultHiddenProcesses(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root starts a child as another user")
	}
	for way, pid := range map[string]string{"PID 1": "1", "subreaper": "2"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			wrap := slices.Clip(append(pid1(t), "sh", "-c", hidePID, pid))
			if out, err := exec.CommandContext(t.Context(), wrap[0], append(wrap[1:], "true")...).CombinedOutput(); err != nil {
				t.Skipf("processes cannot be hidden here: %v %s", err, out)
			}
			spec := one(`trap "" TERM; sleep 1000 & trap - TERM; echo left >&2; exec sleep 1000`)
			spec.Services[0].Identity = &Identity{UID: nobody, GID: nobody}
			spec.Services[0].Drain = "gunicorn"
			spec.Grace = 500 * time.Millisecond
			u := startSpec(t, wrap, spec)
			u.await("Started", "^left")
			u.signal(syscall.SIGTERM)
			u.expect(143, "StopSent", "Swept", "Killed", "!GaveUp", "!Draining")
			if left := withEnvironment("DIR=" + u.dir); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// Go opens /dev/null in the place of descriptors that are closed (runtime, checkfds), so
// that nothing else gets their numbers.
func TestFaultClosedDescriptors(t *testing.T) {
	for way, wrap := range ways() {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			u := startSpec(t, append(wrap(t), "sh", "-c", `exec "$@" <&- >&- 2>&-`, "sh"),
				one(`trap 'exit 6' TERM; readlink /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 >"$DIR/new"; mv "$DIR/new" "$DIR/files"
					while :; do sleep 0.01; done`))
			if got := u.awaitFile("files"); strings.Count(got, "/dev/null\n") != 2 { // the second is the file itself
				t.Errorf("the child has %q", got)
			}
			u.signal(syscall.SIGTERM)
			u.expect(6)
		})
	}
}

// awaitFile waits for a file in DIR and gives what it holds.
func (u *underInit) awaitFile(name string) string {
	u.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if raw, err := os.ReadFile(u.dir + "/" + name); err == nil {
			return string(raw)
		}
	}
	u.t.Fatalf("no file %s", name)
	return ""
}

// A log reader that goes away is the service's business and not the init's.
func TestFaultReaderGone(t *testing.T) {
	for way, wrap := range ways() {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			_ = r.Close()
			u := startSpec(t, wrap(t), one(`echo; echo`), func(u *underInit) { u.Stdout = w })
			_ = w.Close()
			u.expect(128 + int(syscall.SIGPIPE)) // the shell has SIGPIPE at its default

			u = startSpec(t, wrap(t), one(`trap 'echo >"$DIR/hup"' HUP; trap 'exit 6' TERM; echo ready >&2; while :; do sleep 0.01; done`))
			u.await("^ready")
			pid := u.pid()
			_ = u.pipe.Close()
			for _, sig := range []syscall.Signal{syscall.SIGWINCH, syscall.SIGHUP} { // an event each
				if err := syscall.Kill(pid, sig); err != nil {
					t.Fatal(err)
				}
			}
			u.awaitFile("hup")
			u.signal(syscall.SIGTERM)
			u.expect(6)
		})
	}
}

// The clocks of a time namespace are years ahead, or far behind (time_namespaces(7)). Only
// how much they go on counts. The wall clock, which nobody can have apart, is read for the
// log alone.
func TestFaultOtherClocks(t *testing.T) {
	for _, offset := range []string{"100000000", "-30"} {
		t.Run(offset, func(t *testing.T) {
			t.Parallel()
			wrap := []string{"unshare", "-T", "--monotonic", offset, "--boottime", offset}
			if os.Geteuid() != 0 {
				wrap[1] = "-UrT"
			}
			if out, err := exec.CommandContext(t.Context(), wrap[0], append(wrap[1:], "true")...).CombinedOutput(); err != nil {
				t.Skipf("no time namespace to be had here: %v %s", err, out)
			}
			spec := one(`[ -e "$DIR/again" ] || { echo >"$DIR/again"; exit 3; }; trap "" TERM; echo again >&2; sleep 1000`).always()
			spec.Grace = 500 * time.Millisecond
			u := startSpec(t, wrap, spec)
			u.await("^again")
			begin := time.Now()
			u.signal(syscall.SIGTERM)
			u.expect(137, "RestartScheduled", "Killed", "!GaveUp")
			if took := time.Since(begin); took < spec.Grace {
				t.Errorf("a grace period of %s was over after %s", spec.Grace, took)
			}
		})
	}
}
