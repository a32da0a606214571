package health

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestJudge(t *testing.T) {
	refused := errors.New("connection refused")
	tests := []struct {
		name                 string
		seen                 seen
		phase                Phase
		live, ready, started bool
	}{
		{"nothing runs yet: live, so that nobody restarts it", seen{}, Preparing, true, false, false},
		{"it boots or migrates", seen{running: true, probe: refused}, Starting, true, false, false},
		{"it answers", seen{running: true, wasReady: true}, Serving, true, true, true},
		{"it has just stopped answering", seen{running: true, wasReady: true, probe: refused, failing: time.Second}, Degraded, true, false, true},
		{"it has not answered for the threshold", seen{running: true, wasReady: true, probe: refused, failing: Threshold}, Degraded, false, false, false},
		{"an orderly stop is never shot", seen{running: true, wasReady: true, stopping: true}, Stopping, true, false, true},
		{"it has died, and what it left is being ended", seen{ended: true, wasReady: true}, Stopping, true, false, true},
		{"a stop while it boots", seen{running: true, stopping: true}, Stopping, true, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for q, want := range map[Question]bool{Live: tt.live, Ready: tt.ready, Started: tt.started} {
				tt.seen.threshold = Threshold
				a := judge(q, tt.seen)
				if a.Healthy != want || a.Phase != tt.phase {
					t.Errorf("%s: %t in phase %s, want %t in %s", q, a.Healthy, a.Phase, want, tt.phase)
				}
				if !a.Healthy && a.Reason == "" {
					t.Errorf("%s: no without a reason", q)
				}
			}
		})
	}
}

// service is one whose answers the test decides, and which counts how often it was asked.
type service struct {
	live, ready, seen error
	asked             int
	turns             []Turn
}

func (s *service) monitor() *Monitor {
	return NewMonitor("server", Probes{
		Live:  func() error { s.asked++; return s.live },
		Ready: func() error { s.asked++; return s.ready },
		Watch: func(int) Look { return Look{Ill: s.seen} },
	}, func(c Change) { s.turns = append(s.turns, c.Turn) })
}

func TestMonitorOverTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := errors.New("no answer")
		s := &service{live: down, ready: down}
		m := s.monitor()
		expect := func(q Question, healthy bool, phase Phase) {
			t.Helper()
			if a := m.Answer(q); a.Healthy != healthy || a.Phase != phase {
				t.Fatalf("%s: %t, %s (%s), want %t, %s", q, a.Healthy, a.Phase, a.Reason, healthy, phase)
			}
		}
		expect(Live, true, Preparing)
		if s.asked != 0 {
			t.Errorf("asked a service that does not run")
		}
		m.Running(1)
		expect(Started, false, Starting)
		time.Sleep(10 * time.Minute) // migrations: bubble time
		expect(Live, true, Starting)

		s.live, s.ready = nil, nil
		time.Sleep(shareFor)
		expect(Started, true, Serving)
		expect(Ready, true, Serving)

		// The database is gone: not ready, and live for as long as it lasts.
		s.ready = errors.New("503")
		time.Sleep(time.Hour)
		expect(Ready, false, Degraded)
		expect(Live, true, Degraded)
		time.Sleep(time.Hour)
		if a := m.Answer(Live); !a.Healthy || a.Phase != Degraded || a.Reason != "not ready 1h0m0s ago: 503" {
			t.Errorf("live, where nobody has asked for ready since: %+v", a)
		}
		s.ready = nil
		expect(Ready, true, Serving)
		expect(Live, true, Serving)
		s.ready = errors.New("503")
		time.Sleep(time.Hour)
		expect(Ready, false, Degraded)

		// It hangs: live until the threshold is over.
		s.live, s.ready = down, down
		time.Sleep(time.Hour)
		expect(Live, true, Degraded)
		time.Sleep(Threshold - time.Second)
		expect(Live, true, Degraded)
		time.Sleep(time.Second)
		expect(Live, false, Degraded)
		expect(Started, false, Degraded)

		// Nobody asked for hours: one bad answer is not long dead.
		time.Sleep(time.Hour)
		expect(Live, true, Degraded)

		// It is back.
		s.live, s.ready = nil, nil
		time.Sleep(time.Second)
		expect(Live, true, Serving)

		m.Stopping()
		expect(Live, true, Stopping)
		expect(Ready, false, Stopping)

		if want := []Turn{BecameReady, Unready, Recovered, Unready, Faltered, Died, Recovered}; !slices.Equal(s.turns, want) {
			t.Errorf("told %v, want %v", s.turns, want)
		}
	})
}

// What its processes show counts before it has ever been ready, where its silence does not.
func TestProcessesThatShowThatItWillNeverBeReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{ready: errors.New("502"), seen: errors.New("gunicorn ends and is started again")}
		m := s.monitor()
		m.Running(1)
		for range 30 {
			if a := m.Answer(Live); !a.Healthy || a.Phase != Starting {
				t.Fatalf("before the threshold: %+v", a)
			}
			time.Sleep(time.Second)
		}
		a := m.Answer(Live)
		if a.Healthy || a.Phase != Starting || !strings.Contains(a.Reason, "gunicorn") {
			t.Errorf("behind the threshold: %+v", a)
		}
		if !slices.Equal(s.turns, []Turn{Died}) {
			t.Errorf("told %v, want only that it is not live", s.turns)
		}
		s.seen = nil
		time.Sleep(time.Second)
		if a := m.Answer(Live); a.Healthy != true || a.Phase != Starting {
			t.Errorf("when its processes are well again it only boots: %+v", a)
		}
	})
}

// Processes that are not well make an answer of 200 no yes.
func TestAnswerOfAServiceWhoseProcessesAreNotWell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{}
		m := s.monitor()
		m.Running(1)
		m.Answer(Ready)
		s.seen = errors.New("process 7 is stopped")
		for range 4 {
			time.Sleep(10 * time.Second)
			m.Answer(Ready)
		}
		for q, phase := range map[Question]Phase{Live: Degraded, Ready: Degraded, Started: Degraded} {
			if a := m.Answer(q); a.Healthy || a.Phase != phase || !strings.Contains(a.Reason, "stopped, for 30s") {
				t.Errorf("%s: %+v", q, a)
			}
		}
		if want := []Turn{BecameReady, Faltered, Died}; !slices.Equal(s.turns, want) {
			t.Errorf("told %v, want %v", s.turns, want)
		}
	})
}

func TestAskersInACrowdCostOneProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{}
		m := s.monitor()
		m.Running(1)
		for range 100 {
			m.Answer(Ready)
		}
		if s.asked != 1 {
			t.Errorf("100 askers cost %d probes, want 1", s.asked)
		}
		time.Sleep(shareFor)
		m.Answer(Ready)
		if s.asked != 2 {
			t.Errorf("an answer was kept too long: %d probes, want 2", s.asked)
		}
	})
}

// Kubernetes asks both questions at the same moment, and gives each one second, in which ak-init
// also looks at the service's processes.
func TestNobodyWaitsForMoreThanOneProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hangs := false
		probe := func() error {
			if hangs {
				time.Sleep(ProbeTimeout)
				return errors.New("no answer in time")
			}
			return nil
		}
		looks := 0
		watch := func(int) Look {
			if looks++; hangs { // as behind a thousand others' processes
				time.Sleep(ProbeTimeout)
			}
			return Look{}
		}
		m := NewMonitor("server", Probes{Live: probe, Ready: probe, Watch: watch}, nil)
		m.Running(1)
		m.Answer(Ready)
		hangs = true
		time.Sleep(time.Minute)
		begin := time.Now()
		var askers sync.WaitGroup
		for _, q := range []Question{Live, Ready, Started, Live, Ready} {
			askers.Go(func() {
				a := m.Answer(q)
				if took := time.Since(begin); took > ProbeTimeout || a.Healthy == (q == Ready) {
					t.Errorf("%s: %t after %s", q, a.Healthy, took)
				}
			})
		}
		askers.Wait()
		if looks != 2 {
			t.Errorf("%d looks, want one for the first question and one for the crowd", looks)
		}
	})
}

// What hangs for ever, be it in the kernel, holds nobody up and is not begun a second time. A
// look that hangs ends no service that answers, a probe that hangs does so as silence would.
func TestWhatHangsHoldsNobodyUp(t *testing.T) {
	for name, test := range map[string]struct{ probeHangs, watchHangs bool }{
		"a look":  {watchHangs: true},
		"a probe": {probeHangs: true},
		"both":    {probeHangs: true, watchHangs: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hung := make(chan struct{})
				defer close(hung)
				var hangs atomic.Bool
				var probes, looks atomic.Int32
				probe := func() error {
					if probes.Add(1); hangs.Load() && test.probeHangs {
						<-hung
					}
					return nil
				}
				watch := func(int) Look {
					if looks.Add(1); hangs.Load() && test.watchHangs {
						<-hung
					}
					return Look{}
				}
				m := NewMonitor("server", Probes{Live: probe, Ready: func() error { return nil }, Watch: watch}, nil)
				m.Running(1)
				m.Answer(Ready)
				hangs.Store(true)
				probes.Store(0)
				looks.Store(0)
				for range 10 {
					time.Sleep(Threshold / 5)
					begin := time.Now()
					a := m.Answer(Live)
					if took := time.Since(begin); took > AnswerTimeout {
						t.Errorf("an answer took %s", took)
					}
					if !test.probeHangs && !a.Healthy {
						t.Errorf("%+v", a)
					}
				}
				if a := m.Answer(Live); a.Healthy == test.probeHangs || test.probeHangs && !strings.Contains(a.Reason, errLate.Error()) {
					t.Errorf("at last: %+v", a)
				}
				if a := m.Answer(Ready); test.watchHangs && (a.Healthy || !strings.Contains(a.Reason, errLate.Error())) {
					t.Errorf("ready: %+v", a)
				}
				if p, l := probes.Load(), looks.Load(); test.probeHangs && p > 1 || test.watchHangs && l > 1 {
					t.Errorf("%d probes and %d looks at a time", p, l)
				}
			})
		})
	}
}

// What the ready question alone is about says nothing of whether it lives.
func TestProcessesThatShowThatItIsNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		look := Look{Unready: errors.New("nobody listens on port 9000")}
		m := NewMonitor("worker", Probes{Live: func() error { return nil }, Ready: func() error { return nil }, Watch: func(int) Look { return look }}, nil)
		m.Running(1)
		if a := m.Answer(Live); !a.Healthy || a.Phase != Starting || !strings.Contains(a.Reason, "nobody listens") {
			t.Errorf("before it was ready: %+v", a)
		}
		look.Unready = nil
		time.Sleep(shareFor)
		m.Answer(Ready)
		look.Unready = errors.New("nobody listens on port 9000")
		time.Sleep(time.Hour)
		if a := m.Answer(Ready); a.Healthy || !strings.Contains(a.Reason, "nobody listens") {
			t.Errorf("ready: %+v", a)
		}
		if a := m.Answer(Live); !a.Healthy || a.Phase != Degraded || a.Reason != "not ready 0s ago: nobody listens on port 9000" {
			t.Errorf("live: %+v", a)
		}
	})
}

func TestAnswerOnTheWire(t *testing.T) {
	for _, a := range []Answer{
		{Healthy: true, Service: "server", Phase: Serving},
		{Service: "worker", Phase: Degraded, Reason: "connection refused: 127.0.0.1:9000, for 31s now"},
	} {
		got, err := parseAnswer(a.line())
		if err != nil || got != a {
			t.Errorf("%q is read as %+v, %v; want %+v", a.line(), got, err, a)
		}
	}
	long := Answer{Service: "server", Phase: Degraded, Reason: fmt.Sprintf("%2000s\n\r", "x")}
	if line := long.line(); len(line) > maxAnswer || line[len(line)-1] != '\n' {
		t.Errorf("a long reason makes a line of %d bytes", len(line))
	}
}

func FuzzWire(f *testing.F) {
	f.Add("live\n")
	f.Add("no server degraded: x\n")
	f.Add("no " + strings.Repeat("r", maxAnswer) + " ready: x\n")
	f.Fuzz(func(t *testing.T, line string) {
		if a, err := parseAnswer(line); err == nil {
			if _, err := parseAnswer(a.line()); err != nil {
				t.Errorf("%q gives %+v, which cannot be said again: %v", line, a, err)
			}
		}
		if q, err := parseQuestion(line); err == nil && q != Live && q != Ready && q != Started {
			t.Errorf("%q is taken for the question %q", line, q)
		}
	})
}
