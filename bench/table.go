package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// table is one in Markdown, with its columns aligned for who reads it as text.
type table struct {
	title string
	head  []string
	rows  [][]string
	// notes say what is left out, and why.
	notes []string
}

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) note(format string, args ...any) {
	t.notes = append(t.notes, fmt.Sprintf(format, args...))
}

func (t *table) String() string {
	widths := make([]int, len(t.head))
	for _, row := range append([][]string{t.head}, t.rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell), 3)
		}
	}
	var s strings.Builder
	fmt.Fprintf(&s, "**%s**\n\n", t.title)
	line := func(row []string) {
		for i, cell := range row {
			space := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i == 0 {
				s.WriteString("| " + cell + space + " ")
				continue
			}
			s.WriteString("| " + space + cell + " ")
		}
		s.WriteString("|\n")
	}
	line(t.head)
	for i, width := range widths {
		right := ":"
		if i == 0 {
			right = "-"
		}
		s.WriteString("|" + strings.Repeat("-", width+1) + right)
	}
	s.WriteString("|\n")
	for _, row := range t.rows {
		line(row)
	}
	for _, note := range t.notes {
		s.WriteString("\n" + note + "\n")
	}
	return s.String()
}

// samples are the values of one candidate.
type samples []time.Duration

// quantile gives the value below which the share q of all lies; 0 is the least, 0.5 the
// median. Without values it is 0.
func (s samples) quantile(q float64) time.Duration {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

func (s samples) median() time.Duration { return s.quantile(0.5) }

func ms(d time.Duration) string { return fmt.Sprintf("%.2f", d.Seconds()*1e3) }

func us(d time.Duration) string { return fmt.Sprintf("%.1f", d.Seconds()*1e6) }

// nothing stands where a table has no value.
const nothing = "–"

// ratio is not a number where there is nothing to compare.
func ratio[N ~int64](a, b N) float64 {
	if a == 0 || b == 0 {
		return math.NaN()
	}
	return float64(a) / float64(b)
}

func times(r float64) string {
	if math.IsNaN(r) {
		return nothing
	}
	return fmt.Sprintf("%.2f", r)
}

// bound is what a value should keep to. One that does not hold is told, and no more: a
// machine has its moods.
type bound struct {
	what         string
	value, limit float64
	atLeast      bool
}

// holds also where it was not measured.
func (b bound) holds() bool {
	return math.IsNaN(b.value) || b.value >= b.limit && b.atLeast || b.value <= b.limit && !b.atLeast
}

func (b bound) String() string {
	word, verdict := "at most", "holds"
	if b.atLeast {
		word = "at least"
	}
	switch {
	case math.IsNaN(b.value):
		return fmt.Sprintf("%s: not measured (%s %s)", b.what, word, number(b.limit))
	case !b.holds():
		verdict = "DOES NOT HOLD"
	}
	return fmt.Sprintf("%s: %s (%s %s: %s)", b.what, number(b.value), word, number(b.limit), verdict)
}

// number writes a ratio with two decimals, and counts with commas.
func number(v float64) string {
	if v < 1000 {
		return strings.TrimSuffix(fmt.Sprintf("%.2f", v), ".00")
	}
	s := fmt.Sprintf("%.0f", v)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// boundsOf lists them in the order of the topics, a line each.
func boundsOf(order []topic, found map[string]finding) string {
	var s strings.Builder
	for _, t := range order {
		for _, b := range found[t.name].bounds {
			fmt.Fprintln(&s, "-", b)
		}
	}
	return cmp.Or(s.String(), "no bounds\n")
}
