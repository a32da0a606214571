package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"ak-init/logs"
	"ak-init/prepare"
	"ak-init/supervise"
)

// report is what all checks have found.
type report struct {
	Command  string     `json:"command"`
	ExitCode int        `json:"exit_code"`
	Findings []*finding `json:"findings"`
}

// runChecks makes every check for a command and changes nothing.
func runChecks(ctx context.Context, o options) report {
	r := report{Command: "all"} // which looks at everything
	if len(o.args) > 0 {
		r.Command = o.args[0]
	}
	o.command, o.args = r.Command, nil
	v := lookAndTry(o)
	r.Findings = slices.Concat(findingsOf(v.err), v.plan.Findings)
	if !v.facts.identityFailed && v.plan.TempDir.Path != "" { // else it is not known who would write where
		r.Findings = slices.Concat(r.Findings, lookAt(v.plan), lookThrough(ctx, v.plan), askDatabase(ctx, o, v.facts, v.plan))
		if !othersIn(v.plan.TempDir.Path, "") {
			r.Findings = append(r.Findings, lookForLeftovers(v.plan)...)
		}
	}
	r.Findings = inOrder(r.Findings)
	r.ExitCode = exitHealthy
	if refused := refusalOf(r.Findings, o.strict); refused != nil {
		r.ExitCode = asRefusal(refused).code
	}
	if r.ExitCode == exitNotFound || r.ExitCode == exitNotExecutable {
		r.ExitCode = exitConfig // a shell would say these of ak-init itself
	}
	return r
}

// lookAndTry looks as a start does, which takes the next TMPDIR where one cannot be written after all.
func lookAndTry(o options) prospects {
	unusable := map[string]error{}
	for {
		v := lookPatiently(o, unusable)
		at := v.plan.TempDir
		if v.facts.identityFailed || at.Path == "" || at.explicit {
			return v
		}
		out := v.plan.Directories[0].Look(v.plan.Identity)
		if _, known := unusable[at.Path]; known || out.Fault == nil {
			return v
		}
		unusable[at.Path] = out.Fault
	}
}

// lookAt makes the checks that apply makes by doing, without doing anything.
func lookAt(p plan) []*finding {
	var all []*finding
	for i, out := range prepare.LookAll(prepare.Bound, p.Directories, p.Identity) {
		d := p.Directories[i]
		s := wrong
		switch {
		case out.Fault == nil && d.For == scratch && !out.Given: // nobody has to know of it
			continue
		case out.Fault == nil:
			all = append(all, okay("%s (%s) %s", d.Path, d.For, lookedAt(d, out)).of("directories"))
			continue
		case out.Warning:
			s = warning
		}
		all = append(all, found("directories", s, exitCannotWrite, out.Fault))
	}
	switch {
	case p.Runtime == "":
	case prepare.IsClaimed(p.Runtime):
		all = append(all, okay("an ak-init runs here: %s is its own", p.Runtime).of("instance"))
	default:
		all = append(all, okay("no other of its kind in %s", p.TempDir.Path).of("instance"))
	}
	return all
}

// lookThrough looks at whole trees and at what earlier runs left, and changes nothing.
func lookThrough(ctx context.Context, p plan) []*finding {
	r := prepared{}
	for _, t := range p.Trees {
		report := ownTree(ctx, t, p.Identity, prepare.FixNever, nil)
		r.owned(p, t, report)
		f := okay("%s (%s): %d entries looked at", t.Path, t.For, report.Looked).of("ownership")
		switch wrong := report.Wrong > 0 && !t.ReadOnly; {
		case report.Looked == 0: // it is not there
		case wrong && p.FixOwnership == prepare.FixNever: // that is told
		case wrong:
			f.Found += fmt.Sprintf(", %d of them will be given to the children", report.Wrong)
			fallthrough
		default:
			r.findings = append(r.findings, f)
		}
	}
	if b := p.Blueprints; b != nil {
		into := prepare.Dir{Path: b.Into, For: b.For, Otherwise: b.Otherwise, Giving: prepare.GiveNever}.Look(p.Identity)
		if into.Fault != nil {
			r.findings = append(r.findings, found("blueprints", warning, exitCannotWrite, into.Fault))
		} else {
			r.findings = append(r.findings, okay("built-in ones are copied from %s into %s", b.From, b.Into).of("blueprints"))
		}
	}
	return r.findings
}

// lookForLeftovers looks at what a sweep would remove, and removes nothing. Beside an ak-init
// that runs it is not left, but in use.
func lookForLeftovers(p plan) []*finding {
	r := prepared{}
	removable := r.sweepAs(p, prepare.Stale.Look)
	if removable > 0 {
		r.findings = append(r.findings, okay("%s of an earlier run will be removed", counted(removable, "file")).of("leftovers"))
	}
	return r.findings
}

// lookedAt says what a start would do with a directory.
func lookedAt(d prepare.Dir, out prepare.Outcome) string {
	switch {
	case out.Given:
		return "belongs to somebody else, and will be given to the children"
	case len(out.Made) > 0:
		return "will be made"
	case d.IfThere:
		return "can be written, or will be made when it is needed"
	default:
		return "can be written"
	}
}

// inOrder sorts findings as the checks are; what no check is known for comes last.
func inOrder(findings []*finding) []*finding {
	place := map[string]int{}
	for i, one := range checks() {
		place[one.id] = i - len(checks())
	}
	sorted := slices.Clone(findings)
	slices.SortStableFunc(sorted, func(a, b *finding) int { return cmp.Compare(place[a.Check], place[b.Check]) })
	return sorted
}

// writeReport prints what was found: for people as a table, for programs as JSON.
func writeReport(r report, output string, colour bool, w io.Writer) error {
	if output == "json" {
		return writeJSON(w, r)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(cells ...string) { _, _ = fmt.Fprintln(t, strings.Join(cells, "\t")) } // t keeps the first error
	row("CHECK", "STATE", "FOUND")
	last := ""
	for _, f := range r.Findings {
		name := f.Check
		if name == last {
			name = ""
		}
		last = f.Check
		row(name, painted(f.State, colour), printable(f.Found))
		if f.Remedy != "" {
			row("", painted("", colour), "→ "+printable(f.Remedy))
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w, verdictOf(r))
	return err
}

// painted gives every cell of a column as many invisible letters, lest the columns shift.
func painted(s state, colour bool) string {
	if !colour {
		return string(s)
	}
	code := map[state]string{fine: "32", warning: "33", wrong: "31"}[s]
	if code == "" {
		code = "39"
	}
	return "\x1b[" + code + "m" + string(s) + "\x1b[0m"
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func verdictOf(r report) string {
	count := map[state]int{}
	for _, f := range r.Findings {
		count[f.State]++
	}
	s := fmt.Sprintf("%s would start", r.Command)
	if r.ExitCode != 0 {
		s = fmt.Sprintf("%s would not start: exit code %d", r.Command, r.ExitCode)
	}
	return fmt.Sprintf("%s (%d ok, %s, %s)", s, count[fine], counted(count[warning], "warning"), counted(count[wrong], "error"))
}

// checkCommand runs the checks, prints them, and gives the exit code. A signal ends them: as
// PID 1 nobody else would see to that.
func checkCommand(o options, caught *supervise.Signals, stdout *os.File) int {
	// With runChecks ends the process that asks PostgreSQL.
	r, sig := heeding(caught, func(ctx context.Context) report { return runChecks(ctx, o) })
	if sig != 0 {
		return 128 + int(sig)
	}
	if err := writeReport(r, o.output, logs.IsTerminal(stdout) && o.env["NO_COLOR"] == "", stdout); err != nil {
		return exitInternal
	}
	return r.ExitCode
}
