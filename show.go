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
	"ak-init/supervise"
)

// show prints the plan: for people as a table, where it stands in brackets behind each value why
// it is so and who gave it, for programs as JSON.
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
	for _, a := range p.Addresses {
		row("address", a.Address, a.Service+"'s "+a.Setting+"; "+a.Origin)
	}
	switch {
	case p.Database.Left != "":
		row("PostgreSQL", "left to authentik", p.Database.Left)
	case p.Database.Wait != "":
		row("PostgreSQL", "waited for "+p.Database.Wait, p.Origins["database"])
	}
	if p.Migrate != "" {
		row("migrate", p.Migrate, p.Origins["migrate"])
	}
	if p.Companion != nil {
		showProcess(row, *p.Companion)
	}
	for _, s := range p.Steps {
		showProcess(row, s)
	}
	for _, s := range p.Services {
		showService(row, s, p.byRelease())
	}
	showSupervision(row, p)
	showFindings(row, p, warning)
	return t.Flush()
}

// showSupervision is how services are started again and stopped, asked and told of.
func showSupervision(row rows, p plan) {
	if p.Signals.Group {
		row("signals", "to the process group", p.Origins["signals.group"])
	}
	for _, from := range slices.Sorted(maps.Keys(p.Signals.Rewrite)) {
		row("signals", from+" is handed on as "+cmp.Or(p.Signals.Rewrite[from], "nothing"), p.Origins["signals.rewrite."+from])
	}
	row("restart", string(p.Restart.Policy), p.Origins["restart.policy"])
	if p.Restart.Policy != supervise.Never {
		row("restart limit", strconv.Itoa(p.Restart.Limit), p.Origins["restart.limit"])
	}
	if len(p.SuccessExit) > 0 {
		row("success exit", strings.Trim(fmt.Sprint(p.SuccessExit), "[]"), p.Origins["success_exit"])
	}
	row("grace period", p.GracePeriod, p.Origins["grace_period"])
	row("stop delay", p.StopDelay, p.Origins["stop_delay"])
	row("live threshold", p.LiveThreshold, p.Origins["live_threshold"])
	if p.Socket != "" {
		row("asked through", p.Socket, p.Origins["socket"])
	}
	row("log", p.LogFormat, p.Origins["log_format"])
	row("log level", p.LogLevel, p.Origins["log_level"])
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
	row("command", p.Command, p.Origins["command"])
	if p.Layout.Root != "" {
		row("release", p.Release, "authentik "+p.Layout.Version+" by "+p.Origins["release"])
		row("layout", p.Layout.Kind+" in "+p.Layout.Root, "it holds "+strings.Join(p.Layout.Evidence, ", ")+"; "+p.Origins["layout"])
		if programs := p.Layout.Programs; programs.Row != "" && p.Layout.Unknown == "" {
			row("programs", programs.Row, strings.Join(programs.Evidence, ", "))
		}
	}
	row("run as", p.Identity.String(), p.Origins["identity"])
	if p.TempDir.Path != "" {
		row("TMPDIR", p.TempDir.Path, p.TempDir.Origin)
	}
	for _, v := range p.Environment {
		row("set", v.Name+"="+v.Value, v.Origin)
	}
	for _, name := range p.Unset {
		row("unset", name, p.Origins["unset."+name])
	}
	for _, d := range p.Directories {
		row("directory", d.Path, directoryWhy(d))
	}
	showTidying(row, p)
}

func showTidying(row rows, p plan) {
	for _, s := range p.Services {
		if s.StalePIDFile != "" {
			row("remove", s.StalePIDFile, "if an earlier run left it; "+p.byRelease())
		}
	}
	for _, l := range p.Leftovers {
		for _, pattern := range slices.Concat(l.Sockets, l.PIDFiles) {
			row("remove", path.Join(l.Dir, pattern), "if an earlier run left it; "+p.byRelease())
		}
		for _, pattern := range l.Keys {
			row("remove", path.Join(l.Dir, pattern), "if it is not the children's; "+p.byRelease())
		}
		if l.Metrics != "" {
			row("remove", path.Join(l.Metrics, "*.db"), "metric files of earlier runs, where no other instance is about; "+metricsDir)
		}
	}
	for _, t := range p.Trees {
		why := t.For + ", to be theirs; " + t.Origin
		if t.ReadOnly {
			why = t.For + ", only read; " + t.Origin
		}
		row("tree", t.Path, why)
	}
	if len(p.Trees) > 0 {
		row("ownership", string(p.FixOwnership), p.Origins["fix_ownership"])
	}
	if b := p.Blueprints; b != nil {
		row("copy", b.From+" into "+b.Into, b.For+"; "+p.Origins["blueprints"])
	}
	if p.OpenFiles > 0 {
		row("descriptors", strconv.FormatUint(p.OpenFiles, 10), p.Origins["open_files"])
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
	row(c.Name, quoted(c.Argv), why+"; "+c.Origin)
	for _, v := range c.Environment {
		row("", "with "+v.Name+"="+v.Value, v.Origin)
	}
}

func showService(row rows, s servicePlan, release string) {
	showProcess(row, s.process)
	if s.ModeFile != "" {
		row("mode file", s.ModeFile, release)
	}
	if s.Drain != "" {
		row("stop", s.Drain+" finishes first", release)
	}
	switch at := s.Health.Addresses; {
	case len(at) == 0:
	case path.IsAbs(at[0]):
		row("health", "http://localhost"+s.Health.Ready, "at "+at[0]+"; "+s.Health.Origin)
	default:
		row("health", "http://"+at[0]+s.Health.Ready, s.Health.Origin)
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
