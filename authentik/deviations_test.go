package authentik_test

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// differences are what was done and is not wanted, a line each, and the other way round.
func differences(want, got outcome) []string {
	var lines []string
	argvs := func(all []started) (argvs []string) {
		for _, s := range all {
			argvs = append(argvs, s.argv)
		}
		return argvs
	}
	pairs, missing, more := align(argvs(want.runs), argvs(got.runs))
	for _, i := range missing {
		lines = append(lines, "does not run: "+want.runs[i].argv)
	}
	for _, i := range more {
		lines = append(lines, "runs: "+got.runs[i].argv)
	}
	for _, pair := range pairs {
		w, g := want.runs[pair[0]], got.runs[pair[1]]
		for _, line := range w.differences(g) {
			lines = append(lines, w.argv+": "+line)
		}
	}
	for _, line := range want.left {
		if !slices.Contains(got.left, line) {
			lines = append(lines, "does not leave: "+line)
		}
	}
	for _, line := range got.left {
		if !slices.Contains(want.left, line) {
			lines = append(lines, "leaves: "+line)
		}
	}
	if want.exit != got.exit {
		lines = append(lines, fmt.Sprintf("exit code %d, not %d", got.exit, want.exit))
	}
	return lines
}

// align finds what two lists have in common, in the same order: the longest such, as diff does.
func align(a, b []string) (pairs [][2]int, onlyA, onlyB []int) {
	common := make([][]int, len(a)+1) // of a[i:] and b[j:]
	for i := range common {
		common[i] = make([]int, len(b)+1)
	}
	for i, inA := range slices.Backward(a) {
		for j, inB := range slices.Backward(b) {
			common[i][j] = max(common[i+1][j], common[i][j+1])
			if inA == inB {
				common[i][j] = common[i+1][j+1] + 1
			}
		}
	}
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			pairs = append(pairs, [2]int{i, j})
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && common[i+1][j] >= common[i][j+1]:
			onlyA = append(onlyA, i)
			i++
		default:
			onlyB = append(onlyB, j)
			j++
		}
	}
	return pairs, onlyA, onlyB
}

func (s started) differences(got started) []string {
	var lines []string
	for _, one := range [][3]string{
		{"in directory", s.cwd, got.cwd}, {"is", s.who, got.who}, {"finds the mode file with", s.mode, got.mode}, {"hears", s.hears, got.hears},
	} {
		if one[1] != one[2] {
			lines = append(lines, fmt.Sprintf("%s %q, not %q", one[0], one[2], one[1]))
		}
	}
	names := maps.Clone(s.env)
	maps.Copy(names, got.env)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		want, wanted := s.env[name]
		value, set := got.env[name]
		switch {
		case want == "?":
		case wanted && !set:
			lines = append(lines, name+" is not set")
		case set && !wanted:
			lines = append(lines, "has "+name+"="+value)
		case want != value && want != "*":
			lines = append(lines, fmt.Sprintf("has %s=%s, not %s", name, value, want))
		}
	}
	return lines
}

// deviations is the table of docs/deviations.md: what differs on purpose, and has been seen to.
type deviations struct {
	rows []*deviation
	mu   sync.Mutex
	// begun and ended count rows of the behaviour's table: those not ended were not tried.
	begun, ended atomic.Int32
}

// deviation is one line of it, in one form that it takes.
type deviation struct {
	pattern string
	regexp  *regexp.Regexp
	seen    bool
}

// readDeviations takes the code spans of the second column: a difference as this test prints it,
// with * for anything, behind "ak WORDS: " where it is for these words alone.
func readDeviations(t *testing.T) *deviations {
	t.Helper()
	text, err := os.ReadFile("../docs/deviations.md")
	must(t, err)
	var d deviations
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		if !strings.HasPrefix(line, "|") || len(cells) != 3 {
			continue
		}
		for _, span := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cells[1], -1) {
			form := strings.ReplaceAll(regexp.QuoteMeta(span[1]), `\*`, ".*")
			d.rows = append(d.rows, &deviation{pattern: span[1], regexp: regexp.MustCompile("^(?:" + form + ")$")})
		}
	}
	if len(d.rows) == 0 {
		t.Fatal("docs/deviations.md has no table")
	}
	return &d
}

// has tells whether a difference is in the table, and notes that it was seen.
func (d *deviations) has(command, line string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	found := false
	for _, one := range d.rows {
		if one.regexp.MatchString(line) || one.regexp.MatchString(command+": "+line) {
			found, one.seen = true, true
		}
	}
	return found
}

func (d *deviations) unseen() []string {
	var all []string
	for _, one := range d.rows {
		if !one.seen {
			all = append(all, one.pattern)
		}
	}
	return all
}
