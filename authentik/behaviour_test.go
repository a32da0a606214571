package authentik_test

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// behaviour is testdata/behaviour.yaml, which says what its fields mean.
type behaviour struct {
	Everywhere, Dropping []part
	Rows                 []row
}

// part is what many rows have in common.
type part struct {
	Name, Releases, Who string
	Runs                []program
	Env, Left           []string
}

type row struct {
	What, Releases, As   string
	OwnRoot              bool `yaml:"own_root"`
	With, There, Without []string
	Ends, Says           map[string]string
	Ak, Mode             string
	Runs                 []program
	Drops                bool
	Left                 []string
	Exit                 int
}

type program struct {
	Run, Who, Hears string
	Env             []string
}

func readBehaviour(t *testing.T) behaviour {
	t.Helper()
	text, err := os.ReadFile("testdata/behaviour.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var b behaviour
	if err := yaml.UnmarshalWithOptions(text, &b, yaml.Strict()); err != nil {
		t.Fatal(yaml.FormatError(err, false, true))
	}
	return b
}

// outcome is what was done, or is to be.
type outcome struct {
	runs []started
	left []string
	exit int
}

// started is one program as it was started.
type started struct {
	argv, cwd, who, mode, hears string
	env                         map[string]string
}

// expect gives what a row wants of a release in a place.
func (b behaviour) expect(r row, release string, p place) outcome {
	want := outcome{exit: r.Exit}
	common := of(b.Everywhere, release, func(one part) bool { return !slices.Contains(r.Without, one.Name) })
	for _, one := range common {
		want.runs = append(want.runs, p.programs(r, one.Runs, common, "")...)
	}
	want.runs = append(want.runs, p.programs(r, r.Runs, common, r.Mode)...)
	lines := [][]string{r.Left} // of two lines on one path the first counts
	if r.Drops && p.uid == 0 {
		dropping := of(b.Dropping, release, func(part) bool { return true })
		last := len(want.runs) - 1
		for _, one := range dropping {
			if r.Runs[len(r.Runs)-1].Who == "" && one.Who != "" {
				want.runs[last].who = one.Who
			}
			p.set(r, want.runs[last].env, one.Env)
			lines = append(lines, one.Left)
		}
	}
	for _, one := range common {
		lines = append(lines, one.Left)
	}
	said := map[string]bool{}
	for _, line := range slices.Concat(lines...) {
		path, _, _ := strings.Cut(strings.TrimPrefix(line, "changed "), " ")
		if path = strings.TrimSuffix(path, ":"); !said[path] {
			said[path] = true
			want.left = append(want.left, strings.ReplaceAll(p.expandOf(r, line), "//", "/"))
		}
	}
	slices.Sort(want.left)
	return want
}

// of chooses the parts that hold for a release.
func of(parts []part, release string, holds func(part) bool) []part {
	return slices.DeleteFunc(slices.Clone(parts), func(one part) bool { return !among(one.Releases, release) || !holds(one) })
}

func (p place) programs(r row, programs []program, common []part, mode string) []started {
	var all []started
	for _, one := range programs {
		s := started{argv: p.expand(one.Run), cwd: p.expand("{root}/"), who: one.Who, mode: mode, hears: one.Hears, env: p.environment(r)}
		if s.cwd != "/" {
			s.cwd = strings.TrimSuffix(s.cwd, "/")
		}
		if s.who == "" {
			s.who = p.who()
		}
		if there, ok := there(r, "{tmpdir}/authentik-mode"); ok && mode == "" {
			s.mode = there
		}
		for _, c := range common {
			if c.Runs == nil {
				p.setMissing(r, s.env, c.Env)
			}
		}
		p.set(r, s.env, one.Env)
		all = append(all, s)
	}
	return all
}

// there is what a file holds before.
func there(r row, path string) (content string, ok bool) {
	for _, line := range r.There {
		if name, content, ok := strings.Cut(line, " "); ok && name == path {
			return content, true
		}
	}
	return "", false
}

func (p place) set(r row, env map[string]string, pairs []string) {
	for _, pair := range pairs {
		name, value, _ := strings.Cut(pair, "=")
		env[name] = p.expandOf(r, value)
	}
}

// expandOf knows {metrics} as well.
func (p place) expandOf(r row, text string) string {
	if !strings.Contains(text, "{metrics}") {
		return p.expand(text)
	}
	env := p.environment(r)
	metrics := cmp.Or(env["PROMETHEUS_MULTIPROC_DIR"], cmp.Or(env["TMPDIR"], "/tmp")+"/authentik_prometheus_tmp")
	return p.expand(strings.ReplaceAll(text, "{metrics}", metrics))
}

// setMissing leaves what the row gives.
func (p place) setMissing(r row, env map[string]string, pairs []string) {
	p.set(r, env, slices.DeleteFunc(slices.Clone(pairs), func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		return slices.ContainsFunc(r.With, func(with string) bool { return strings.HasPrefix(with, name+"=") })
	}))
}

// among tells whether a release is in a range such as "2025.2.0 - 2025.4.1", either end of which
// may be left out.
func among(releases, release string) bool {
	first, last, ok := strings.Cut(" "+releases+" ", " - ")
	if !ok {
		return strings.TrimSpace(releases) == "" || numbers(releases)[0] != 0 && slices.Equal(numbers(releases), numbers(release))
	}
	first, last = strings.TrimSpace(first), strings.TrimSpace(last)
	return (first == "" || slices.Compare(numbers(first), numbers(release)) <= 0) &&
		(last == "" || slices.Compare(numbers(release), numbers(last)) <= 0)
}

func numbers(release string) []int {
	var all []int
	for word := range strings.SplitSeq(strings.TrimSpace(release), ".") {
		n, _ := strconv.Atoi(word)
		all = append(all, n)
	}
	return all
}

// words splits a command line at spaces, but for words in quotes (Go's).
func words(line string) ([]string, error) {
	var all []string
	for {
		line = strings.TrimLeft(line, " ")
		if line == "" {
			return all, nil
		}
		if line[0] != '"' {
			word, rest, _ := strings.Cut(line, " ")
			all, line = append(all, word), rest
			continue
		}
		quoted, err := strconv.QuotedPrefix(line)
		if err != nil {
			return nil, fmt.Errorf("words of %s: %w", line, err)
		}
		word, err := strconv.Unquote(quoted)
		if err != nil {
			return nil, err
		}
		all, line = append(all, word), line[len(quoted):]
	}
}

// quoted is the other way round.
func quoted(argv []string) string {
	all := slices.Clone(argv)
	for i, word := range all {
		if word == "" || strings.ContainsAny(word, " \"\n") {
			all[i] = strconv.Quote(word)
		}
	}
	return strings.Join(all, " ")
}

// list gives a map as the recorder takes it.
func list(m map[string]string, expand func(string) string) string {
	var all []string
	for _, pattern := range slices.SortedFunc(maps.Keys(m), func(a, b string) int { return len(b) - len(a) }) {
		all = append(all, expand(pattern)+":"+m[pattern])
	}
	return strings.Join(all, ";")
}

func TestWordsOfTheTable(t *testing.T) {
	for _, r := range readBehaviour(t).Rows {
		var errs []error
		for _, line := range []string{r.Ak, r.What} {
			argv, err := words(line)
			errs = append(errs, err)
			if again, _ := words(quoted(argv)); !slices.Equal(again, argv) {
				t.Errorf("%s: %q becomes %q", r.What, argv, again)
			}
		}
		for _, one := range r.Runs {
			if argv, err := words(one.Run); err != nil || quoted(argv) != one.Run {
				errs = append(errs, fmt.Errorf("%s is not how it is printed: %s, %w", one.Run, quoted(argv), err))
			}
		}
		if err := errors.Join(errs...); err != nil {
			t.Errorf("%s: %v", r.What, err)
		}
		if r.As != "" && r.As != "user" && r.As != "root" {
			t.Errorf("%s: as %q", r.What, r.As)
		}
	}
	for releases, holds := range map[string]bool{
		"": true, "2025.4.0 - 2025.6.4": true, "- 2025.4.1": false, "2025.10.0 -": false, "2025.4.2 -": true, "- 2025.4.2": true,
	} {
		if among(releases, "2025.4.2") != holds {
			t.Errorf("2025.4.2 is in %q: %t, want %t", releases, !holds, holds)
		}
	}
}
