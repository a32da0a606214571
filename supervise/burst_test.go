package supervise

import (
	"bufio"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// happening is one line of an init's events, as far as pids go.
type happening struct {
	kind, service string
	pid           int
	status        syscall.WaitStatus
}

var happeningLine = regexp.MustCompile(`^event supervise\.(Started|Exited|OrphanReaped) \{(?:Command:\{Name:(\S*) .*?\} )?PID:(\d+)(?: Status:(\d+))?`)

// happened reads an event line. It is no happening where no process begins or ends.
func happened(line string) (h happening, ok bool) {
	if !strings.HasPrefix(line, "event ") {
		return h, false
	}
	m := happeningLine.FindStringSubmatch(line)
	if m == nil {
		return h, false
	}
	pid, _ := strconv.Atoi(m[3]) // digits
	status, _ := strconv.Atoi(m[4])
	return happening{m[1], m[2], pid, syscall.WaitStatus(status)}, true
}

// next reads one event line, or fails with what was awaited.
func (u *underInit) next(awaited string) string {
	u.t.Helper()
	if !u.events.Scan() {
		u.t.Fatalf("%s: the events end before; seen:\n%s", awaited, tail(u.seen.String()))
	}
	fmt.Fprintln(&u.seen, u.events.Text())
	return u.events.Text()
}

// tail is the last lines of a long output.
func tail(text string) string {
	lines := strings.Split(text, "\n")
	return strings.Join(lines[max(0, len(lines)-100):], "\n")
}

// python gives Debian's interpreter: its programs fork without a shell's help.
func python(t *testing.T) string {
	t.Helper()
	const path = "/usr/bin/python3"
	if _, err := exec.LookPath(path); err != nil {
		t.Skip(err)
	}
	return path
}

// burst CODE has children of its own that end and leave 200 orphans, 50 at a time: they
// wait at a pipe that their parent alone holds open. Those of the last time, and the
// program itself, wait for the shot that all programs wait for. It writes down a line for
// each orphan. TERM is what the init sends to those that a resting service has left.
const burst = `
	trap '' TERM
	exec 4<"$DIR/shot"
	mkfifo "$DIR/gate$1"
	for time in 1 2 3 last; do
		(
			exec 5<>"$DIR/gate$1" 6<"$DIR/gate$1"
			[ $time != last ] || exec 6<&4
			n=0 lines=
			while [ $n -lt 50 ]; do
				(read x <&6; exit $n) 5<&- &
				lines="$lines$! $n\n"
				n=$((n+1))
			done
			printf "$lines" >>"$DIR/orphans"
		)
	done
	echo armed >&2
	read x <&4
	exit $1`

// 50 services end at once, each with a code of its own, amid 10,000 orphans. Nothing
// follows the shot but SIGCHLDs, of which the kernel keeps one: what is not reaped and told
// because of it is never reaped, for no timer runs.
func TestBurst(t *testing.T) {
	const services, orphans = 50, 200
	for way, wrap := range ways() {
		t.Run(way, func(t *testing.T) {
			spec := initSpec{Lasts: time.Minute, Spec: Spec{
				Grace:   10 * time.Second,
				Restart: Restart{Policy: Always, First: time.Hour, Max: time.Hour, Healthy: time.Hour},
			}}
			codes := map[string]int{}
			for n := range services {
				name := fmt.Sprintf("s%d", n)
				codes[name] = 10 + n
				command := shell(name, burst)
				command.Argv = append(command.Argv, "sh", strconv.Itoa(codes[name]))
				spec.Services = append(spec.Services, Service{Command: command})
			}
			var shot *os.File
			u := startSpec(t, wrap(t), spec, func(u *underInit) { shot = u.fifo("shot") })
			b := &burstCount{underInit: u, pids: map[string]int{}, codes: map[string]int{}, orphans: map[happening]int{}}
			for range services {
				b.until(func(line string) bool { return line == "armed" })
			}
			if err := shot.Close(); err != nil {
				t.Fatal(err)
			}
			b.until(func(string) bool { return len(b.codes) == services && b.reaped >= services*orphans })
			if !maps.Equal(b.codes, codes) {
				t.Errorf("exit codes %v, want %v", b.codes, codes)
			}
			if want := u.writtenOrphans(); !maps.Equal(b.orphans, want) {
				t.Errorf("%d orphans were reaped, and not those that there were: %d", b.reaped, len(want))
			}
			for _, pid := range childrenOf(t, u.pid()) {
				if r, err := readRelative(pid); err == nil && r.zombie {
					t.Errorf("%d is a zombie when all is told", pid)
				}
			}
			u.signal(syscall.SIGTERM)
			if code, want := u.end(), codes[fmt.Sprintf("s%d", services-1)]; code != want {
				t.Errorf("exit code %d, want %d of the service that is the first to be stopped", code, want)
			}
		})
	}
}

// Orphans come faster than they can be told of: a stop is heard all the same, and all are
// told to end.
func TestStopInAStorm(t *testing.T) {
	for way, wrap := range ways() {
		t.Run(way, func(t *testing.T) {
			spec := one(`while :; do (:&); done`)
			for range 7 {
				spec.Services = append(spec.Services, spec.Services[0])
			}
			u := startSpec(t, wrap(t), spec)
			for range 1000 {
				u.next("storm")
			}
			u.signal(syscall.SIGTERM)
			u.expect(143, "StopBegun", "!GraceNearlyOver", "!Killed")
		})
	}
}

// fifo makes one in DIR and opens it, so that who opens it for reading does not wait.
func (u *underInit) fifo(name string) *os.File {
	u.t.Helper()
	path := filepath.Join(u.dir, name)
	if err := syscall.Mkfifo(path, 0o644); err != nil {
		u.t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		u.t.Fatal(err)
	}
	u.t.Cleanup(func() { _ = f.Close() })
	return f
}

// burstCount sums up the events of a burst.
type burstCount struct {
	*underInit
	// pids and codes are by service.
	pids, codes map[string]int
	orphans     map[happening]int
	reaped      int
}

// until reads events up to the one that is enough.
func (b *burstCount) until(enough func(line string) bool) {
	b.t.Helper()
	for {
		line := b.next("burst")
		h, ok := happened(line)
		switch {
		case !ok:
		case h.kind == "Started":
			b.pids[h.service] = h.pid
		case h.kind == "OrphanReaped":
			b.orphans[h]++
			b.reaped++
		case b.pids[h.service] != h.pid:
			b.t.Errorf("%s was started as %d and ended as %d", h.service, b.pids[h.service], h.pid)
		default:
			if _, twice := b.codes[h.service]; twice {
				b.t.Errorf("%s ended twice", h.service)
			}
			b.codes[h.service] = ExitCode(h.status)
		}
		if enough(line) {
			return
		}
	}
}

// writtenOrphans are those that the programs wrote down, as they should be reaped. A pid
// may be there more than once, where the kernel has none left that is new.
func (u *underInit) writtenOrphans() map[happening]int {
	u.t.Helper()
	f, err := os.Open(filepath.Join(u.dir, "orphans"))
	if err != nil {
		u.t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	all := map[happening]int{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var pid, code int
		if _, err := fmt.Sscan(lines.Text(), &pid, &code); err != nil {
			u.t.Fatal(err)
		}
		all[happening{"OrphanReaped", "", pid, withCode(code)}]++
	}
	return all
}
