package supervise

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// compiled gives a program in C: some things that processes do no shell does.
func compiled(t *testing.T, source string) string {
	t.Helper()
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip(err)
	}
	program := filepath.Join(t.TempDir(), "program")
	cmd := exec.CommandContext(t.Context(), "gcc", "-Wall", "-pthread", "-x", "c", "-", "-o", program)
	cmd.Stdin = strings.NewReader(source)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	return program
}

// stateOf is a process's as proc_pid_stat(5) has it.
func stateOf(t *testing.T, pid int) string {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(raw), ") ")
	return rest[:1]
}

// A process whose vforked child neither executes nor ends sleeps uninterruptibly: a
// handler for TERM has to wait, SIGKILL has not (kernel/fork.c, wait_for_vfork_done).
const vforks = `
#include <signal.h>
#include <unistd.h>
static void hear(int sig) {}
int main(int argc, char **argv) {
	if (argc > 1) signal(SIGTERM, hear);
	if (vfork() == 0) {
		write(2, "ready\n", 6);
		for (;;) pause();
	}
	return 0;
}`

func TestFaultUninterruptible(t *testing.T) {
	program := compiled(t, vforks)
	for way, wrap := range ways() {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			for _, tt := range []struct {
				arg   string
				grace time.Duration
				code  int
				said  []string
			}{
				{"", patience, 143, []string{"Swept", "!Killed", "!GaveUp"}},
				{"deaf", 500 * time.Millisecond, 137, []string{ // the first has been told before
					"GraceNearlyOver {Told:1}", "Killed {Why:grace period over Told:2}", "!GaveUp"}},
			} {
				spec := one("exec " + program + " " + tt.arg)
				spec.Grace = tt.grace
				u := startSpec(t, wrap(t), spec)
				u.await("Started", "^ready")
				_, children := u.split()
				if got := stateOf(t, children[0]); got != "D" {
					t.Fatalf("it is in state %s, want D: this test shows nothing", got)
				}
				u.signal(syscall.SIGTERM)
				u.expect(tt.code, tt.said...)
			}
		})
	}
}

// What is traced by somebody outside is dead and yet not gone until that one looks
// (ptrace(2), Death under ptrace): as good as what SIGKILL cannot end.
func TestFaultOutlivesSIGKILL(t *testing.T) {
	for way, wrap := range ways() {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			runtime.LockOSThread() // only the thread that has seized a process traces it
			defer runtime.UnlockOSThread()
			spec := one(`echo ready >&2; exec sleep 1000`)
			spec.Grace = 200 * time.Millisecond
			u := startSpec(t, wrap(t), spec)
			u.await("Started", "^ready")
			_, children := u.split()
			_, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(children[0]), 0, 0, 0, 0)
			if errno != 0 {
				t.Skip("no tracing here: ", errno)
			}
			u.signal(syscall.SIGTERM)
			u.await("Killed", "GaveUp")
			_, _ = unix.Wait4(children[0], nil, unix.WALL, nil) // until then PID 1 cannot end either
			u.expect(137, "!Exited")
		})
	}
}

// A process whose first thread has ended looks like a zombie and is none: the others run.
const threads = `
#include <pthread.h>
#include <signal.h>
#include <unistd.h>
static void *run(void *leader) {
	pthread_join(*(pthread_t *)leader, NULL);
	write(2, "ready\n", 6);
	for (;;) pause();
}
int main(int argc, char **argv) {
	static pthread_t leader, other;
	leader = pthread_self();
	if (argc > 1) signal(SIGTERM, SIG_IGN);
	setsid();
	pthread_create(&other, NULL, run, &leader);
	pthread_exit(NULL);
}`

func TestFaultZombieWithThreads(t *testing.T) {
	program := compiled(t, threads)
	for way, wrap := range ways() {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			for _, tt := range []struct {
				arg   string
				grace time.Duration
				said  []string
			}{
				{"", patience, []string{"Swept {Told:1}", "!Killed"}},
				{"deaf", 500 * time.Millisecond, []string{"Swept {Told:1}", "Killed {Why:grace period over Told:1}", "!GaveUp"}},
			} {
				var leave *os.File
				spec := one(program + " " + tt.arg + ` & read x <"$DIR/leave"; exit 3`)
				spec.Grace = tt.grace
				u := startSpec(t, wrap(t), spec, func(u *underInit) { leave = u.fifo("leave") })
				u.await("Started", "^ready")
				_, _ = leave.WriteString("now\n") // closed before the shell has opened it, nobody would be there to end its wait
				u.expect(3, tt.said...)
			}
		})
	}
}
