package supervise

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// fakeKernel is a kernel whose one child does what the test says. The real one is
// tested with real processes in real_test.go; this one is here for time alone.
type fakeKernel struct {
	caught *Signals
	dead   []exited
	alive  map[int]bool
	// stopsAfter is how long the child takes to end after TERM; negative: it never does.
	stopsAfter time.Duration
	// runsFor are how long the first, the second... run lasts by itself; none is for ever.
	runsFor []time.Duration
	// drainsAfter is how long the helper takes.
	drainsAfter time.Duration
	log         []string
	begin       time.Time
	// drained: its helpers have been told.
	drained bool
	// started is when the child was.
	started time.Time
}

func (k *fakeKernel) note(format string, args ...any) {
	k.log = append(k.log, fmt.Sprintf("%s ", time.Since(k.begin))+fmt.Sprintf(format, args...))
}

func (k *fakeKernel) start(c Command) (int, error) {
	k.note("start %s", c.Name)
	k.alive[7], k.started = true, time.Now()
	if len(k.runsFor) > 0 {
		time.AfterFunc(k.runsFor[0], func() { k.die(1 << 8) })
		k.runsFor = k.runsFor[1:]
	}
	return 7, nil
}

func (k *fakeKernel) reap() (input, bool) {
	if len(k.dead) == 0 {
		return nil, len(k.alive) == 0
	}
	e := k.dead[0]
	k.dead = k.dead[1:]
	delete(k.alive, e.pid)
	return e, false
}

func (k *fakeKernel) sendLeft(group int, sig syscall.Signal) { k.note("left %d of %d", sig, group) }

func (k *fakeKernel) nudge(main int, _ string) { k.note("nudge %d", main) }

func (k *fakeKernel) suspend([]int, int, syscall.Signal) bool { return true }

func (k *fakeKernel) resume([]int) {}

func (k *fakeKernel) guardAlone() bool { return false }

func (k *fakeKernel) unguard() {}

func (k *fakeKernel) die(status syscall.WaitStatus) {
	k.dead = append(k.dead, exited{pid: 7, status: status, uptime: time.Since(k.started)})
	k.caught.child <- syscall.SIGCHLD
}

func (k *fakeKernel) send(pid int, sig syscall.Signal, _ bool) {
	k.note("send %d to %d", sig, pid)
	if sig == term && k.stopsAfter >= 0 {
		time.AfterFunc(k.stopsAfter, func() { k.die(0) })
	}
}

func (k *fakeKernel) sendTree(sig syscall.Signal, _ int) int {
	if len(k.alive) == 0 {
		return 0
	}
	k.note("tree %d", sig)
	if sig == kill {
		k.die(bySignal(kill))
	}
	return len(k.alive)
}

func (k *fakeKernel) drain(_ int, _ string, over func(bool)) []int {
	k.note("drain")
	some := !k.drained
	k.drained = true
	if !some {
		go over(false)
		return nil
	}
	time.AfterFunc(k.drainsAfter, func() { over(true) })
	return []int{8}
}

func TestStopTakesItsTime(t *testing.T) {
	const second = time.Second
	tests := []struct {
		name        string
		spec        Spec
		stopsAfter  time.Duration
		drainsAfter time.Duration
		signals     []time.Duration // when TERM comes
		want        []string
		code        int
	}{
		{
			name:       "a service that stops at once",
			spec:       Spec{Services: alone("gunicorn"), Grace: 25 * second},
			stopsAfter: 3 * time.Millisecond, drainsAfter: 4 * second,
			signals: []time.Duration{60 * second},
			want:    []string{"0s start server", "1m0s drain", "1m1s nudge 7", "1m3s nudge 7", "1m4s drain", "1m4s send 15 to 7"},
		},
		{
			name:       "a stop delay comes before the drain",
			spec:       Spec{Services: alone("gunicorn"), Grace: 25 * second, StopDelay: 5 * second},
			stopsAfter: 0, drainsAfter: second / 2,
			signals: []time.Duration{second},
			want:    []string{"0s start server", "6s drain", "6.5s drain", "6.5s send 15 to 7"},
		},
		{
			name:       "a service that ignores TERM is killed at the end of the grace period",
			spec:       Spec{Services: alone(""), Grace: 25 * second},
			stopsAfter: -1,
			signals:    []time.Duration{0},
			want:       []string{"0s start server", "0s send 15 to 7", "20s tree 15", "25s tree 9"},
			code:       137,
		},
		{
			name:       "a drain that never ends is cut short for the service's sake",
			spec:       Spec{Services: alone("gunicorn"), Grace: 25 * second},
			stopsAfter: -1, drainsAfter: time.Hour,
			signals: []time.Duration{0},
			want:    []string{"0s start server", "0s drain", "1s nudge 7", "3s nudge 7", "7s nudge 7", "15s nudge 7", "20s tree 15", "25s tree 9"},
			code:    137,
		},
		{
			name:       "a second TERM kills at once",
			spec:       Spec{Services: alone(""), Grace: 25 * second},
			stopsAfter: -1,
			signals:    []time.Duration{second, 2 * second},
			want:       []string{"0s start server", "1s send 15 to 7", "2s tree 9"},
			code:       137,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				caught := &Signals{forward: make(chan os.Signal, 8), child: make(chan os.Signal, 8)}
				k := &fakeKernel{
					caught: caught, alive: map[int]bool{}, begin: time.Now(),
					stopsAfter: tt.stopsAfter, drainsAfter: tt.drainsAfter,
				}
				for _, at := range tt.signals {
					// A moment later than the start, so that there is something to stop.
					time.AfterFunc(at+time.Nanosecond, func() { caught.forward <- term })
				}
				code := run(tt.spec, k, caught, func(Event) {})
				for i := range k.log {
					k.log[i] = roundOff(k.log[i])
				}
				if !slices.Equal(k.log, tt.want) || code != tt.code {
					t.Errorf("got  %q, code %d\nwant %q, code %d", k.log, code, tt.want, tt.code)
				}
			})
		})
	}
}

// roundOff takes the extra nanosecond away again.
func roundOff(line string) string {
	at, rest, _ := strings.Cut(line, " ")
	d, _ := time.ParseDuration(at)
	return d.Truncate(time.Microsecond).String() + " " + rest
}

// Minutes of backoff, in no time at all: each pause is as long as it has to be, with a
// tenth of jitter at most, and a stop ends it at once.
func TestRestartsTakeTheirTime(t *testing.T) {
	const s = time.Second
	tests := []struct {
		name    string
		runsFor []time.Duration
		limit   int
		// pauses are those before each start but the first.
		pauses []time.Duration
		stopAt time.Duration // 0: never
		code   int
	}{
		{"given up at the fifth quick end", []time.Duration{s, s, s, s, s}, 5, []time.Duration{s, 2 * s, 4 * s, 8 * s}, 0, 1},
		{
			"anew behind a minute of health, up to a minute of pause",
			[]time.Duration{s, s, 61 * s, 11 * s, 11 * s, 11 * s, 11 * s, 11 * s, 11 * s, 11 * s, s, s, s, s, s}, 5,
			[]time.Duration{s, 2 * s, s, 2 * s, 4 * s, 8 * s, 16 * s, 32 * s, 60 * s, 60 * s, 60 * s, 60 * s, 60 * s, 60 * s}, 0, 1,
		},
		{"without a limit, until it is told to stop in a pause", []time.Duration{0, 0, 0, 0, 0, 0, 0}, 0, []time.Duration{s, 2 * s, 4 * s, 8 * s, 16 * s}, 40 * s, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				caught := &Signals{stop: make(chan os.Signal, 8), forward: make(chan os.Signal, 8), child: make(chan os.Signal, 8)}
				k := &fakeKernel{caught: caught, alive: map[int]bool{}, begin: time.Now(), runsFor: tt.runsFor}
				if tt.stopAt > 0 {
					time.AfterFunc(tt.stopAt, func() { caught.stop <- term })
				}
				restart := DefaultRestart(OnFailure)
				restart.Limit = tt.limit
				var pauses []time.Duration
				var ended time.Time
				code := run(Spec{Services: alone(""), Grace: 25 * s, Restart: restart}, k, caught, func(e Event) {
					switch e.(type) {
					case Exited:
						ended = time.Now()
					case Started:
						if !ended.IsZero() {
							pauses = append(pauses, time.Since(ended))
						}
					}
				})
				if code != tt.code || len(pauses) != len(tt.pauses) {
					t.Fatalf("code %d behind pauses of %v, want %d behind %v", code, pauses, tt.code, tt.pauses)
				}
				for i, want := range tt.pauses {
					if pauses[i] < want || pauses[i] > want+want/10 {
						t.Errorf("pause %d is %s, want %s and at most a tenth more", i, pauses[i], want)
					}
				}
				if took := time.Since(k.begin); tt.stopAt > 0 && took != tt.stopAt {
					t.Errorf("it ends after %s, want %s, at once", took, tt.stopAt)
				}
			})
		})
	}
}
