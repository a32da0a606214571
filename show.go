package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"ak-init/prepare"
)

// show prints the plan: for people as a table, where the reason stands in brackets behind
// the value, for programs as JSON.
func show(p plan, output string, w io.Writer) error {
	if output == "json" {
		return writeJSON(w, p)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(what, value, why string) {
		if why != "" {
			value += " (" + why + ")"
		}
		_, _ = fmt.Fprintln(t, what+"\t"+value) // t keeps the first error
	}
	showSurroundings(row, p)
	if p.Database.Left != "" {
		row("PostgreSQL", "left to authentik", p.Database.Left)
	}
	if p.Companion != nil {
		showProcess(row, *p.Companion)
	}
	for _, s := range p.Steps {
		showProcess(row, s)
	}
	for _, s := range p.Services {
		showService(row, s)
	}
	for _, line := range p.Signals.lines() {
		row("signals", line, "")
	}
	row("restart", string(p.Restart.Policy), "")
	row("grace period", p.GracePeriod, "stop delay "+p.StopDelay+", live threshold "+p.LiveThreshold)
	if p.Socket != "" {
		row("asked through", p.Socket, "")
	}
	showFindings(row, p, warning)
	return t.Flush()
}

// writeJSON is for programs, and for people who read it all the same.
func writeJSON(w io.Writer, value any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(value)
}

func showFindings(row rows, p plan, s state) {
	for _, f := range p.Findings {
		if f.State == s {
			row(string(s), oneLine(f), f.Check)
		}
	}
}

// rows writes one row: what it is, its value, and why.
type rows func(what, value, why string)

// showSurroundings is what all children share.
func showSurroundings(row rows, p plan) {
	row("command", p.Command, "")
	if p.Layout.Root != "" {
		row("release", p.Release, "authentik "+p.Layout.Version)
		row("layout", p.Layout.Kind+" in "+p.Layout.Root, "it holds "+strings.Join(p.Layout.Evidence, ", "))
		if programs := p.Layout.Programs; programs.Row != "" && p.Layout.Unknown == "" {
			row("programs", programs.Row, strings.Join(programs.Evidence, ", "))
		}
	}
	row("run as", p.Identity.String(), "")
	if p.TempDir.Path != "" {
		row("TMPDIR", p.TempDir.Path, p.TempDir.Origin)
	}
	for _, v := range p.Environment {
		row("set", v.Name+"="+v.Value, v.Origin)
	}
	for _, name := range p.Unset {
		row("unset", name, "")
	}
	for _, d := range p.Directories {
		row("directory", d.Path, d.For+", "+how(d))
	}
	showTidying(row, p)
}

func showTidying(row rows, p plan) {
	for _, s := range p.Services {
		if s.StalePIDFile != "" {
			row("remove", s.StalePIDFile, "if an earlier run left it")
		}
	}
	for _, l := range p.Leftovers {
		for _, pattern := range slices.Concat(l.Sockets, l.PIDFiles) {
			row("remove", path.Join(l.Dir, pattern), "if an earlier run left it")
		}
		if l.Metrics != "" {
			row("remove", path.Join(l.Metrics, "*.db"), "metric files of earlier runs, where no other instance is about")
		}
	}
	for _, t := range p.Trees {
		why := t.For + ", ownership: " + string(p.FixOwnership)
		if t.ReadOnly {
			why = t.For + ", only read"
		}
		row("tree", t.Path, why)
	}
	if b := p.Blueprints; b != nil {
		row("copy", b.From+" into "+b.Into, b.For)
	}
	if p.openFiles > 0 {
		row("descriptors", strconv.FormatUint(p.openFiles, 10), "the limit was lower")
	}
}

func showProcess(row rows, c process) {
	why := c.Path
	if c.Optional {
		why += ", its failure is ignored"
	}
	if c.Aside {
		why += ", beside what follows"
	}
	if c.bare {
		why += ", beside all that follows, without their environment"
	}
	row(c.Name, quoted(c.Argv), why)
	for _, v := range c.Environment {
		row("", "with "+v.Name+"="+v.Value, v.Origin)
	}
}

func showService(row rows, s servicePlan) {
	showProcess(row, s.process)
	if s.ModeFile != "" {
		row("mode file", s.ModeFile, "")
	}
	if s.Drain != "" {
		row("stop", s.Drain+" finishes first", "")
	}
	switch at := s.Health.Addresses; {
	case len(at) == 0:
	case path.IsAbs(at[0]):
		row("health", "http://localhost"+s.Health.Ready, "at "+at[0])
	default:
		row("health", "http://"+at[0]+s.Health.Ready, "")
	}
}

func how(d prepare.Dir) string {
	switch {
	case d.Required:
		return "needed"
	case d.IfThere:
		return "if it is there"
	default:
		return "made if it can be"
	}
}

func (s signalPlan) lines() []string {
	var lines []string
	if s.Group {
		lines = append(lines, "to the process group")
	}
	for _, from := range slices.Sorted(maps.Keys(s.Rewrite)) {
		lines = append(lines, from+" is handed on as "+cmp.Or(s.Rewrite[from], "nothing"))
	}
	return lines
}

// quoted shows where one argument ends and the next begins.
func quoted(argv []string) string {
	words := make([]string, len(argv))
	for i, a := range argv {
		words[i] = a
		if a == "" || strings.ContainsAny(a, " \t\n\"'\\$") {
			words[i] = strconv.Quote(a)
		}
	}
	return strings.Join(words, " ")
}
