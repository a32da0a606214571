package supervise

import (
	"errors"
	"fmt"
	"slices"
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
		case sendLeft:
			out = append(out, fmt.Sprintf("left %d %d", o.sig, o.group))
		case nudge:
			out = append(out, fmt.Sprintf("nudge %d", o.main))
		case suspend:
			out = append(out, fmt.Sprintf("suspend %v %d", o.pids, o.halted))
		case resume:
			out = append(out, fmt.Sprintf("resume %v", o.pids))
		case sendTree:
			if line := fmt.Sprintf("tree %d", o.sig); o.spare == 0 {
				out = append(out, line)
			} else {
				out = append(out, fmt.Sprintf("%s but %d", line, o.spare))
			}
		case drain:
			out = append(out, fmt.Sprintf("drain %d %s", o.main, o.word))
		case setTimer:
			out = append(out, timerWords(o))
		case emit:
			out = append(out, fmt.Sprintf("emit %T", o.event))
		}
	}
	return out
}

func timerWords(o setTimer) string {
	name := map[timerKind]string{
		delayOver: "delay", graceNearlyOver: "nearly", graceOver: "grace", killOver: "kill", turnOver: "turn", restOver: "rest", nudgeDue: "nudge",
	}[o.timer.kind]
	if o.timer.who == theCompanion {
		name += " companion"
	} else if o.timer.kind >= turnOver {
		name += fmt.Sprint(o.timer.who)
	}
	return fmt.Sprintf("%s %s", name, o.after)
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

// alone is a spec's only service.
func alone(drain string) []Service { return []Service{server(drain)} }

// both are the two of "all".
func both() []Service { return []Service{server("gunicorn"), {Command: Command{Name: "worker"}}} }

func bootstrap(optional bool) []Step {
	return []Step{{Command: Command{Name: "bootstrap"}, Optional: optional}}
}

// besides are a step and, beside it and all that follows, another.
func besides() []Step {
	return []Step{{Command: Command{Name: "watch"}, Aside: true}, {Command: Command{Name: "migrate", Whole: true}}}
}

// answerer is a companion.
func answerer() *Command { return &Command{Name: "answerer"} }

func TestMachine(t *testing.T) {
	type move struct {
		in   input
		want []string
	}
	startServer := []move{
		{begun{}, []string{"start server"}},
		{started{0, 7}, []string{"emit supervise.Started"}},
	}
	startBoth := []move{
		startServer[0],
		{started{0, 7}, []string{"emit supervise.Started", "start worker"}},
		{started{1, 8}, []string{"emit supervise.Started"}},
	}
	onFailure := Restart{Policy: OnFailure, Limit: 3, Soon: 10 * time.Second, First: time.Second, Max: time.Minute, Healthy: time.Minute}
	tests := []struct {
		name  string
		spec  Spec
		moves []move
		state state
		code  int
	}{
		{
			name: "a service that ends hands its code on, and what it left is swept",
			spec: Spec{Services: alone(""), Grace: 10 * time.Second},
			moves: append(startServer[:2:2],
				move{exited{pid: 7, status: withCode(3)}, []string{"emit supervise.Exited", "grace 10s"}},
				move{settled{false}, []string{"tree 15"}},
				move{settled{true}, nil},
			),
			state: done, code: 3,
		},
		{
			name: "a service killed by a signal gives 128+n",
			spec: Spec{Services: alone("")},
			moves: append(startServer[:2:2],
				move{exited{pid: 7, status: bySignal(kill)}, []string{"emit supervise.Exited", "grace 0s"}},
				move{settled{true}, nil},
			),
			state: done, code: 137,
		},
		{
			name: "an orphan's end changes nothing",
			spec: Spec{Services: alone("")},
			moves: append(startServer[:2:2],
				move{exited{pid: 99, status: withCode(1)}, []string{"emit supervise.OrphanReaped"}},
				move{settled{false}, nil},
			),
			state: serving,
		},
		{
			name: "a stop drains helpers, then tells the service, then sweeps",
			spec: Spec{Services: alone("gunicorn"), Grace: 10 * time.Second},
			moves: append(startServer[:2:2],
				move{signalled{term}, []string{"emit supervise.StopBegun", "nearly 8s", "grace 10s", "drain 7 gunicorn", "nudge0 1s"}},
				move{expired{timer{nudgeDue, 0}}, []string{"nudge 7", "nudge0 2s"}},
				move{expired{timer{nudgeDue, 0}}, []string{"nudge 7", "nudge0 4s"}},
				move{drained{0, true}, []string{"drain 7 gunicorn"}},
				move{drained{}, []string{"send 15 7", "emit supervise.StopSent"}},
				move{expired{timer{nudgeDue, 0}}, nil},
				move{exited{pid: 7, status: withCode(0)}, []string{"emit supervise.Exited"}},
				move{settled{true}, nil},
			),
			state: done, code: 0,
		},
		{
			name: "a stop delay goes on serving, then stops",
			spec: Spec{Services: alone(""), Grace: 10 * time.Second, StopDelay: 2 * time.Second},
			moves: append(startServer[:2:2],
				move{signalled{intr}, []string{"emit supervise.StopBegun", "nearly 8s", "grace 10s", "delay 2s"}},
				move{signalled{hup}, []string{"send 1 7", "emit supervise.Forwarded"}},
				move{expired{timer{kind: delayOver}}, []string{"send 15 7", "emit supervise.StopSent"}},
			),
			state: stopping,
		},
		{
			name: "a second stop signal kills at once, a third changes nothing",
			spec: Spec{Services: alone("gunicorn"), Grace: 10 * time.Second},
			moves: append(startServer[:2:2],
				move{signalled{term}, []string{"emit supervise.StopBegun", "nearly 8s", "grace 10s", "drain 7 gunicorn", "nudge0 1s"}},
				move{signalled{intr}, []string{"tree 9", "kill 2s"}},
				move{signalled{intr}, nil},
				move{drained{}, nil},
				move{exited{pid: 7, status: bySignal(kill)}, []string{"emit supervise.Exited"}},
				move{settled{true}, nil},
			),
			state: done, code: 137,
		},
		{
			name: "near the end of the grace period the whole tree is told, at its end killed",
			spec: Spec{Services: alone(""), Grace: 10 * time.Second},
			moves: append(startServer[:2:2],
				move{signalled{term}, []string{"emit supervise.StopBegun", "nearly 8s", "grace 10s", "send 15 7", "emit supervise.StopSent"}},
				move{expired{timer{kind: graceNearlyOver}}, []string{"tree 15"}},
				move{expired{timer{kind: graceOver}}, []string{"tree 9", "kill 2s"}},
				move{expired{timer{kind: killOver}}, []string{"emit supervise.GaveUp"}},
			),
			state: done, code: 137,
		},
		{
			name: "to the group, where that is wanted",
			spec: Spec{Services: alone(""), Grace: 10 * time.Second, Group: true},
			moves: append(startServer[:2:2],
				move{signalled{hup}, []string{"send 1 -7", "emit supervise.Forwarded"}},
				move{signalled{term}, []string{"emit supervise.StopBegun", "nearly 8s", "grace 10s", "send 15 -7", "emit supervise.StopSent"}},
			),
			state: stopping,
		},
		{
			name: "a rewritten stop signal still stops, with what it is rewritten to",
			spec: Spec{Services: alone(""), Grace: 10 * time.Second, Rewrite: map[syscall.Signal]syscall.Signal{term: syscall.SIGQUIT}},
			moves: append(startServer[:2:2],
				move{signalled{term}, []string{"emit supervise.StopBegun", "nearly 8s", "grace 10s", "send 3 7", "emit supervise.StopSent"}},
				move{signalled{intr}, []string{"tree 9", "kill 2s"}},
			),
			state: killing,
		},
		{
			name: "a signal is rewritten, dropped, or made a stop",
			spec: Spec{Services: alone(""), Grace: 10 * time.Second, Rewrite: map[syscall.Signal]syscall.Signal{
				hup: syscall.SIGUSR1, intr: 0, syscall.SIGUSR2: syscall.SIGQUIT,
			}},
			moves: append(startServer[:2:2],
				move{signalled{hup}, []string{"send 10 7", "emit supervise.Forwarded"}},
				move{signalled{intr}, nil},
				move{signalled{syscall.SIGUSR2}, []string{"emit supervise.StopBegun", "nearly 8s", "grace 10s", "send 3 7", "emit supervise.StopSent"}},
			),
			state: stopping,
		},
		{
			name: "steps come first, an optional one may fail",
			spec: Spec{Steps: bootstrap(true), Services: alone("")},
			moves: []move{
				{begun{}, []string{"start bootstrap"}},
				{started{theStep, 6}, []string{"emit supervise.Started"}},
				{exited{pid: 6, status: withCode(1)}, []string{"emit supervise.Exited", "start server"}},
				{started{0, 7}, []string{"emit supervise.Started"}},
			},
			state: serving,
		},
		{
			name: "an optional step may even fail to start",
			spec: Spec{Steps: bootstrap(true), Services: alone("")},
			moves: []move{
				{begun{}, []string{"start bootstrap"}},
				{failed{theStep, syscall.EAGAIN}, []string{"emit supervise.StartFailed", "start server"}},
				{started{0, 7}, []string{"emit supervise.Started"}},
			},
			state: serving,
		},
		{
			name: "a step that must not fail ends the run with its code",
			spec: Spec{Steps: bootstrap(false), Services: alone("")},
			moves: []move{
				{begun{}, []string{"start bootstrap"}},
				{started{theStep, 6}, []string{"emit supervise.Started"}},
				{exited{pid: 6, status: withCode(4)}, []string{"emit supervise.Exited", "grace 0s"}},
				{settled{true}, nil},
			},
			state: done, code: 4,
		},
		{
			name: "a stop in a step is handed on and nothing is started after it",
			spec: Spec{Steps: bootstrap(true), Services: alone("gunicorn"), Grace: 10 * time.Second},
			moves: []move{
				{begun{}, []string{"start bootstrap"}},
				{started{theStep, 6}, []string{"emit supervise.Started"}},
				{signalled{term}, []string{"emit supervise.StopBegun", "nearly 8s", "grace 10s", "send 15 6", "emit supervise.StopSent"}},
				{exited{pid: 6, status: bySignal(term)}, []string{"emit supervise.Exited"}},
				{settled{true}, nil},
			},
			state: done, code: 143,
		},
		{
			name: "a stop before anything runs starts nothing",
			spec: Spec{Services: alone("")},
			moves: []move{
				{signalled{term}, []string{"emit supervise.StopBegun"}},
				{begun{}, nil},
			},
			state: done, code: 143,
		},
		{
			name: "a program that is not there is 127",
			spec: Spec{Services: alone("")},
			moves: []move{
				{begun{}, []string{"start server"}},
				{failed{0, syscall.ENOENT}, []string{"emit supervise.StartFailed", "grace 0s"}},
				{settled{true}, nil},
			},
			state: done, code: 127,
		},
		{
			name: "a program that cannot be executed is 126",
			spec: Spec{Services: alone("")},
			moves: []move{
				{begun{}, []string{"start server"}},
				{failed{0, syscall.EACCES}, []string{"emit supervise.StartFailed", "grace 0s"}},
			},
			state: sweeping, code: 126,
		},
		{
			name: "what the service leaves is killed when it outlives the grace period",
			spec: Spec{Services: alone(""), Grace: time.Second},
			moves: append(startServer[:2:2],
				move{exited{pid: 7}, []string{"emit supervise.Exited", "grace 1s"}},
				move{settled{false}, []string{"tree 15"}},
				move{settled{false}, []string{"tree 15"}},
				move{expired{timer{kind: graceOver}}, []string{"tree 9", "kill 2s"}},
				move{settled{false}, []string{"tree 9"}},
				move{settled{true}, nil},
			),
			state: done, code: 0,
		},
		{
			name: "of two services the last started is stopped first",
			spec: Spec{Services: both(), Grace: 10 * time.Second},
			moves: append(startBoth[:3:3],
				move{signalled{term}, []string{"emit supervise.StopBegun", "nearly 8s", "grace 10s", "send 15 8", "emit supervise.StopSent", "turn1 4s"}},
				move{exited{pid: 8}, []string{"emit supervise.Exited", "drain 7 gunicorn", "nudge0 1s"}},
				move{expired{timer{turnOver, 1}}, nil},
				move{drained{}, []string{"send 15 7", "emit supervise.StopSent"}},
				move{exited{pid: 7}, []string{"emit supervise.Exited"}},
				move{settled{true}, nil},
			),
			state: done,
		},
		{
			name: "one that takes too long leaves the other its share of the time",
			spec: Spec{Services: both(), Grace: 10 * time.Second, StopDelay: time.Second},
			moves: append(startBoth[:3:3],
				move{signalled{term}, []string{"emit supervise.StopBegun", "nearly 8s", "grace 10s", "delay 1s"}},
				move{expired{timer{kind: delayOver}}, []string{"send 15 8", "emit supervise.StopSent", "turn1 3.5s"}},
				move{expired{timer{turnOver, 1}}, []string{"drain 7 gunicorn", "nudge0 1s"}},
				move{exited{pid: 8}, []string{"emit supervise.Exited"}},
				move{drained{}, []string{"send 15 7", "emit supervise.StopSent"}},
				move{exited{pid: 7, status: withCode(2)}, []string{"emit supervise.Exited"}},
			),
			state: sweeping, code: 2,
		},
		{
			name: "one that ends by itself takes the other along, and its code counts",
			spec: Spec{Services: both(), Grace: 10 * time.Second, StopDelay: time.Second},
			moves: append(startBoth[:3:3],
				move{exited{pid: 8, status: withCode(5)}, []string{"emit supervise.Exited", "emit supervise.StopBegun", "nearly 8s", "grace 10s", "drain 7 gunicorn", "nudge0 1s"}},
				move{signalled{term}, []string{"emit supervise.StopBegun"}},
				move{drained{}, []string{"send 15 7", "emit supervise.StopSent"}},
				move{exited{pid: 7, status: withCode(6)}, []string{"emit supervise.Exited"}},
			),
			state: sweeping, code: 5,
		},
		{
			name: "the second is not started where the first cannot be",
			spec: Spec{Services: both(), Grace: 10 * time.Second},
			moves: []move{
				{begun{}, []string{"start server"}},
				{failed{0, syscall.ENOENT}, []string{"emit supervise.StartFailed", "grace 10s"}},
			},
			state: sweeping, code: 127,
		},
		{
			name: "the first is stopped where the second cannot be started",
			spec: Spec{Services: both(), Grace: 10 * time.Second},
			moves: append(startBoth[:2:2],
				move{failed{1, syscall.ENOENT}, []string{"emit supervise.StartFailed", "emit supervise.StopBegun", "nearly 8s", "grace 10s", "drain 7 gunicorn", "nudge0 1s"}},
			),
			state: stopping, code: 127,
		},
		{
			name: "signals go to the main child of two, and to nobody while it is down",
			spec: Spec{Services: both(), Grace: 10 * time.Second, Restart: onFailure},
			moves: append(startBoth[:3:3],
				move{signalled{hup}, []string{"send 1 7", "emit supervise.Forwarded"}},
				move{exited{pid: 7, status: withCode(1)}, []string{"emit supervise.Exited", "emit supervise.RestartScheduled", "rest0 1s", "left 15 7"}},
				move{signalled{hup}, []string{"emit supervise.Unheard"}},
			),
			state: serving,
		},
		{
			name: "a service is started again, later each time, until it has failed too often too soon",
			spec: Spec{Services: alone(""), Restart: onFailure},
			moves: append(startServer[:2:2],
				move{exited{pid: 7, status: withCode(1)}, []string{"emit supervise.Exited", "emit supervise.RestartScheduled", "rest0 1s", "left 15 7"}},
				move{expired{timer{restOver, 0}}, []string{"left 9 7", "start server"}},
				move{started{0, 8}, []string{"emit supervise.Started"}},
				move{exited{pid: 8, status: bySignal(kill)}, []string{"emit supervise.Exited", "emit supervise.RestartScheduled", "rest0 2s", "left 15 8"}},
				move{expired{timer{restOver, 0}}, []string{"left 9 8", "start server"}},
				move{failed{0, syscall.EAGAIN}, []string{"emit supervise.StartFailed", "emit supervise.RestartsExhausted", "grace 0s"}},
			),
			state: sweeping, code: 126,
		},
		{
			name: "a service that ends well is not started again on failure",
			spec: Spec{Services: alone(""), Restart: onFailure},
			moves: append(startServer[:2:2],
				move{exited{pid: 7}, []string{"emit supervise.Exited", "grace 0s"}},
			),
			state: sweeping,
		},
		{
			name: "a code that counts as success is one, for a restart and for the end",
			spec: Spec{Services: alone(""), Restart: onFailure, Success: []int{143}},
			moves: append(startServer[:2:2],
				move{exited{pid: 7, status: bySignal(term)}, []string{"emit supervise.Exited", "grace 0s"}},
			),
			state: sweeping, code: 0,
		},
		{
			name: "a stop while a service rests ends at once, with its last code",
			spec: Spec{Services: alone(""), Restart: onFailure, Grace: 10 * time.Second, StopDelay: time.Second},
			moves: append(startServer[:2:2],
				move{exited{pid: 7, status: withCode(4)}, []string{"emit supervise.Exited", "emit supervise.RestartScheduled", "rest0 1s", "left 15 7"}},
				move{signalled{term}, []string{"emit supervise.StopBegun", "nearly 8s", "grace 10s"}},
				move{settled{true}, nil},
				move{expired{timer{restOver, 0}}, nil},
			),
			state: done, code: 4,
		},
		{
			name: "nobody waits for a service that rests when the last that runs ends in the stop delay",
			spec: Spec{Services: both(), Restart: onFailure, Grace: 10 * time.Second, StopDelay: 9 * time.Second},
			moves: append(startBoth[:3:3],
				move{exited{pid: 7, status: withCode(4)}, []string{"emit supervise.Exited", "emit supervise.RestartScheduled", "rest0 1s", "left 15 7"}},
				move{signalled{term}, []string{"emit supervise.StopBegun", "nearly 8s", "grace 10s", "delay 9s"}},
				move{expired{timer{kind: graceNearlyOver}}, []string{"tree 15"}},
				move{exited{pid: 8}, []string{"emit supervise.Exited"}},
			),
			state: sweeping, code: 4,
		},
		{
			name: "a stop at the terminal stops the job, and SIGCONT wakes it",
			spec: Spec{Services: both()},
			moves: append(startBoth[:3:3],
				move{signalled{syscall.SIGTSTP}, []string{"suspend [7 8] 0"}},
				move{signalled{syscall.SIGCONT}, []string{"resume [7 8]"}},
				move{halted{7, syscall.SIGTTIN}, nil},
			),
			state: serving,
		},
		{
			name: "who has the terminal and is stopped there takes us along",
			spec: Spec{Services: []Service{{Command: Command{Name: "server", Foreground: true}}}},
			moves: append(startServer[:2:2],
				move{halted{7, syscall.SIGTSTP}, []string{"suspend [] 7"}},
				move{halted{9, syscall.SIGTSTP}, nil},
			),
			state: serving,
		},
		{
			name: "a hang-up begins the stop, once",
			spec: Spec{Services: alone(""), Grace: 10 * time.Second},
			moves: append(startServer[:2:2],
				move{hungUp{}, []string{"emit supervise.StopBegun", "nearly 8s", "grace 10s", "send 15 7", "emit supervise.StopSent"}},
				move{hungUp{}, nil},
				move{exited{pid: 7, status: withCode(0)}, []string{"emit supervise.Exited"}},
			),
			state: sweeping,
		},
		{
			name: "who works at a terminal that hangs up gets HUP",
			spec: Spec{Services: []Service{{Command: Command{Name: "server", Foreground: true}}}, Grace: 10 * time.Second},
			moves: append(startServer[:2:2],
				move{hungUp{}, []string{"emit supervise.StopBegun", "nearly 8s", "grace 10s", "send 1 7", "emit supervise.StopSent"}},
			),
			state: stopping,
		},
		{
			name: "a hang-up is nothing to whom HUP is to be nothing",
			spec: Spec{Services: alone(""), Rewrite: map[syscall.Signal]syscall.Signal{hup: 0}},
			moves: append(startServer[:2:2],
				move{hungUp{}, nil},
			),
			state: serving,
		},
		{
			name: "steps alone are a run too",
			spec: Spec{Steps: bootstrap(false)},
			moves: []move{
				{begun{}, []string{"start bootstrap"}},
				{started{theStep, 6}, []string{"emit supervise.Started"}},
				{exited{pid: 6}, []string{"emit supervise.Exited", "grace 0s"}},
			},
			state: sweeping,
		},
		{
			name: "what runs aside is not waited for, and its end changes nothing",
			spec: Spec{Steps: besides(), Services: alone("")},
			moves: []move{
				{begun{}, []string{"start watch"}},
				{started{theStep, 5}, []string{"emit supervise.Started", "start migrate"}},
				{started{theStep, 6}, []string{"emit supervise.Started"}},
				{exited{pid: 6}, []string{"emit supervise.Exited", "start server"}},
				{started{0, 7}, []string{"emit supervise.Started"}},
				{exited{pid: 5, status: withCode(3)}, []string{"emit supervise.Exited"}},
				{signalled{hup}, []string{"send 1 7", "emit supervise.Forwarded"}},
				{signalled{syscall.SIGTSTP}, []string{"suspend [7] 0"}},
			},
			state: serving,
		},
		{
			name: "what cannot be started aside is done without",
			spec: Spec{Steps: besides()[:1], Services: alone("")},
			moves: []move{
				{begun{}, []string{"start watch"}},
				{failed{theStep, syscall.ENOENT}, []string{"emit supervise.StartFailed", "start server"}},
			},
			state: serving,
		},
		{
			name: "aside and nothing else is over at once",
			spec: Spec{Steps: besides()[:1], Grace: time.Second},
			moves: []move{
				{begun{}, []string{"start watch"}},
				{started{theStep, 5}, []string{"emit supervise.Started", "grace 1s"}},
				{settled{false}, []string{"tree 15"}},
				{exited{pid: 5, status: bySignal(term)}, []string{"emit supervise.Exited"}},
				{settled{true}, nil},
			},
			state: done,
		},
		{
			name: "a stop tells first what runs aside, and does not wait for it",
			spec: Spec{Steps: besides()[:1], Services: alone(""), Grace: 10 * time.Second},
			moves: []move{
				{begun{}, []string{"start watch"}},
				{started{theStep, 5}, []string{"emit supervise.Started", "start server"}},
				{started{0, 7}, []string{"emit supervise.Started"}},
				{signalled{syscall.SIGTSTP}, []string{"suspend [7 5] 0"}},
				{signalled{term}, []string{"emit supervise.StopBegun", "send 15 5", "nearly 8s", "grace 10s", "send 15 7", "emit supervise.StopSent"}},
				{exited{pid: 7}, []string{"emit supervise.Exited"}},
				{settled{false}, []string{"tree 15"}},
				{exited{pid: 5, status: bySignal(term)}, []string{"emit supervise.Exited"}},
				{settled{true}, nil},
			},
			state: done,
		},
		{
			name: "a step that is to have the whole grace period has it to itself",
			spec: Spec{Steps: besides(), Services: alone(""), Grace: 10 * time.Second},
			moves: []move{
				{begun{}, []string{"start watch"}},
				{started{theStep, 5}, []string{"emit supervise.Started", "start migrate"}},
				{started{theStep, 6}, []string{"emit supervise.Started"}},
				{signalled{term}, []string{"emit supervise.StopBegun", "send 15 5", "nearly 8s", "grace 10s", "send 15 6", "emit supervise.StopSent"}},
				{expired{timer{kind: graceNearlyOver}}, nil},
				{exited{pid: 5, status: bySignal(term)}, []string{"emit supervise.Exited"}},
				{expired{timer{kind: graceOver}}, []string{"tree 9", "kill 2s"}},
				{exited{pid: 6, status: bySignal(kill)}, []string{"emit supervise.Exited"}},
				{settled{true}, nil},
			},
			state: done, code: 137,
		},
		{
			name: "so has a service, and a second stop signal kills it as any other",
			spec: Spec{Services: []Service{{Command: Command{Name: "migrate", Whole: true}}}, Grace: 10 * time.Second},
			moves: []move{
				{begun{}, []string{"start migrate"}},
				{started{0, 7}, []string{"emit supervise.Started"}},
				{signalled{term}, []string{"emit supervise.StopBegun", "nearly 8s", "grace 10s", "send 15 7", "emit supervise.StopSent"}},
				{expired{timer{kind: graceNearlyOver}}, nil},
				{signalled{term}, []string{"tree 9", "kill 2s"}},
			},
			state: killing,
		},
		{
			name: "a companion comes before the first step, and is no child that signals are for",
			spec: Spec{Companion: answerer(), Steps: bootstrap(false), Services: alone("")},
			moves: []move{
				{begun{}, []string{"start answerer", "start bootstrap"}},
				{started{theCompanion, 5}, []string{"emit supervise.Started"}},
				{started{theStep, 6}, []string{"emit supervise.Started"}},
				{signalled{hup}, []string{"emit supervise.Unheard"}},
				{exited{pid: 6}, []string{"emit supervise.Exited", "start server"}},
				{started{0, 7}, []string{"emit supervise.Started"}},
				{signalled{hup}, []string{"send 1 7", "emit supervise.Forwarded"}},
				{signalled{syscall.SIGTSTP}, []string{"suspend [7 5] 0"}},
				{signalled{syscall.SIGCONT}, []string{"resume [7 5]"}},
			},
			state: serving,
		},
		{
			name: "a companion is told to end when all else is gone, and spared until then",
			spec: Spec{Companion: answerer(), Services: alone(""), Grace: 10 * time.Second, Group: true},
			moves: []move{
				{begun{}, []string{"start answerer", "start server"}},
				{started{theCompanion, 5}, []string{"emit supervise.Started"}},
				{started{0, 7}, []string{"emit supervise.Started"}},
				{signalled{term}, []string{"emit supervise.StopBegun", "nearly 8s", "grace 10s", "send 15 -7", "emit supervise.StopSent"}},
				{expired{timer{kind: graceNearlyOver}}, []string{"tree 15 but 5"}},
				{exited{pid: 7, status: withCode(3)}, []string{"emit supervise.Exited", "send 15 5"}},
				{settled{false}, []string{"tree 15"}},
				{exited{pid: 5, status: withCode(9)}, []string{"emit supervise.Exited"}},
				{settled{true}, nil},
			},
			state: done, code: 3,
		},
		{
			name: "a companion that ends is started again, later each time, and at once forgotten behind the end",
			spec: Spec{Companion: answerer(), Services: alone(""), Grace: 10 * time.Second},
			moves: []move{
				{begun{}, []string{"start answerer", "start server"}},
				{started{theCompanion, 5}, []string{"emit supervise.Started"}},
				{started{0, 7}, []string{"emit supervise.Started"}},
				{exited{pid: 5, status: withCode(69)}, []string{"emit supervise.Exited", "emit supervise.RestartScheduled", "rest companion 250ms"}},
				{expired{timer{restOver, theCompanion}}, []string{"start answerer"}},
				{failed{theCompanion, syscall.ENOENT}, []string{"emit supervise.StartFailed", "emit supervise.RestartScheduled", "rest companion 500ms"}},
				{signalled{term}, []string{"emit supervise.StopBegun", "nearly 8s", "grace 10s", "send 15 7", "emit supervise.StopSent"}},
				{expired{timer{restOver, theCompanion}}, []string{"start answerer"}},
				{started{theCompanion, 8}, []string{"emit supervise.Started"}},
				{exited{pid: 8, status: bySignal(kill)}, []string{"emit supervise.Exited", "emit supervise.RestartScheduled", "rest companion 1s"}},
				{exited{pid: 7}, []string{"emit supervise.Exited"}},
				{expired{timer{restOver, theCompanion}}, nil},
				{settled{true}, nil},
			},
			state: done,
		},
		{
			name: "a companion behind a healthy minute comes back as soon as at first",
			spec: Spec{Companion: answerer(), Services: alone("")},
			moves: []move{
				{begun{}, []string{"start answerer", "start server"}},
				{started{theCompanion, 5}, []string{"emit supervise.Started"}},
				{started{0, 7}, []string{"emit supervise.Started"}},
				{exited{pid: 5}, []string{"emit supervise.Exited", "emit supervise.RestartScheduled", "rest companion 250ms"}},
				{expired{timer{restOver, theCompanion}}, []string{"start answerer"}},
				{started{theCompanion, 8}, []string{"emit supervise.Started"}},
				{exited{pid: 8, uptime: time.Minute}, []string{"emit supervise.Exited", "emit supervise.RestartScheduled", "rest companion 250ms"}},
			},
			state: serving,
		},
		{
			name: "a failed step ends the companion as well, with the step's code",
			spec: Spec{Companion: answerer(), Steps: bootstrap(false), Services: alone(""), Grace: time.Second},
			moves: []move{
				{begun{}, []string{"start answerer", "start bootstrap"}},
				{started{theCompanion, 5}, []string{"emit supervise.Started"}},
				{started{theStep, 6}, []string{"emit supervise.Started"}},
				{exited{pid: 6, status: withCode(69)}, []string{"emit supervise.Exited", "send 15 5", "grace 1s"}},
				{exited{pid: 5}, []string{"emit supervise.Exited"}},
				{settled{true}, nil},
			},
			state: done, code: 69,
		},
		{
			name: "a deaf companion is killed at the end of the grace period, and its end is not the run's",
			spec: Spec{Companion: answerer(), Services: alone(""), Grace: time.Second},
			moves: []move{
				{begun{}, []string{"start answerer", "start server"}},
				{started{theCompanion, 5}, []string{"emit supervise.Started"}},
				{started{0, 7}, []string{"emit supervise.Started"}},
				{exited{pid: 7}, []string{"emit supervise.Exited", "send 15 5", "grace 1s"}},
				{expired{timer{kind: graceOver}}, []string{"tree 9", "kill 2s"}},
				{exited{pid: 5, status: bySignal(kill)}, []string{"emit supervise.Exited"}},
				{settled{true}, nil},
			},
			state: done, code: 0,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(tt.spec, func() float64 { return 0 })
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

// FuzzMachine holds for any order of things: nothing but the companion is started after a
// stop was asked for, and that not once all else is gone; nothing is signalled that does not run, a stop does not wait for what does not run,
// and once everything is gone the run ends.
func FuzzMachine(f *testing.F) {
	f.Add([]byte{0, 2, 4, 3})
	f.Add([]byte{0, 2, 14, 6, 2, 12, 3})
	f.Add([]byte{4, 0})
	f.Add([]byte{0, 2, 2, 10, 2, 10, 4, 2, 3})
	f.Fuzz(func(t *testing.T, moves []byte) {
		p := &puppet{t: t, m: newMachine(Spec{
			Companion: answerer(), Steps: append(besides(), bootstrap(true)...), Services: both(), Grace: time.Second, StopDelay: time.Millisecond,
			Restart: Restart{Policy: OnFailure, Limit: 3, Soon: time.Second, First: time.Second, Max: time.Minute},
		}, func() float64 { return 0 })}
		p.feed(begun{})
		for _, b := range moves {
			which := int(b / 16)
			switch b % 16 {
			case 0:
				p.feed(failed{which % 2, syscall.EAGAIN})
			case 1:
				p.feed(halted{100 + which, syscall.SIGTSTP})
			case 2:
				p.exit(which, withCode(which))
			case 3:
				p.feed(settled{len(p.alive) == 0})
			case 4:
				p.feed(signalled{term})
			case 5:
				p.feed([]input{signalled{hup}, signalled{syscall.SIGTSTP}, signalled{syscall.SIGCONT}, hungUp{}}[which%4])
			case 6:
				p.feed(drained{which % 2, which > 7})
			default:
				p.feed(expired{timer{timerKind(b % 7), []int{0, 1, theCompanion}[which%3]}})
			}
		}
		p.feed(signalled{term})
		p.feed(signalled{term})
		for len(p.alive) > 0 {
			p.exit(0, bySignal(kill))
		}
		p.feed(settled{true})
		if p.m.state != done {
			t.Fatalf("everything is gone and the state is %d", p.m.state)
		}
	})
}

// puppet is a machine whose children live in a list.
type puppet struct {
	t     *testing.T
	m     machine
	alive []int
	next  int
}

func (p *puppet) feed(in input) {
	if f, ok := in.(failed); ok && (p.m.inStep() || p.m.state != serving || p.m.services[f.who].pid != 0) {
		return // nobody tried to start it
	}
	if e, ok := in.(expired); ok && e.timer.who == theCompanion && (e.timer.kind != restOver || p.m.companion.pid != 0) {
		return // nobody set it
	}
	wasAsked := p.m.asked != 0
	for _, o := range p.m.feed(in) {
		switch o := o.(type) {
		case start:
			if wasAsked && o.who != theCompanion || p.m.state >= sweeping {
				p.t.Fatalf("started after a stop by %T", in)
			}
			p.next++
			p.alive = append(p.alive, 100+p.next)
			p.feed(started{o.who, 100 + p.next})
		case send:
			if !slices.Contains(p.alive, o.pid) {
				p.t.Fatalf("%d is signalled and does not live", o.pid)
			}
		}
	}
	if p.m.graceSet && p.m.state < sweeping && len(p.others()) == 0 {
		p.t.Fatalf("nothing runs, and the stop waits after %T", in)
	}
}

// others are all that live but the companion.
func (p *puppet) others() []int {
	return slices.DeleteFunc(slices.Clone(p.alive), func(pid int) bool { return pid == p.m.companion.pid })
}

func (p *puppet) exit(which int, status syscall.WaitStatus) {
	if len(p.alive) == 0 {
		return
	}
	i := which % len(p.alive)
	pid := p.alive[i]
	p.alive = slices.Delete(p.alive, i, i+1)
	p.feed(exited{pid: pid, status: status})
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

func TestRestartDelays(t *testing.T) {
	r := DefaultRestart(Always)
	var got []time.Duration
	for n := 1; n <= 9; n++ {
		got = append(got, r.delay(n, 0))
	}
	const s = time.Second
	want := []time.Duration{s, 2 * s, 4 * s, 8 * s, 16 * s, 32 * s, 60 * s, 60 * s, 60 * s}
	if !slices.Equal(got, want) {
		t.Errorf("delays %v, want %v", got, want)
	}
	if got := r.delay(1000, 0.5); got != 63*s {
		t.Errorf("the thousandth with half the jitter is %s, want 1m3s", got)
	}

	var c record
	after := func(uptime time.Duration) (time.Duration, bool) { return c.ended(r, uptime, 0) }
	for i, tt := range []struct {
		uptime, want time.Duration
		ok           bool
	}{
		{s, s, true},
		{s, 2 * s, true},
		{s, 4 * s, true},
		{s, 8 * s, true},
		{10 * s, 16 * s, true}, // long enough to forget that it failed soon, not to be healthy
		{s, 32 * s, true},
		{60 * s, s, true}, // healthy
		{s, 2 * s, true},
		{s, 4 * s, true},
		{s, 8 * s, true},
		{s, 16 * s, true},
		{s, 0, false},
	} {
		if got, ok := after(tt.uptime); got != tt.want || ok != tt.ok {
			t.Errorf("end %d after %s: %s, %t, want %s, %t", i, tt.uptime, got, ok, tt.want, tt.ok)
		}
	}
	r.Limit, c = 0, record{}
	for range 100 {
		if _, ok := after(0); !ok {
			t.Fatal("given up without a limit")
		}
	}
}
