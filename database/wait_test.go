package database

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"ak-init/testdata/postgres"
)

// script is a server that does one thing after another, each from some time on.
type script struct {
	from  time.Duration
	cause Cause // welcome: it lets in
}

// play waits for a server that follows a script, with attempts that take no time. It
// gives how long that took, the events, when it was asked, and what Wait gave.
func play(t *testing.T, p Policy, steps ...script) (took time.Duration, events []Event, asked []time.Duration, err error) {
	t.Helper()
	begun := time.Now()
	p.probe = func(_ context.Context, s Settings) (State, error) {
		now := time.Since(begun)
		asked = append(asked, now)
		cause := Other
		for _, step := range steps {
			if now >= step.from {
				cause = step.cause
			}
		}
		switch cause {
		case welcome:
			return State{Version: 150018}, nil
		case ReadOnly:
			return State{Version: 150018, InRecovery: true, ReadOnly: true}, nil
		default:
			return State{}, s.fault(cause, "said", nil)
		}
	}
	p.jitter = func(d time.Duration) time.Duration { return d }
	_, err = Wait(t.Context(), Settings{Host: "db", User: "u", Name: "d"}, p, func(e Event) { events = append(events, e) })
	return time.Since(begun), events, asked, err
}

func seconds(n float64) time.Duration { return time.Duration(n * float64(time.Second)) }

func TestWaitOverTime(t *testing.T) {
	t.Run("it asks at once, and then less and less often", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			took, _, asked, err := play(t, DefaultPolicy(), script{0, Refused}, script{seconds(7), welcome})
			want := []time.Duration{0, seconds(0.1), seconds(0.3), seconds(0.7), seconds(1.5), seconds(3.1), seconds(5.1), seconds(7.1)}
			if err != nil || !slices.Equal(asked, want) || took != seconds(7.1) {
				t.Errorf("%v after %s; asked at %v, want %v", err, took, asked, want)
			}
		})
	})
	t.Run("a passing cause is borne to the end", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			took, events, _, err := play(t, DefaultPolicy(), script{0, Refused})
			tell(t, err, Refused, "said, after 5m0s of trying; start PostgreSQL there")
			if took != 5*time.Minute {
				t.Errorf("took %s", took)
			}
			if len(events) < 25 || len(events) > 30 {
				t.Errorf("%d events in five minutes, want one in ten seconds", len(events))
			}
			for i, e := range events[1:] {
				if e.Waited-events[i].Waited < 10*time.Second || e.Left != 5*time.Minute-e.Waited {
					t.Errorf("event at %s with %s left, the one before at %s", e.Waited, e.Left, events[i].Waited)
				}
			}
		})
	})
	t.Run("a permanent one for ten seconds", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			took, events, _, err := play(t, DefaultPolicy(), script{0, WrongPassword})
			tell(t, err, WrongPassword, "after 10s of trying")
			if took != 10*time.Second || len(events) != 1 || events[0].Left != 10*time.Second {
				t.Errorf("took %s, events %v", took, events)
			}
		})
	})
	t.Run("an init job that makes role and database while we wait", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			took, events, _, err := play(t, DefaultPolicy(), script{0, Refused}, script{seconds(60), WrongPassword}, script{seconds(68), NoDatabase}, script{seconds(76), welcome})
			if err != nil || took < seconds(76) || took > seconds(78) {
				t.Errorf("%v after %s", err, took)
			}
			var causes []Cause
			for _, e := range events {
				if len(causes) == 0 || causes[len(causes)-1] != e.Err.Cause {
					causes = append(causes, e.Err.Cause)
				}
			}
			if !slices.Equal(causes, []Cause{Refused, WrongPassword, NoDatabase}) {
				t.Errorf("told of %v", causes)
			}
		})
	})
	t.Run("settings that cannot be right are not waited for", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			took, events, asked, err := play(t, DefaultPolicy(), script{0, Malformed})
			tell(t, err, Malformed)
			if took != 0 || len(events) != 0 || len(asked) != 1 {
				t.Errorf("took %s, events %v, asked %v", took, events, asked)
			}
		})
	})
	t.Run("a standby that is promoted", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, events, _, err := play(t, DefaultPolicy(), script{0, ReadOnly}, script{seconds(20), welcome})
			if err != nil || len(events) < 2 || events[0].Err.Cause != ReadOnly {
				t.Errorf("%v, events %v", err, events)
			}
		})
	})
	t.Run("two causes that take turns do not fill the log", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var steps []script
			for i := range 600 {
				steps = append(steps, script{time.Duration(i) * time.Second / 2, []Cause{Refused, TimedOut}[i%2]})
			}
			_, events, asked, _ := play(t, DefaultPolicy(), steps...)
			if len(events) > 60 || len(asked) < 100 {
				t.Errorf("%d events of %d attempts", len(events), len(asked))
			}
		})
	})
	t.Run("no wait is one attempt", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			took, events, asked, err := play(t, Policy{}, script{0, Refused})
			tell(t, err, Refused)
			if took != 0 || len(events) != 0 || len(asked) != 1 {
				t.Errorf("took %s, events %v, asked %v", took, events, asked)
			}
		})
	})
}

// A password that is changed while we wait is taken as it is then.
func TestWaitReadsItsSettingsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := DefaultPolicy()
		p.Again = func() Settings { return Settings{Password: "new"} }
		var tried []string
		p.probe = func(_ context.Context, s Settings) (State, error) {
			tried = append(tried, s.Password)
			if s.Password == "old" {
				return State{}, s.fault(WrongPassword, "no", nil)
			}
			return State{Version: 150018}, nil
		}
		if _, err := Wait(t.Context(), Settings{Password: "old"}, p, nil); err != nil || !slices.Equal(tried, []string{"old", "new"}) {
			t.Errorf("%v after %q", err, tried)
		}
	})
}

func TestWaitEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stop := errors.New("TERM")
		ctx, cancel := context.WithCancelCause(t.Context())
		begun := time.Now()
		time.AfterFunc(42*time.Second, func() { cancel(stop) })
		p := DefaultPolicy()
		p.probe = func(ctx context.Context, s Settings) (State, error) {
			select { // a black hole
			case <-ctx.Done():
			case <-time.After(5 * time.Second):
			}
			return State{}, s.fault(TimedOut, "no answer", nil)
		}
		if _, err := Wait(ctx, Settings{}, p, nil); !errors.Is(err, stop) || time.Since(begun) != 42*time.Second {
			t.Errorf("%v after %s", err, time.Since(begun))
		}
	})
	t.Run("between two attempts", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			p := DefaultPolicy()
			p.probe = func(_ context.Context, s Settings) (State, error) { return State{}, s.fault(Refused, "no", nil) }
			if _, err := Wait(ctx, Settings{}, p, nil); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
		})
	})
}

func TestJitter(t *testing.T) {
	for range 1000 {
		if d := halfJitter(time.Second); d < time.Second/2 || d > time.Second {
			t.Fatalf("%s of a second", d)
		}
	}
}

// The whole of it with a real server, which starts while we wait.
func TestWaitForAServerThatStarts(t *testing.T) {
	s := start(t, nil)
	s.admin(t)
	s.Stop()
	waited := make(chan error, 1)
	told := make(chan Event, 10)
	go func() {
		state, err := Wait(t.Context(), s.settings(), DefaultPolicy(), func(e Event) { told <- e })
		if err == nil && state.Version < 100000 {
			err = errors.New("no version")
		}
		waited <- err
	}()
	if e := <-told; e.Err.Cause != Refused {
		t.Errorf("told of %v", e.Err)
	}
	s.Run(t, postgres.As(s.Cmd.Path, s.Cmd.Args[1:]...))
	if err := <-waited; err != nil {
		t.Error(err)
	}
	nothingRuns(t)
}
