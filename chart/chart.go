// Package chart draws when things were, as bars along an axis of time: as text for a terminal,
// or as an SVG picture. What the things are it does not know.
package chart

import (
	"slices"
	"strings"
	"time"
)

// Chart is one story.
type Chart struct {
	// Heading is the line above it.
	Heading string
	Bars    []Bar
	// LeftOut counts those that are no longer known.
	LeftOut int
}

// Bar is something that took time.
type Bar struct {
	Label string
	Begin time.Time
	Took  time.Duration
	// Lasts: it has not ended yet.
	Lasts bool
	// Note is a word that stands at the bar, More what a picture says as well where one points.
	Note, More string
	// Kind gives it its colour, see sheet; others are grey.
	Kind string
}

// end is where the bar ends.
func (b Bar) end() time.Time { return b.Begin.Add(b.Took) }

// time is how long it took, with an ellipsis where it still lasts.
func (b Bar) time() string {
	if b.Lasts {
		return Short(b.Took) + "…"
	}
	return Short(b.Took)
}

// Short has three digits or so: nobody reads more.
func Short(d time.Duration) string {
	switch {
	case d >= time.Minute:
		return d.Round(time.Second).String()
	case d >= 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	default:
		return d.Round(time.Millisecond).String()
	}
}

// episode is a time in which something happened: a start, or a restart or an outage later on,
// with what lay close by. Between two of them there may be months.
type episode struct {
	begin time.Time
	total time.Duration
	bars  []Bar
}

// apart is how long nothing happens between two episodes.
const apart = 10 * time.Second

// episodesOf is pure.
func episodesOf(bars []Bar) (all []episode) {
	for _, bar := range slices.SortedStableFunc(slices.Values(bars), func(a, b Bar) int { return a.Begin.Compare(b.Begin) }) {
		last := len(all) - 1
		if last < 0 || bar.Begin.After(all[last].begin.Add(all[last].total+apart)) {
			all, last = append(all, episode{begin: bar.Begin}), last+1
		}
		all[last].bars = append(all[last].bars, bar)
		all[last].total = max(all[last].total, bar.end().Sub(all[last].begin))
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

// place is where a bar lies in its episode, both ends as parts of the whole.
func (e episode) place(b Bar) (from, to float64) {
	whole := float64(max(e.total, time.Millisecond))
	return float64(b.Begin.Sub(e.begin)) / whole, float64(b.end().Sub(e.begin)) / whole
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
