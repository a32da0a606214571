package chart

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Text draws a row for each bar, not wider than so many columns, or than has to be.
func (c Chart) Text(w io.Writer, width int) error {
	var page strings.Builder
	fmt.Fprintln(&page, c.Heading)
	for i, e := range episodesOf(c.Bars) {
		fmt.Fprintf(&page, "\n%s\n", e.title(i))
		e.draw(&page, width)
	}
	if c.LeftOut > 0 {
		fmt.Fprintf(&page, "\n%d more in between are not kept\n", c.LeftOut)
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
	for _, b := range e.bars {
		labels, times = max(labels, utf8.RuneCountInString(b.Label)), max(times, utf8.RuneCountInString(b.time()))
	}
	room := max(leastBar, width-labels-times-5)
	for _, b := range e.bars {
		line := fmt.Sprintf("  %-*s %*s %s", labels, b.Label, times, b.time(), e.bar(b, room))
		if b.Note != "" {
			line = withNote(line, b.Note, width)
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

// bar is one of them, with room for the whole episode. What is too short for a column is thin.
func (e episode) bar(b Bar, room int) string {
	from, to := e.place(b)
	first := column(from, room)
	n := int(to*float64(room)+0.5) - first
	if n < 1 {
		return strings.Repeat(" ", first) + "▏"
	}
	return strings.Repeat(" ", first) + strings.Repeat("█", min(n, room-first))
}

// withNote adds a word behind a bar, or in the next line, as far as there is room.
func withNote(line, note string, width int) string {
	indent := "\n      "
	if free := width - utf8.RuneCountInString(line) - 1; free >= utf8.RuneCountInString(note) {
		return line + " " + note
	}
	runes := []rune(note)
	return line + indent + strings.TrimRight(string(runes[:min(len(runes), max(width-len(indent)+1, leastBar))]), " ")
}
