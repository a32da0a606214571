package chart

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// A picture's measures, in pixels.
const (
	pictureWidth = 960
	margin       = 28
	barsLeft     = 216 // labels end a little before
	barsRight    = 812 // behind it is room for times
	rowHeight    = 28
	barHeight    = 16
	leastPixels  = 2   // a bar's
	letterWidth  = 7.2 // about, at 13 pixels
	gap          = 8   // between a bar and its text
	// A text that needs a line of its own has so many letters at most.
	captionLetters = (pictureWidth - margin - barsLeft) / 7
	captionHeight  = 16
)

// sheet is all that a picture needs to be drawn: no font and no sheet is fetched. It
// goes with a reader's light or dark background.
const sheet = `
text { font: 13px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1c2430 }
.page { fill: #ffffff }
.head { font-size: 19px; font-weight: 600 }
.title { font-weight: 600 }
.soft { fill: #5c6778 }
.label { text-anchor: end }
.mark { text-anchor: middle; font-size: 12px; fill: #5c6778 }
.left { text-anchor: end }
.grid { stroke: #e2e6ed; stroke-width: 1 }
.axis { stroke: #9aa4b3; stroke-width: 1 }
.bar { fill: #8b95a5 }
.waiting-for-database { fill: #dd8a1c }
.migrating { fill: #8458c9 }
.bootstrap { fill: #17938a }
.starting { fill: #2a78d6 }
.degraded { fill: #d0433f }
.resting { fill: #b78a3c }
.lasts { opacity: .6 }
@media (prefers-color-scheme: dark) {
  text { fill: #e5e9f0 }
  .page { fill: #12161d }
  .soft, .mark { fill: #9aa5b5 }
  .grid { stroke: #272e39 }
  .axis { stroke: #5b6675 }
  .waiting-for-database { fill: #f0a545 }
  .migrating { fill: #a884e8 }
  .bootstrap { fill: #3cb9ae }
  .starting { fill: #5a9df0 }
  .degraded { fill: #ef6b66 }
  .resting { fill: #d3aa5f }
}
`

// escaped is text that is none of XML's markup, and holds nothing that XML cannot.
func escaped(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case r < ' ':
			return ' '
		case r == '\ufffe' || r == '\uffff':
			return '?'
		default:
			return r
		}
	}, strings.ToValidUTF8(text, "?"))
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;").Replace(text)
}

// picture is drawn from the top down.
type picture struct {
	strings.Builder
	y int
}

// text writes a line at x; y is its middle.
func (p *picture) text(class string, x float64, y int, text string) {
	_, _ = fmt.Fprintf(p, "<text class=%q x=\"%.1f\" y=\"%d\" dy=\"0.35em\">%s</text>\n", class, x, y, escaped(text))
}

func (p *picture) line(class string, x1 float64, y1 int, x2 float64, y2 int) {
	_, _ = fmt.Fprintf(p, "<line class=%q x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\"/>\n", class, x1, y1, x2, y2)
}

// SVG draws charts as one picture, one below the other.
func SVG(w io.Writer, all []Chart) error {
	var names []string
	body := &picture{y: margin}
	for _, c := range all {
		names = append(names, c.Heading)
		body.chart(c)
	}
	title := escaped(strings.Join(names, "; "))
	_, err := fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" width="%[1]d" height="%[2]d" viewBox="0 0 %[1]d %[2]d" role="img" aria-label="%[3]s">
<title>%[3]s</title>
<style>%[4]s</style>
<rect class="page" width="%[1]d" height="%[2]d"/>
%[5]s</svg>
`, pictureWidth, body.y, title, sheet, body.String())
	return err
}

func (p *picture) chart(c Chart) {
	p.text("head", margin, p.y+4, c.Heading)
	p.y += 34
	for i, e := range episodesOf(c.Bars) {
		p.text("title", margin, p.y, e.title(i))
		p.y += 20
		p.episode(e)
	}
	if c.LeftOut > 0 {
		p.text("soft", margin, p.y, fmt.Sprintf("%d more in between are not kept", c.LeftOut))
		p.y += rowHeight
	}
}

func (p *picture) episode(e episode) {
	top, bottom := p.y, p.y
	for _, b := range e.bars {
		bottom += rowHeight
		if e.captioned(b) {
			bottom += captionHeight
		}
	}
	for _, at := range marks(e.total, 9) {
		x := across(float64(at) / float64(max(e.total, 1)))
		p.line("grid", x, top, x, bottom)
		p.text("mark", x, bottom+14, markText(at))
	}
	p.line("axis", barsLeft, bottom, barsRight, bottom)
	for _, b := range e.bars {
		p.bar(e, b)
	}
	p.y += 46
}

// across is where a part of the whole lies.
func across(part float64) float64 { return barsLeft + part*(barsRight-barsLeft) }

// ends are where a bar begins and ends.
func (e episode) ends(b Bar) (left, right float64) {
	from, to := e.place(b)
	left = across(from)
	return left, max(across(to), left+leastPixels)
}

// caption is the text at a bar, in full.
func (b Bar) caption() string {
	if b.Note != "" {
		return b.time() + ", " + b.Note
	}
	return b.time()
}

// beside tells whether there is room for a text behind a bar, or before it.
func beside(left, right float64, text string) (behind, before bool) {
	length := gap + letterWidth*float64(utf8.RuneCountInString(text))
	return right+length <= pictureWidth-margin, left-length >= barsLeft
}

// captioned tells whether a bar's text needs a line of its own.
func (e episode) captioned(b Bar) bool {
	left, right := e.ends(b)
	behind, before := beside(left, right, b.caption())
	return !behind && !before && b.Note != ""
}

func (p *picture) bar(e episode, b Bar) {
	middle := p.y + rowHeight/2
	left, right := e.ends(b)
	class := "bar " + escaped(b.Kind)
	if b.Lasts {
		class += " lasts"
	}
	p.text("label", barsLeft-14, middle, b.Label)
	_, _ = fmt.Fprintf(p, "<rect class=%q x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\" rx=\"%.1f\"><title>%s</title></rect>\n",
		class, left, middle-barHeight/2, right-left, barHeight, min(3, (right-left)/2), escaped(b.story()))
	p.y += rowHeight
	behind, before := beside(left, right, b.caption())
	switch {
	case behind:
		p.text("time", right+gap, middle, b.caption())
	case before:
		p.text("left", left-gap, middle, b.caption())
	default: // the time alone always has room
		p.text("time", right+gap, middle, b.time())
	}
	if e.captioned(b) {
		note := []rune(b.Note)
		p.text("soft", barsLeft, p.y+4, string(note[:min(len(note), captionLetters)]))
		p.y += captionHeight
	}
}

// story is all that is known of a bar.
func (b Bar) story() string {
	text := fmt.Sprintf("%s, %s from %s", b.Label, b.time(), b.Begin.Format(time.RFC3339))
	if b.More != "" {
		text += ", " + b.More
	}
	return text
}
