package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"ak-init/authentik"
	"ak-init/health"
	"ak-init/notify"
	"ak-init/supervise"
)

// followed is a course of one server, which answers as it is told, with the real monitor
// between them. Nothing runs.
type followed struct {
	*course
	ledger *ledger
	// wrong is what the server answers.
	wrong  atomic.Pointer[string]
	probes atomic.Int64
	// read and written are the ends of its log.
	read, written *os.File
}

func follow(t *testing.T, p plan) *followed {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	f := &followed{read: r, written: w}
	f.course = newCourse(p, time.Now(), newLogger(options{logFormat: "json", logLevel: "info"}, w), nil)
	f.ledger = &ledger{course: f.course}
	answer := func() error {
		f.probes.Add(1)
		if wrong := f.wrong.Load(); *wrong != "" {
			return errors.New(*wrong)
		}
		return nil
	}
	for _, s := range p.Services {
		monitor := health.NewMonitor(s.Name, health.Probes{Live: answer, Ready: answer}, f.turned)
		f.ledger.services = append(f.ledger.services, &account{name: s.Name, migrates: s.migrates, exits: map[exitWay]int{}, monitor: monitor})
	}
	f.ask = f.ledger.answer
	return f
}

func (f *followed) answers(what string) { f.wrong.Store(&what) }

func (f *followed) happens(e supervise.Event) {
	f.ledger.event(e)
	f.event(e)
}

// lines are what has been logged, as "EVENT ROLE FOR REASON" or "ready TOTAL".
func (f *followed) lines(t *testing.T) (all []string) {
	t.Helper()
	synctest.Wait()
	f.log.Close()
	_ = f.written.Close()
	for lines := bufio.NewScanner(f.read); lines.Scan(); {
		one := map[string]any{}
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			t.Fatal(err)
		}
		var words []string
		for _, key := range []string{"event", "role", "for", "reason", "total", "preparing", "migrating", "server_starting"} {
			if word, ok := one[key].(string); ok {
				words = append(words, word)
			}
		}
		all = append(all, strings.Join(words, " "))
	}
	return all
}

func serverPlan() plan {
	return plan{Command: "server", Services: []servicePlan{{process: process{Name: "server"}, Health: healthPlan{Live: "/live", Ready: "/ready"}}}}
}

func TestAStartIsFollowedAndThenNothingIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follow(t, serverPlan())
		f.answers("connection refused")
		time.Sleep(2 * time.Second)
		f.happens(step(authentik.MigrateName))
		time.Sleep(40 * time.Second)
		if f.probes.Load() != 0 {
			t.Error("somebody was asked before anything was started")
		}
		f.happens(stepOver(authentik.MigrateName))
		f.happens(supervise.Started{Command: supervise.Command{Name: "server"}, PID: 7})
		time.Sleep(64*time.Second + 100*time.Millisecond)
		f.answers("")
		time.Sleep(time.Second)
		asked := f.probes.Load()
		if asked < 60 || asked > 75 {
			t.Errorf("asked %d times in 65 s of starting", asked)
		}
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if n := f.probes.Load(); n != asked {
			t.Errorf("asked %d times more when all was ready", n-asked)
		}

		f.happens(supervise.Exited{Command: supervise.Command{Name: "server"}, PID: 7})
		f.happens(rests("server"))
		time.Sleep(time.Minute)
		if n := f.probes.Load(); n != asked {
			t.Errorf("asked %d times while it rests", n-asked)
		}
		f.happens(supervise.Started{Command: supervise.Command{Name: "server"}, PID: 8})
		time.Sleep(10 * time.Second)
		if n := f.probes.Load() - asked; n != 1 {
			t.Errorf("asked %d times after a restart, want once: it answers", n)
		}
		want := []string{
			"still migrating migrating 30s",
			"still starting server 30s connection refused", "still starting server 1m0s connection refused",
			"service ready server", "ready 1m47s 2s 40s 1m5s", "service ready server",
		}
		if got := f.lines(t); !slices.Equal(got, want) {
			t.Errorf("said %q, want %q", got, want)
		}
	})
}

func TestAStopEndsTheWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follow(t, serverPlan())
		f.answers("connection refused")
		f.happens(supervise.Started{Command: supervise.Command{Name: "server"}, PID: 7})
		time.Sleep(3 * time.Second)
		f.happens(supervise.StopBegun{})
		asked := f.probes.Load()
		time.Sleep(time.Minute)
		if n := f.probes.Load(); n != asked || asked == 0 {
			t.Errorf("asked %d times, and %d times more behind the stop", asked, n-asked)
		}
		if got := f.lines(t); len(got) > 0 {
			t.Errorf("said %q", got)
		}
	})
}

func TestAProgramOfWhichNothingIsKnownIsNotAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, p := range []process{{Name: "sleep"}, {Name: authentik.MigrateName}, {Name: authentik.MigrateName, migrates: true}} {
			name := p.Name
			f := follow(t, plan{Command: "run", Services: []servicePlan{{process: p}}})
			f.answers("")
			f.happens(supervise.Started{Command: supervise.Command{Name: name}, PID: 7})
			time.Sleep(35 * time.Second)
			if f.probes.Load() != 0 {
				t.Errorf("%s was asked", name)
			}
			f.happens(supervise.Exited{Command: supervise.Command{Name: name}, PID: 7})
			var want []string
			if p.migrates {
				want = []string{"still migrating migrate 30s"}
			}
			if got := f.lines(t); !slices.Equal(got, want) {
				t.Errorf("%s: said %q, want %q", name, got, want)
			}
		}
	})
}

// Who waits for PostgreSQL says so itself.
func TestTheWaitHasLinesOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := serverPlan()
		p.Database.Program = "/ak-init-database"
		f := follow(t, p)
		wait := step(authentik.WaitName)
		wait.Command.Path = p.Database.Program
		f.happens(wait)
		time.Sleep(100 * time.Second)
		f.happens(stepOver(authentik.WaitName))
		f.happens(step(authentik.WaitName)) // authentik's own
		time.Sleep(31 * time.Second)
		f.happens(stepOver(authentik.WaitName))
		if got, want := f.lines(t), []string{"still waiting for the database waiting-for-database 30s"}; !slices.Equal(got, want) {
			t.Errorf("said %q, want %q", got, want)
		}
	})
}

func TestWatchdogIsFedWhileLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follow(t, serverPlan())
		var times atomic.Int64
		m := managed(t, func(lines ...string) error {
			times.Add(1)
			if !slices.Equal(lines, []string{notify.Alive}) {
				t.Errorf("said %q", lines)
			}
			return nil
		})
		m.interval = 10 * time.Second
		stop := make(chan struct{})
		go m.watchdog(f.ledger.answer, stop)
		fed := func(over time.Duration) int64 {
			time.Sleep(over)
			synctest.Wait()
			return times.Swap(0)
		}
		time.Sleep(time.Second) // past the ticks
		if n := fed(100 * time.Second); n != 11 {
			t.Errorf("fed %d times before anything was started", n)
		}
		f.answers("connection refused")
		f.happens(supervise.Started{Command: supervise.Command{Name: "server"}, PID: 7})
		if n := fed(100 * time.Second); n != 10 {
			t.Errorf("fed %d times while it starts", n)
		}
		f.answers("")
		if n := fed(100 * time.Second); n != 10 {
			t.Errorf("fed %d times when ready", n)
		}
		f.answers("it hangs")
		if n := fed(100 * time.Second); n != 3 { // until it has hung for health.Threshold
			t.Errorf("fed %d times while it hangs, want 3", n)
		}
		f.answers("")
		if n := fed(100 * time.Second); n != 10 {
			t.Errorf("fed %d times when it answers again", n)
		}
		f.happens(supervise.StopBegun{})
		if n := fed(100 * time.Second); n != 10 {
			t.Errorf("fed %d times while it stops", n)
		}
		close(stop)
		m.close()
		f.lines(t)
	})
}

// managed is a manager with another way to tell.
func managed(t *testing.T, tell func(lines ...string) error) *manager {
	t.Helper()
	m := &manager{messages: make(chan []string, unsent), tell: tell, over: make(chan struct{}), sent: make(chan struct{})}
	log, _ := logTo(t)
	t.Cleanup(log.Close)
	go m.send(log) // ends by close
	return m
}

// A service manager that is busy for long misses some of what is said, but for what it waits
// for.
func TestReadyIsSaidUntilItIsHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused, full := errors.New("refused"), fmt.Errorf("wrapped: %w", unix.EAGAIN)
		var fault atomic.Pointer[error]
		fault.Store(&refused)
		var heard []string
		m := managed(t, func(lines ...string) error {
			if err := *fault.Load(); err != nil {
				time.Sleep(5 * time.Second)
				return err
			}
			heard = append(heard, lines...)
			return nil
		})
		m.say(notify.Status("hangs"))
		synctest.Wait()
		for i := range 2 * unsent {
			m.say(notify.Status(fmt.Sprint(i)))
			m.owe(&m.alive)
		}
		m.sayReady() // there is no room
		time.Sleep(time.Second)
		if n := len(m.messages); n != unsent {
			t.Errorf("%d messages wait, want %d", n, unsent)
		}
		time.Sleep(7 * time.Second) // READY=1 was under way, and failed
		fault.Store(&full)
		time.Sleep(time.Hour)
		if n := len(m.messages); n > 1 {
			t.Errorf("%d messages wait", n)
		}
		fault.Store(new(error))
		time.Sleep(5 * time.Second)
		m.say(notify.Status("later"))
		synctest.Wait()
		m.close()
		if want := []string{notify.Ready, notify.Status("later")}; !slices.Equal(heard, want) {
			t.Errorf("heard %q, want %q", heard, want)
		}
	})
}

// What was said of being live while nobody listened is said once.
func TestALiveOneIsNotSaidToBeSoTwiceAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var heard [][]string
		m := managed(t, func(lines ...string) error {
			time.Sleep(5 * time.Second)
			heard = append(heard, lines)
			return nil
		})
		m.say(notify.Status("slow"))
		synctest.Wait()
		for range 2 * unsent {
			m.owe(&m.alive)
		}
		m.say(notify.Status("news"))
		time.Sleep(time.Minute)
		m.close()
		if want := [][]string{{notify.Status("slow")}, {notify.Alive}, {notify.Status("news")}}; !slices.EqualFunc(heard, want, slices.Equal) {
			t.Errorf("heard %q, want %q", heard, want)
		}
	})
}
