package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"ak-init/health"
)

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

func TestChartIsAlignedAndNoWiderThanTheTerminal(t *testing.T) {
	s := afterwards()
	var b strings.Builder
	if err := s.chart(&b, 80); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(afterwardsText, b.String()); diff != "" {
		t.Errorf("(-want +got):\n%s\n%s", diff, b.String())
	}
	for _, width := range []int{50, 61, 80, 133, 250} {
		b.Reset()
		if err := s.chart(&b, width); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(b.String()) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > width && !strings.HasPrefix(line, "ak-init") {
				t.Errorf("%d columns of %d: %q", n, width, line)
			}
		}
	}
}

func TestChartOfOddTimelines(t *testing.T) {
	now := time.Now()
	many := make([]span, 64)
	for i := range many {
		many[i] = span{Phase: "starting", Service: "server", Begin: now, End: now}
	}
	for name, spans := range map[string][]span{
		"none": nil, "no time": {{Phase: "preparing", Begin: now, End: now}}, "many at once": many,
		"a clock that was set back": {{Phase: "a", Begin: now, Seconds: 5}, {Phase: "b", Begin: now.Add(-time.Hour), Seconds: 1}},
		"a year":                    {{Phase: "degraded", Begin: now, Seconds: 365 * 86400}},
		"less than no time":         {{Phase: "a", Begin: now, Seconds: -3}},
		"a strange phase":           {{Phase: "\x1b<\"&>\xff\ufffe\uffff", Service: "<s>", Begin: now, Seconds: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			s := status{Timeline: spans}
			for _, width := range []int{0, 1, 40, 80, 1000} {
				if err := s.chart(io.Discard, width); err != nil {
					t.Error(err)
				}
			}
			var b strings.Builder
			if err := drawSVG(&b, []status{s}); err != nil {
				t.Error(err)
			}
			wellFormed(t, b.String())
		})
	}
}

// wellFormed wants XML that names nothing from elsewhere, and gives how many bars it has.
func wellFormed(t *testing.T, svg string) (bars int) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(svg))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("no XML: %v\n%s", err, svg)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "rect" {
			bars++
		}
	}
	for _, foreign := range []string{"href", "url(", "@import", "<script"} {
		if strings.Contains(svg, foreign) {
			t.Errorf("it holds %q", foreign)
		}
	}
	return bars - 1 // without the page
}

func TestPictureHasABarForEachSpan(t *testing.T) {
	s := afterwards()
	var b strings.Builder
	if err := drawSVG(&b, []status{s, s}); err != nil {
		t.Fatal(err)
	}
	if n := wellFormed(t, b.String()); n != 2*len(s.Timeline) {
		t.Errorf("%d bars for %d spans", n, 2*len(s.Timeline))
	}
	for _, text := range []string{">server starting<", ">3.6s<", ">15s<", "prefers-color-scheme: dark", "502 from &lt;http:", "ready after 16.2s"} {
		if !strings.Contains(b.String(), text) {
			t.Errorf("no %s", text)
		}
	}
	if path := os.Getenv("AK_PICTURE"); path != "" { // to be looked at
		if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
			t.Error(err)
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

func TestMarksReadWell(t *testing.T) {
	for total, want := range map[time.Duration]string{
		0: "0s", 800 * time.Millisecond: "0s 200ms 400ms 600ms 800ms", 12 * time.Second: "0s 5s 10s",
		100 * time.Second: "0s 30s 1m 1m30s", time.Hour: "0s 15m 30m 45m 1h", 50 * 24 * time.Hour: "0s 384h 768h 1152h",
	} {
		var got []string
		for _, m := range marks(total, 5) {
			got = append(got, markText(m))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q, want %q", total, got, want)
		}
	}
}
