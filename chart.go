package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"ak-init/health"
)

// episode is a time in which something happened: a start, or a restart or an outage later on,
// with what lay close by. Between two of them there may be months.
type episode struct {
	begin time.Time
	total time.Duration
	spans []span
}

// apart is how long nothing happens between two episodes.
const apart = 10 * time.Second

// episodesOf is pure.
func episodesOf(spans []span) (all []episode) {
	for _, s := range slices.SortedStableFunc(slices.Values(spans), func(a, b span) int { return a.Begin.Compare(b.Begin) }) {
		last := len(all) - 1
		if last < 0 || s.Begin.After(all[last].begin.Add(all[last].total+apart)) {
			all, last = append(all, episode{begin: s.Begin}), last+1
		}
		all[last].spans = append(all[last].spans, s)
		all[last].total = max(all[last].total, s.until().Sub(all[last].begin))
	}
	return all
}

// title says which episode this is.
func (e episode) title(i int) string {
	if i == 0 {
		return "start at " + e.begin.Format(time.RFC3339)
	}
	return "later, at " + e.begin.Format(time.RFC3339)
}

// place is where a span lies in its episode, both ends as parts of the whole.
func (e episode) place(s span) (from, to float64) {
	whole := float64(max(e.total, time.Millisecond))
	return float64(s.Begin.Sub(e.begin)) / whole, float64(s.until().Sub(e.begin)) / whole
}

// lasting is how long a span took, with an ellipsis where it still lasts.
func (s span) lasting() string {
	if s.End.IsZero() {
		return roundTime(s.took()) + "…"
	}
	return roundTime(s.took())
}

// fate is what became of a service that did not start as it should, or of one that did and
// left it again.
func (s span) fate() string {
	switch {
	case s.Next == phaseEnded:
		return "it ended"
	case s.Phase == string(health.Starting) && s.Next == string(health.Serving):
		return "" // whatever it was waiting for
	default:
		return s.Reason
	}
}

// steps are the distances between two marks on an axis that read well.
func steps() []time.Duration {
	var all []time.Duration
	for _, unit := range []time.Duration{time.Millisecond, 10 * time.Millisecond, 100 * time.Millisecond} {
		all = append(all, unit, 2*unit, 5*unit)
	}
	for _, s := range []int{1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400} {
		all = append(all, time.Duration(s)*time.Second)
	}
	return all
}

// marks are at most so many places on an axis of that length, the first of them 0.
func marks(total time.Duration, most int) (all []time.Duration) {
	step := 24 * time.Hour
	for _, s := range slices.Backward(steps()) {
		if int(total/s) < most {
			step = s
		}
	}
	for int(total/step) >= most { // for days
		step *= 2
	}
	for at := time.Duration(0); at <= total; at += step {
		all = append(all, at)
	}
	return all
}

// markText leaves out zeros: 2m, not 2m0s.
func markText(d time.Duration) string {
	text := d.String()
	if short, ok := strings.CutSuffix(text, "m0s"); ok {
		text = short + "m"
	}
	if short, ok := strings.CutSuffix(text, "h0m"); ok {
		text = short + "h"
	}
	return text
}

// boot is one line about the start, empty where there is nothing to say.
func (s status) boot() string {
	b := s.started()
	lasts := slices.ContainsFunc(s.Timeline, func(one span) bool {
		return one.underWay() && (one.Service == "" || one.Phase == string(health.Starting))
	})
	if !b.done && !lasts {
		return ""
	}
	return b.String()
}

func (s status) started() boot {
	var names []string
	for _, one := range s.Services {
		names = append(names, one.Name)
	}
	return bootOf(s.Timeline, names)
}

// heading is the line above a chart.
func (s status) heading() string {
	line := fmt.Sprintf("ak-init %s %s, pid %d, phase %s", s.Version, s.Command, s.PID, s.Phase)
	if b := s.started(); b.done {
		line += ", ready after " + roundTime(b.total)
	}
	return line
}

// chart draws bars, a row for each span, not wider than so many columns, or than has to be.
func (s status) chart(w io.Writer, width int) error {
	var page strings.Builder
	fmt.Fprintln(&page, s.heading())
	for i, e := range episodesOf(s.Timeline) {
		fmt.Fprintf(&page, "\n%s\n", e.title(i))
		e.draw(&page, width)
	}
	if s.TimelineLeftOut > 0 {
		fmt.Fprintf(&page, "\n%d more in between are not kept\n", s.TimelineLeftOut)
	}
	_, err := io.WriteString(w, page.String())
	return err
}

const (
	leastBar = 16 // columns
	markRoom = 10 // columns between two marks
)

// draw writes the rows and the axis below them.
func (e episode) draw(w *strings.Builder, width int) {
	labels, times := 0, 0
	for _, s := range e.spans {
		labels, times = max(labels, len(s.label())), max(times, utf8.RuneCountInString(s.lasting()))
	}
	room := max(leastBar, width-labels-times-5)
	for _, s := range e.spans {
		line := fmt.Sprintf("  %-*s %*s %s", labels, s.label(), times, s.lasting(), e.bar(s, room))
		if fate := s.fate(); fate != "" {
			line = withFate(line, fate, width)
		}
		_, _ = fmt.Fprintln(w, line)
	}
	_, _ = fmt.Fprintf(w, "  %*s %s\n", labels+times+1, "", e.axis(room))
}

// axis has a mark at each bar, its time behind it, or before it where there is no room behind.
func (e episode) axis(room int) string {
	line := []byte(strings.Repeat(" ", room))
	for _, at := range marks(e.total, max(2, room/markRoom)) {
		first, text := column(float64(at)/float64(max(e.total, 1)), room), markText(at)
		if first+1+len(text) <= room {
			copy(line[first:], "|"+text)
		} else {
			copy(line[first-len(text):], text+"|")
		}
	}
	return strings.TrimRight(string(line), " ")
}

// column is the one in which a part of the whole lies.
func column(part float64, room int) int { return min(max(int(part*float64(room)), 0), room-1) }

// bar is a span's, with room for the whole episode. What is too short for a column is thin.
func (e episode) bar(s span, room int) string {
	from, to := e.place(s)
	first := column(from, room)
	n := int(to*float64(room)+0.5) - first
	if n < 1 {
		return strings.Repeat(" ", first) + "▏"
	}
	return strings.Repeat(" ", first) + strings.Repeat("█", min(n, room-first))
}

// withFate adds a word behind a bar, or in the next line, as far as there is room.
func withFate(line, fate string, width int) string {
	indent := "\n      "
	if free := width - utf8.RuneCountInString(line) - 1; free >= utf8.RuneCountInString(fate) {
		return line + " " + fate
	}
	runes := []rune(fate)
	return line + indent + string(runes[:min(len(runes), max(width-len(indent)+1, leastBar))])
}
