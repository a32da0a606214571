package supervise

import (
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// words writes orders in short, so that a table can say what is expected.
func words(orders []order) []string {
	var out []string
	for _, o := range orders {
		switch o := o.(type) {
		case start:
			out = append(out, "start "+o.command.Name)
		case send:
			target := o.pid
			if o.group {
				target = -o.pid
			}
			out = append(out, fmt.Sprintf("send %d %d", o.sig, target))
		case sendTree:
			out = append(out, fmt.Sprintf("tree %d", o.sig))
		case drain:
			out = append(out, fmt.Sprintf("drain %d %s", o.main, o.word))
		case setTimer:
			out = append(out, fmt.Sprintf("timer %d %s", o.timer, o.after))
		case emit:
			out = append(out, fmt.Sprintf("emit %T", o.event))
		}
	}
	return out
}

func withCode(n int) syscall.WaitStatus { return syscall.WaitStatus(n << 8) }

func bySignal(s syscall.Signal) syscall.WaitStatus { return syscall.WaitStatus(s) }

const (
	hup  = syscall.SIGHUP
	intr = syscall.SIGINT
	term = syscall.SIGTERM
	kill = syscall.SIGKILL
)

func server(drain string) Service {
	return Service{Command: Command{Name: "server"}, Drain: drain}
}

func bootstrap(optional bool) []Step {
	return []Step{{Command{Name: "bootstrap"}, optional}}
}

func TestMachine(t *testing.T) {
	type move struct {
		in   input
		want []string
	}
	startServer := []move{
		{begun{}, []string{"start server"}},
		{started{7}, []string{"emit supervise.Started"}},
	}
	tests := []struct {
		name  string
		spec  Spec
		moves []move
		state state
		code  int
	}{
		{
			name: "a service that ends hands its code on, and what it left is swept",
			spec: Spec{Service: server(""), Grace: 10 * time.Second},
			moves: append(startServer[:2:2],
				move{exited{pid: 7, status: withCode(3)}, []string{"emit supervise.Exited", "timer 2 10s"}},
				move{settled{false}, []string{"tree 15"}},
				move{settled{true}, nil},
			),
			state: done, code: 3,
		},
		{
			name: "a service killed by a signal gives 128+n",
			spec: Spec{Service: server("")},
			moves: append(startServer[:2:2],
				move{exited{pid: 7, status: bySignal(kill)}, []string{"emit supervise.Exited", "timer 2 0s"}},
				move{settled{true}, nil},
			),
			state: done, code: 137,
		},
		{
			name: "an orphan's end changes nothing",
			spec: Spec{Service: server("")},
			moves: append(startServer[:2:2],
				move{exited{pid: 99, status: withCode(1)}, []string{"emit supervise.OrphanReaped"}},
				move{settled{false}, nil},
			),
			state: serving,
		},
		{
			name: "a stop drains helpers, then tells the service, then sweeps",
			spec: Spec{Service: server("gunicorn"), Grace: 10 * time.Second},
			moves: append(startServer[:2:2],
				move{signalled{term}, []string{"emit supervise.StopBegun", "timer 1 8s", "timer 2 10s", "drain 7 gunicorn"}},
				move{drained{}, []string{"send 15 7", "emit supervise.StopSent"}},
				move{exited{pid: 7, status: withCode(0)}, []string{"emit supervise.Exited"}},
				move{settled{true}, nil},
			),
			state: done, code: 0,
		},
		{
			name: "a stop delay goes on serving, then stops",
			spec: Spec{Service: server(""), Grace: 10 * time.Second, StopDelay: 2 * time.Second},
			moves: append(startServer[:2:2],
				move{signalled{intr}, []string{"emit supervise.StopBegun", "timer 1 8s", "timer 2 10s", "timer 0 2s"}},
				move{signalled{hup}, []string{"send 1 7", "emit supervise.Forwarded"}},
				move{expired{delayOver}, []string{"send 15 7", "emit supervise.StopSent"}},
			),
			state: stopping,
		},
		{
			name: "a second stop signal kills at once, a third changes nothing",
			spec: Spec{Service: server("gunicorn"), Grace: 10 * time.Second},
			moves: append(startServer[:2:2],
				move{signalled{term}, []string{"emit supervise.StopBegun", "timer 1 8s", "timer 2 10s", "drain 7 gunicorn"}},
				move{signalled{intr}, []string{"tree 9", "timer 3 2s"}},
				move{signalled{intr}, nil},
				move{drained{}, nil},
				move{exited{pid: 7, status: bySignal(kill)}, []string{"emit supervise.Exited"}},
				move{settled{true}, nil},
			),
			state: done, code: 137,
		},
		{
			name: "near the end of the grace period the whole tree is told, at its end killed",
			spec: Spec{Service: server(""), Grace: 10 * time.Second},
			moves: append(startServer[:2:2],
				move{signalled{term}, []string{"emit supervise.StopBegun", "timer 1 8s", "timer 2 10s", "send 15 7", "emit supervise.StopSent"}},
				move{expired{graceNearlyOver}, []string{"tree 15"}},
				move{expired{graceOver}, []string{"tree 9", "timer 3 2s"}},
				move{expired{killOver}, []string{"emit supervise.GaveUp"}},
			),
			state: done, code: 137,
		},
		{
			name: "to the group, where that is wanted",
			spec: Spec{Service: server(""), Grace: 10 * time.Second, Group: true},
			moves: append(startServer[:2:2],
				move{signalled{hup}, []string{"send 1 -7", "emit supervise.Forwarded"}},
				move{signalled{term}, []string{"emit supervise.StopBegun", "timer 1 8s", "timer 2 10s", "send 15 -7", "emit supervise.StopSent"}},
			),
			state: stopping,
		},
		{
			name: "a rewritten stop signal still stops, with what it is rewritten to",
			spec: Spec{Service: server(""), Grace: 10 * time.Second, Rewrite: map[syscall.Signal]syscall.Signal{term: syscall.SIGQUIT}},
			moves: append(startServer[:2:2],
				move{signalled{term}, []string{"emit supervise.StopBegun", "timer 1 8s", "timer 2 10s", "send 3 7", "emit supervise.StopSent"}},
				move{signalled{intr}, []string{"tree 9", "timer 3 2s"}},
			),
			state: killing,
		},
		{
			name: "a signal is rewritten, dropped, or made a stop",
			spec: Spec{Service: server(""), Grace: 10 * time.Second, Rewrite: map[syscall.Signal]syscall.Signal{
				hup: syscall.SIGUSR1, intr: 0, syscall.SIGUSR2: syscall.SIGQUIT,
			}},
			moves: append(startServer[:2:2],
				move{signalled{hup}, []string{"send 10 7", "emit supervise.Forwarded"}},
				move{signalled{intr}, nil},
				move{signalled{syscall.SIGUSR2}, []string{"emit supervise.StopBegun", "timer 1 8s", "timer 2 10s", "send 3 7", "emit supervise.StopSent"}},
			),
			state: stopping,
		},
		{
			name: "steps come first, an optional one may fail",
			spec: Spec{Steps: bootstrap(true), Service: server("")},
			moves: []move{
				{begun{}, []string{"start bootstrap"}},
				{started{6}, []string{"emit supervise.Started"}},
				{exited{pid: 6, status: withCode(1)}, []string{"emit supervise.Exited", "start server"}},
				{started{7}, []string{"emit supervise.Started"}},
			},
			state: serving, code: 1,
		},
		{
			name: "an optional step may even fail to start",
			spec: Spec{Steps: bootstrap(true), Service: server("")},
			moves: []move{
				{begun{}, []string{"start bootstrap"}},
				{failed{syscall.EAGAIN}, []string{"emit supervise.StartFailed", "start server"}},
				{started{7}, []string{"emit supervise.Started"}},
			},
			state: serving, code: 126,
		},
		{
			name: "a step that must not fail ends the run with its code",
			spec: Spec{Steps: bootstrap(false), Service: server("")},
			moves: []move{
				{begun{}, []string{"start bootstrap"}},
				{started{6}, []string{"emit supervise.Started"}},
				{exited{pid: 6, status: withCode(4)}, []string{"emit supervise.Exited", "timer 2 0s"}},
				{settled{true}, nil},
			},
			state: done, code: 4,
		},
		{
			name: "a stop in a step is handed on and nothing is started after it",
			spec: Spec{Steps: bootstrap(true), Service: server("gunicorn"), Grace: 10 * time.Second},
			moves: []move{
				{begun{}, []string{"start bootstrap"}},
				{started{6}, []string{"emit supervise.Started"}},
				{signalled{term}, []string{"emit supervise.StopBegun", "timer 1 8s", "timer 2 10s", "send 15 6", "emit supervise.StopSent"}},
				{exited{pid: 6, status: bySignal(term)}, []string{"emit supervise.Exited"}},
				{settled{true}, nil},
			},
			state: done, code: 143,
		},
		{
			name: "a stop before anything runs starts nothing",
			spec: Spec{Service: server("")},
			moves: []move{
				{signalled{term}, []string{"emit supervise.StopBegun"}},
				{begun{}, nil},
			},
			state: done, code: 143,
		},
		{
			name: "a program that is not there is 127",
			spec: Spec{Service: server("")},
			moves: []move{
				{begun{}, []string{"start server"}},
				{failed{syscall.ENOENT}, []string{"emit supervise.StartFailed", "timer 2 0s"}},
				{settled{true}, nil},
			},
			state: done, code: 127,
		},
		{
			name: "a program that cannot be executed is 126",
			spec: Spec{Service: server("")},
			moves: []move{
				{begun{}, []string{"start server"}},
				{failed{syscall.EACCES}, []string{"emit supervise.StartFailed", "timer 2 0s"}},
			},
			state: sweeping, code: 126,
		},
		{
			name: "what the service leaves is killed when it outlives the grace period",
			spec: Spec{Service: server(""), Grace: time.Second},
			moves: append(startServer[:2:2],
				move{exited{pid: 7}, []string{"emit supervise.Exited", "timer 2 1s"}},
				move{settled{false}, []string{"tree 15"}},
				move{settled{false}, []string{"tree 15"}},
				move{expired{graceOver}, []string{"tree 9", "timer 3 2s"}},
				move{settled{false}, []string{"tree 9"}},
				move{settled{true}, nil},
			),
			state: done, code: 0,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := machine{spec: tt.spec}
			for i, mv := range tt.moves {
				if diff := cmp.Diff(mv.want, words(m.feed(mv.in))); diff != "" {
					t.Fatalf("move %d, %T (-want +got):\n%s", i, mv.in, diff)
				}
			}
			if m.state != tt.state || m.code != tt.code {
				t.Errorf("state %d and code %d, want %d and %d", m.state, m.code, tt.state, tt.code)
			}
		})
	}
}

func TestExitCodeOfEveryStatus(t *testing.T) {
	for n := range 256 {
		if got := ExitCode(withCode(n)); got != n {
			t.Errorf("exit %d gives %d", n, got)
		}
	}
	for sig := syscall.Signal(1); sig <= 64; sig++ {
		if got, want := ExitCode(bySignal(sig)), 128+int(sig); got != want {
			t.Errorf("signal %d gives %d, want %d", sig, got, want)
		}
	}
}

// FuzzMachine holds for any order of things: nothing is started after a stop was asked
// for, and once everything is gone the run ends.
func FuzzMachine(f *testing.F) {
	f.Add([]byte{0, 1, 4, 2, 3})
	f.Add([]byte{0, 1, 6, 8, 2, 3})
	f.Add([]byte{4, 0})
	f.Fuzz(func(t *testing.T, moves []byte) {
		m := machine{spec: Spec{Steps: bootstrap(true), Service: server("x"), Grace: time.Second, StopDelay: time.Millisecond}}
		next := 100
		feed := func(in input) []order {
			asked := m.asked != 0
			orders := m.feed(in)
			for _, o := range orders {
				if _, ok := o.(start); ok && asked {
					t.Fatalf("started after a stop by %T", in)
				}
			}
			return orders
		}
		for _, b := range append([]byte{0}, moves...) {
			var orders []order
			switch b % 10 {
			case 0:
				orders = feed(begun{})
			case 2:
				if m.pid != 0 {
					orders = feed(exited{pid: m.pid, status: withCode(int(b))})
				}
			case 3:
				orders = feed(settled{m.pid == 0})
			case 4:
				orders = feed(signalled{term})
			case 5:
				orders = feed(signalled{hup})
			case 6:
				orders = feed(drained{})
			case 7, 8, 9:
				orders = feed(expired{timer(b % 4)})
			}
			for len(orders) > 0 {
				if _, ok := orders[0].(start); ok {
					next++
					orders = append(orders, feed(started{next})...)
				}
				orders = orders[1:]
			}
		}
		feed(signalled{term})
		feed(signalled{term})
		if m.pid != 0 {
			feed(exited{pid: m.pid, status: bySignal(kill)})
		}
		feed(settled{true})
		if m.state != done {
			t.Fatalf("everything is gone and the state is %d", m.state)
		}
	})
}

func TestStartFailureNamesWhatIsMissing(t *testing.T) {
	dir := t.TempDir()
	if err := whyNot(Command{Path: "/nowhere/x", Dir: dir}, syscall.ENOENT); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("a missing program gives %v, want ENOENT", err)
	}
	if got := startFailure(whyNot(Command{Path: "/bin/sh", Dir: dir}, syscall.ENOENT)); got != 126 {
		t.Errorf("a missing interpreter gives %d, want 126", got)
	}
	if got := startFailure(whyNot(Command{Path: "/bin/sh", Dir: dir + "/gone"}, syscall.ENOENT)); got != 126 {
		t.Errorf("a missing working directory gives %d, want 126", got)
	}
}
