package chart

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
)

// outage is a server's story: a start with a process that ended, and a day later an outage that lasts.
func outage() Chart {
	begin := time.Date(2026, 11, 5, 8, 0, 0, 0, time.UTC)
	at := func(seconds int) time.Time { return begin.Add(time.Duration(seconds) * time.Second) }
	return Chart{
		Heading: "a server",
		Bars: []Bar{
			{Label: "preparing", Begin: begin, Took: 12 * time.Millisecond, Kind: "preparing"},
			{Label: "migrating", Begin: begin, Took: 11 * time.Second, Kind: "migrating", More: "then starting"},
			{Label: "starting", Begin: at(11), Took: time.Second, Kind: "starting", Note: "it ended"},
			{Label: "starting", Begin: at(13), Took: 3600 * time.Millisecond, Kind: "starting"},
			{Label: "degraded", Begin: at(86400), Took: 42 * time.Second, Kind: "degraded", Lasts: true, Note: "502 from <http://127.0.0.1:9000/-/health/ready/> & no more"},
		},
		LeftOut: 3,
	}
}

const outageText = `a server

start at 2026-11-05T08:00:00Z
  preparing 12ms ▏
  migrating  11s ████████████████████████████
  starting    1s                            ███ it ended
  starting  3.6s                                 ██████████
                 |0s         |5s          |10s        |15s

later, at 2026-11-06T08:00:00Z
  degraded 42s… ███████████████████████████████████████████
      502 from <http://127.0.0.1:9000/-/health/ready/> & no
                |0s            |15s           |30s

3 more in between are not kept
`

func TestChartIsAlignedAndNoWiderThanTheTerminal(t *testing.T) {
	var b strings.Builder
	if err := outage().Text(&b, 60); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(outageText, b.String()); diff != "" {
		t.Errorf("(-want +got):\n%s\n%s", diff, b.String())
	}
	for _, width := range []int{50, 61, 80, 133, 250} {
		b.Reset()
		if err := outage().Text(&b, width); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(b.String()) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > width {
				t.Errorf("%d columns of %d: %q", n, width, line)
			}
		}
	}
}

func TestChartOfOddTimelines(t *testing.T) {
	now := time.Now()
	many := make([]Bar, 64)
	for i := range many {
		many[i] = Bar{Label: "starting", Begin: now}
	}
	for name, bars := range map[string][]Bar{
		"none": nil, "no time": {{Label: "preparing", Begin: now}}, "many at once": many,
		"a clock that was set back": {{Label: "a", Begin: now, Took: 5 * time.Second}, {Label: "b", Begin: now.Add(-time.Hour), Took: time.Second}},
		"a year":                    {{Label: "degraded", Begin: now, Took: 365 * 24 * time.Hour}},
		"less than no time":         {{Label: "a", Begin: now, Took: -3 * time.Second}},
		"strange texts":             {{Label: "\x1b<\"&>\xff\ufffe\uffff", Kind: "\"><script>", Note: "<s>", More: "]]>", Begin: now, Took: time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			c := Chart{Bars: bars}
			for _, width := range []int{0, 1, 40, 80, 1000} {
				if err := c.Text(io.Discard, width); err != nil {
					t.Error(err)
				}
			}
			var b strings.Builder
			if err := SVG(&b, []Chart{c}); err != nil {
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

func TestPictureHasEachBar(t *testing.T) {
	c := outage()
	var b strings.Builder
	if err := SVG(&b, []Chart{c, c}); err != nil {
		t.Fatal(err)
	}
	if n := wellFormed(t, b.String()); n != 2*len(c.Bars) {
		t.Errorf("%d bars for %d", n, 2*len(c.Bars))
	}
	for _, text := range []string{">starting<", ">3.6s<", ">15s<", "prefers-color-scheme: dark", "502 from &lt;http:", ", then starting<", "3 more in between"} {
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
