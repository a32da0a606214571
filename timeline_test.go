package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"ak-init/authentik"
	"ak-init/chart"
	"ak-init/health"
	"ak-init/supervise"
)

// epoch is when the timelines of these tests begin.
func epoch() time.Time { return time.Date(2026, 11, 5, 8, 0, 0, 0, time.UTC) }

func after(seconds float64) time.Time {
	return epoch().Add(time.Duration(seconds * float64(time.Second)))
}

// told is an event, or a turn, at a time.
type told struct {
	at   float64
	what any
}

func step(name string) supervise.Started {
	return supervise.Started{Command: supervise.Command{Name: name, Path: "/" + name}, Step: true}
}

func stepOver(name string) supervise.Exited {
	return supervise.Exited{Command: supervise.Command{Name: name}, Step: true}
}

func up(name string) supervise.Started {
	return supervise.Started{Command: supervise.Command{Name: name}}
}

func down(name string) supervise.Exited {
	return supervise.Exited{Command: supervise.Command{Name: name}}
}

// aside are events of what runs beside.
func aside(e supervise.Event) supervise.Event {
	switch e := e.(type) {
	case supervise.Started:
		e.Aside = true
		return e
	case supervise.Exited:
		e.Aside = true
		return e
	case supervise.RestartScheduled:
		e.Aside = true
		return e
	default:
		return e
	}
}

func rests(name string) supervise.RestartScheduled {
	return supervise.RestartScheduled{Command: supervise.Command{Name: name}}
}

func turns(name string, turn health.Turn, reason string) health.Change {
	return health.Change{Service: name, Turn: turn, Reason: reason}
}

// timelineOf tells all of it to a timeline.
func timelineOf(phases map[string]string, all []told) *timeline {
	var t timeline
	t.turn("", string(health.Preparing), epoch())
	for _, one := range all {
		switch what := one.what.(type) {
		case health.Change:
			t.turned(what, after(one.at))
		case supervise.Event:
			t.event(what, phases, after(one.at))
		}
	}
	return &t
}

func TestTimeline(t *testing.T) {
	server := map[string]string{"server": "starting"}
	both := map[string]string{"server": "starting", "worker": "starting"}
	tests := []struct {
		name   string
		phases map[string]string
		all    []told
		// spans are at 100 s; boot is of the services in phases that can be asked.
		spans, boot string
	}{
		{
			"a start with every step", server,
			[]told{
				{1, step(authentik.WaitName)}, {2, stepOver(authentik.WaitName)}, {2, aside(up("watch-migrations"))}, {2, step(authentik.MigrateName)},
				{5, stepOver(authentik.MigrateName)}, {5, step("bootstrap")}, {6, stepOver("bootstrap")}, {6, up("server")},
				{7, aside(down("watch-migrations"))}, {10, turns("server", health.BecameReady, "")},
			},
			"preparing 0-1 waiting-for-database, waiting-for-database 1-2 , migrating 2-5 , bootstrap 5-6 , server starting 6-10 ready",
			"ready after 10s: preparing 1s, waiting-for-database 1s, migrating 3s, bootstrap 1s, server starting 4s",
		},
		{
			"no steps: preparing lasts until the service runs", server, []told{{0.5, up("server")}},
			"preparing 0-0.5 , server starting 0.5-",
			"not ready after 1m40s: preparing 500ms, server starting 1m40s",
		},
		{
			"a companion that is started again is nobody's affair, even one that is called as the service is", server,
			[]told{
				{1, aside(up("server"))}, {2, up("server")}, {3, aside(down("server"))}, {3, aside(rests("server"))}, {4, aside(up("server"))},
				{6, turns("server", health.BecameReady, "")},
			},
			"preparing 0-2 , server starting 2-6 ready",
			"ready after 6s: preparing 2s, server starting 4s",
		},
		{
			"a service that needs two attempts", server,
			[]told{
				{1, up("server")}, {3, down("server")}, {3, rests("server")}, {4, up("server")}, {6, turns("server", health.BecameReady, "")},
				{20, turns("server", health.Unready, "the database")}, {30, turns("server", health.Recovered, "")},
			},
			"preparing 0-1 , server starting 1-3 ended, server resting 3-4 starting, server starting 4-6 ready, server degraded 20-30 ready (the database)",
			"ready after 6s: preparing 1s, server starting 5s",
		},
		{
			"one that is not well before it was ever ready goes on starting", server,
			[]told{{1, up("server")}, {40, turns("server", health.Died, "no gunicorn")}, {50, turns("server", health.Recovered, "")}},
			"preparing 0-1 , server starting 1-50 ready (no gunicorn)",
			"ready after 50s: preparing 1s, server starting 49s",
		},
		{
			"two services: the later one counts", both,
			[]told{{1, up("server")}, {1, up("worker")}, {9, turns("worker", health.BecameReady, "")}, {5, turns("server", health.BecameReady, "")}},
			"preparing 0-1 , server starting 1-5 ready, worker starting 1-9 ready",
			"ready after 9s: preparing 1s, server starting 4s, worker starting 8s",
		},
		{
			"one of two is not ready", both,
			[]told{{1, up("server")}, {1, up("worker")}, {9, turns("worker", health.BecameReady, "")}},
			"preparing 0-1 , server starting 1-, worker starting 1-9 ready",
			"not ready after 1m40s: preparing 1s, server starting 1m39s, worker starting 8s",
		},
		{
			"a stop during the migrations", server,
			[]told{{1, step(authentik.MigrateName)}, {4, supervise.StopBegun{}}, {6, stepOver(authentik.MigrateName)}, {6, supervise.Swept{}}},
			"preparing 0-1 migrating, migrating 1-4 stopping, stopping 4-",
			"not ready after 4s: preparing 1s, migrating 3s",
		},
		{
			"a stop while it starts", server,
			[]told{{1, up("server")}, {4, supervise.StopBegun{}}, {6, down("server")}},
			"preparing 0-1 , server starting 1-4 stopping, stopping 4-",
			"not ready after 4s: preparing 1s, server starting 3s",
		},
		{
			"a service that ends by itself, and leaves some behind", server,
			[]told{{1, up("server")}, {2, turns("server", health.BecameReady, "")}, {6, down("server")}, {6, supervise.Swept{}}},
			"preparing 0-1 , server starting 1-2 ready, stopping 6-",
			"ready after 2s: preparing 1s, server starting 1s",
		},
		{
			"a program of which nothing is known", map[string]string{"sleep": phaseRunning},
			[]told{{1, up("sleep")}, {4, down("sleep")}, {4, rests("sleep")}, {5, up("sleep")}, {6, turns("sleep", health.BecameReady, "")}},
			"preparing 0-1 , sleep resting 4-5 running", "not ready after 1s: preparing 1s",
		},
		{
			"migrations alone", map[string]string{authentik.MigrateName: "migrating"}, []told{{1, up(authentik.MigrateName)}, {4, down(authentik.MigrateName)}},
			"preparing 0-1 , migrate migrating 1-4 ended", "not ready after 1s: preparing 1s",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			spans := timelineOf(tt.phases, tt.all).snapshot(after(100))
			if got := spanText(spans); got != tt.spans {
				t.Errorf("spans:\n%s, want\n%s", got, tt.spans)
			}
			var services []string
			for _, name := range []string{"server", "worker"} {
				if tt.phases[name] != "" {
					services = append(services, name)
				}
			}
			if got := bootOf(spans, services).String(); got != tt.boot {
				t.Errorf("start:\n%s, want\n%s", got, tt.boot)
			}
		})
	}
}

// spanText is "LABEL BEGIN-END NEXT (REASON)" of each, in seconds.
func spanText(spans []span) string {
	var all []string
	for _, s := range spans {
		end, reason := "", ""
		if !s.End.IsZero() {
			end = fmt.Sprintf("%g %s", s.End.Sub(epoch()).Seconds(), s.Next)
		}
		if s.Reason != "" {
			reason = " (" + s.Reason + ")"
		}
		all = append(all, fmt.Sprintf("%s %g-%s%s", s.label(), s.Begin.Sub(epoch()).Seconds(), end, reason))
	}
	return strings.Join(all, ", ")
}

// A service that ends again and again must not fill the memory, nor the reply, and what lasts
// is never forgotten.
func TestTimelineIsBounded(t *testing.T) {
	phases := map[string]string{"server": "starting", "worker": "starting"}
	line := timelineOf(phases, []told{{1, up("server")}, {2, turns("server", health.BecameReady, "")}, {3, turns("server", health.Unready, "x")}})
	before := spanText(line.snapshot(after(3)))
	const rounds = 1000
	for i := range rounds {
		at := after(10 + float64(i))
		line.event(up("worker"), phases, at)
		line.because("worker", strings.Repeat("ü", 4000))
		line.event(down("worker"), phases, at)
	}
	spans := line.snapshot(after(2000))
	if len(spans) != firstSpans+lastSpans || line.leftOut != rounds+3-len(spans) {
		t.Errorf("%d spans, %d left out", len(spans), line.leftOut)
	}
	if got := spanText(spans); !strings.HasPrefix(got, before) || spans[len(spans)-1].Begin != after(10+rounds-1) {
		t.Error("the first or the last are not kept")
	}
	raw, err := json.Marshal(spans)
	if err != nil || len(raw) > 32<<10 {
		t.Errorf("%d bytes, %v", len(raw), err)
	}
	// One that lasts, and is in the middle by now.
	line = timelineOf(phases, nil)
	for i := range rounds {
		line.event(up("worker"), phases, after(float64(i)))
		line.event(down("worker"), phases, after(float64(i)))
		if i == 40 {
			line.turned(turns("server", health.Unready, ""), after(40))
		}
	}
	if line.open("server") == nil {
		t.Error("an outage that lasts is forgotten")
	}
}

// setClock is the same moment by a clock that was set by so much. There is no other way to have
// one: a time's two readings are not given out (time/time.go, Time).
func setClock(t *testing.T, at time.Time, by time.Duration) time.Time {
	t.Helper()
	other := at
	(*struct{ wall uint64 })(unsafe.Pointer(&other)).wall += uint64(by/time.Second) << 30
	if other.Sub(at) != 0 || other.Round(0).Sub(at.Round(0)) != by {
		t.Fatalf("%v is not %v by another clock", other, at)
	}
	return other
}

// A machine that boots may have its clock set while services start.
func TestTimelineWhenTheClockIsSet(t *testing.T) {
	for _, by := range []time.Duration{time.Hour, -time.Hour} {
		begun := time.Now()
		at := func(seconds int) time.Time { return begun.Add(time.Duration(seconds) * time.Second) }
		set := func(seconds int) time.Time { return setClock(t, at(seconds), by) }
		var line timeline
		server := map[string]string{"server": "starting"}
		line.turn("", string(health.Preparing), begun)
		line.event(step(authentik.MigrateName), server, at(1))
		line.event(stepOver(authentik.MigrateName), server, set(4))
		line.event(up("server"), server, set(4))
		line.turned(turns("server", health.BecameReady, ""), set(10))
		spans := line.snapshot(set(20))
		const want = "ready after 10s: preparing 1s, migrating 3s, server starting 6s"
		if got := bootOf(spans, []string{"server"}).String(); got != want {
			t.Errorf("set by %s: %s, want %s", by, got, want)
		}
		for i, s := range spans {
			if !s.End.Equal(s.until()) || i > 0 && !s.Begin.Equal(spans[i-1].End) {
				t.Errorf("set by %s: %+v", by, spans)
			}
		}
		if want := begun.Round(0).Add(by).UTC().Truncate(time.Millisecond); spans[0].Begin != want {
			t.Errorf("set by %s: begun at %s, want %s", by, spans[0].Begin, want)
		}
	}
}

func TestTimelineInJSON(t *testing.T) {
	line := timelineOf(map[string]string{"server": "starting"}, []told{{1.5, up("server")}})
	line.because("server", "connection refused")
	raw, err := json.Marshal(line.snapshot(after(4)))
	if err != nil {
		t.Fatal(err)
	}
	const want = `[{"phase":"preparing","begin":"2026-11-05T08:00:00Z","end":"2026-11-05T08:00:01.5Z","seconds":1.5},` +
		`{"phase":"starting","service":"server","begin":"2026-11-05T08:00:01.5Z","seconds":2.5,"reason":"connection refused"}]`
	if diff := cmp.Diff(want, string(raw)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWhenToLook(t *testing.T) {
	server := map[string]string{"server": "starting"}
	ready := turns("server", health.BecameReady, "")
	tests := []struct {
		name string
		all  []told
		at   float64
		want time.Duration
	}{
		{"while it prepares nobody waits", nil, 100, 0},
		{"a step that has just begun", []told{{10, step("bootstrap")}}, 10, 30 * time.Second},
		{"a step after 70 s", []told{{10, step("bootstrap")}}, 80, 20 * time.Second},
		{"a service that has just begun", []told{{1, up("server")}}, 1, 250 * time.Millisecond},
		{"after 1 s", []told{{1, up("server")}}, 2, 500 * time.Millisecond},
		{"after 10 s", []told{{1, up("server")}}, 11.2, time.Second},
		{"the line after 30 s is in time", []told{{1, up("server")}}, 30.7, 300 * time.Millisecond},
		{"ready", []told{{1, up("server")}, {2, ready}}, 3, 0},
		{"degraded", []told{{1, up("server")}, {2, ready}, {3, turns("server", health.Died, "")}}, 4, 0},
		{"resting", []told{{1, up("server")}, {2, ready}, {3, down("server")}, {3, rests("server")}}, 3, 0},
		{"started again", []told{{1, up("server")}, {2, ready}, {3, down("server")}, {3, rests("server")}, {4, up("server")}}, 4, 250 * time.Millisecond},
		{"stopping", []told{{1, up("server")}, {2, supervise.StopBegun{}}}, 2, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := timelineOf(server, tt.all).nextLook(after(tt.at)); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

// afterwards is a server's story: a start with every part, and a day later an outage that lasts.
func afterwards() status {
	at := func(seconds float64) time.Time {
		return time.Date(2026, 11, 5, 8, 0, 0, 0, time.UTC).Add(time.Duration(seconds * float64(time.Second)))
	}
	past := func(phase, service string, begin, end float64, next string) span {
		return span{Phase: phase, Service: service, Begin: at(begin), End: at(end), Seconds: end - begin, Next: next}
	}
	const day = 86400
	return status{
		PID: 1, Version: "0.1.0", Command: "server", Phase: health.Degraded, UptimeSeconds: day + 42,
		Services: []serviceStatus{{Name: "server", Phase: health.Degraded}},
		Timeline: []span{
			past("preparing", "", 0, 0.012, "waiting-for-database"),
			past("waiting-for-database", "", 0.012, 2.1, "migrating"),
			past("migrating", "", 2.1, 9.4, "bootstrap"),
			past("bootstrap", "", 9.4, 10.6, ""),
			past("starting", "server", 10.6, 11.6, "ended"),
			past("resting", "server", 11.6, 12.6, "starting"),
			past("starting", "server", 12.6, 16.2, "ready"),
			{Phase: "degraded", Service: "server", Begin: at(day), Seconds: 42, Reason: "502 from <http://127.0.0.1:9000/-/health/ready/> & no more"},
		},
	}
}

const afterwardsText = `ak-init 0.1.0 server, pid 1, phase degraded, ready after 16.2s

start at 2026-11-05T08:00:00Z
  preparing             12ms ▏
  waiting-for-database 2.09s ██████
  migrating             7.3s       ███████████████████████
  bootstrap             1.2s                              ████
  server starting         1s                                 ████ it ended
  server resting          1s                                    ████
  server starting       3.6s                                       ████████████
                             |0s            |5s            |10s            |15s

later, at 2026-11-06T08:00:00Z
  server degraded 42s… ████████████████████████████████████████████████████████
      502 from <http://127.0.0.1:9000/-/health/ready/> & no more
                       |0s          |10s         |20s          |30s      40s|
`

func TestStatusIsCharted(t *testing.T) {
	var b strings.Builder
	if err := afterwards().charted().Text(&b, 80); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(afterwardsText, b.String()); diff != "" {
		t.Errorf("(-want +got):\n%s\n%s", diff, b.String())
	}
	b.Reset()
	if err := chart.SVG(&b, []chart.Chart{afterwards().charted()}); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		`class="bar waiting-for-database"`, `class="bar degraded lasts"`, "ready after 16.2s",
		"server starting, 1s from 2026-11-05T08:00:10Z, then ended<", "42s… from 2026-11-06T08:00:00Z, 502 from",
	} {
		if !strings.Contains(b.String(), text) {
			t.Errorf("no %s in\n%s", text, b.String())
		}
	}
}

func TestStatusSaysHowFarAStartIs(t *testing.T) {
	now := time.Now()
	done := span{Phase: "preparing", Begin: now, End: now.Add(time.Second), Seconds: 1}
	lasts := func(phase, service string) span {
		return span{Phase: phase, Service: service, Begin: now.Add(time.Second), Seconds: 2}
	}
	ready := lasts("starting", "server")
	ready.End, ready.Next = now.Add(3*time.Second), "ready"
	for name, tt := range map[string]struct {
		service string
		spans   []span
		want    string
	}{
		"a step":                  {"server", []span{done, lasts("migrating", "")}, "not ready after 3s: preparing 1s, migrating 2s"},
		"a service":               {"server", []span{done, lasts("starting", "server")}, "not ready after 3s: preparing 1s, server starting 2s"},
		"ready":                   {"server", []span{done, ready}, "ready after 3s: preparing 1s, server starting 2s"},
		"an outage":               {"server", []span{done, ready, lasts("degraded", "server")}, "ready after 3s: preparing 1s, server starting 2s"},
		"migrations alone":        {"migrate", []span{done, lasts("migrating", "migrate")}, ""},
		"a program":               {"sleep", []span{done}, ""},
		"an ak-init without such": {"server", nil, ""},
	} {
		s := status{Services: []serviceStatus{{Name: tt.service}}, Timeline: tt.spans}
		if got := s.boot(); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}
