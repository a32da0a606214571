package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"ak-init/logs"
	"ak-init/prepare"
)

// Bounds of what may take long: a sweep is some system calls a file, ownership is all files
// that were ever uploaded, and may lie on a file server.
const (
	sweepBound     = 10 * time.Second
	ownershipBound = 5 * time.Minute
)

// done is a change that was made, for the log.
type done struct {
	event  string
	fields []logs.Field
}

// busy is told every two seconds what takes so long, and says whether to go on.
type busy func(what, path string, looked, changed int) bool

// planTidying says what of earlier runs is removed, whose ownership is put right, and which
// blueprints are copied.
func (p *plan) planTidying(o options, f facts) {
	p.FixOwnership = prepare.Fix(o.fixOwnership)
	if p.FixOwnership == prepare.FixNever {
		p.giveNothing()
	}
	for _, s := range p.Services {
		p.planSweep(s, f)
	}
	if p.drops {
		for _, d := range f.config.DataDirs {
			dir := d.Path
			if d.IfThere {
				dir = filepath.Dir(d.Path)
			}
			// Where a directory is not authentik's alone, those below it are, else they are in it.
			if everybodys(dir, f.layout.Root) == d.IfThere {
				p.Trees = append(p.Trees, prepare.Tree{Path: d.Path, For: "uploads"})
			}
		}
	}
	if o.command != "server" { // it reads none of these
		p.planReading(f)
	}
}

// giveNothing leaves every directory whose it is, but those without which nothing runs: TMPDIR and
// that of metric files.
func (p *plan) giveNothing() {
	for i := range p.Directories {
		if !p.Directories[i].Required {
			p.Directories[i].Giving = prepare.GiveNever
		}
	}
}

// everybodys tells whether a directory is the system's, or holds authentik's own code: who gave
// all of it to the children would give them /etc/passwd or what they run.
func everybodys(dir, root string) bool {
	dir = filepath.Clean(dir)
	within, err := filepath.Rel(dir, root)
	if err == nil && filepath.IsLocal(within) {
		return true
	}
	// Filesystem Hierarchy Standard 3.0, sections 3 and 5, and /nix.
	return slices.Contains(append(sharedDirs(),
		"/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/mnt", "/nix", "/nix/store", "/opt", "/proc", "/root", "/run",
		"/run/secrets", "/sbin", "/srv", "/sys", "/usr", "/usr/local", "/usr/share", "/var", "/var/lib", "/var/run",
	), dir)
}

// planReading is for what the worker reads, and where blueprints have to be copied first.
func (p *plan) planReading(f facts) {
	// Elsewhere somebody may have pointed the directory away on purpose.
	if dir := f.settings.Text("blueprints_dir"); f.layout.Kind == "nix" && filepath.IsAbs(dir) {
		p.Blueprints = &prepare.Mirror{
			From: path.Join(f.layout.Root, "blueprints"), Into: dir, Suffix: ".yaml", For: "built-in blueprints",
			Otherwise: "set AUTHENTIK_BLUEPRINTS_DIR to another one",
		}
	}
	for _, read := range onlyRead() {
		copied := read.setting == "blueprints_dir" && p.Blueprints != nil // which tells of it
		if dir := f.settings.Text(read.setting); filepath.IsAbs(dir) && !copied {
			p.Trees = append(p.Trees, prepare.Tree{Path: dir, For: read.what, ReadOnly: true})
		}
	}
}

// onlyRead are settings of directories that the worker reads and never writes to.
func onlyRead() []struct{ setting, what string } {
	return []struct{ setting, what string }{
		{"cert_discovery_dir", "certificates"}, {"blueprints_dir", "blueprints"}, {"email.template_dir", "templates"},
	}
}

// planSweep is for one service, which may have directories of its own.
func (p *plan) planSweep(s servicePlan, f facts) {
	verb, _ := f.release.Verb(s.Name)
	own := map[string]string{"TMPDIR": p.TempDir.Path, metricsDir: p.env[metricsDir]}
	for _, v := range s.Environment {
		own[v.Name] = v.Value
	}
	p.Leftovers = append(p.Leftovers, prepare.Stale{
		Dir: own["TMPDIR"], Sockets: verb.Sockets, PIDFiles: verb.StalePIDFiles, Keys: verb.Keys, Metrics: own[metricsDir],
	})
	if p.drops && own[metricsDir] != "" && !everybodys(own[metricsDir], f.layout.Root) {
		p.Trees = append(p.Trees, prepare.Tree{Path: own[metricsDir], For: "metric files"})
	}
}

// tidy does what was planned. What it cannot do is no reason not to start, but for a socket
// that is somebody's: to start would take it away from him.
func (r *prepared) tidy(p plan, tell busy) {
	if r.claim != nil && !r.swept {
		r.sweep(p)
	}
	r.room, _ = prepare.Room(p.TempDir.Path) // what does not answer has none
	for _, tree := range p.Trees {
		stopped := false
		ctx, cancel := context.WithCancel(context.Background())
		report := ownTree(ctx, tree, p.Identity, p.FixOwnership, func(looked, changed int) {
			if stopped = !tell("looking through "+tree.For, tree.Path, looked, changed); stopped {
				cancel()
			}
		})
		cancel()
		report.GaveUp = report.GaveUp && !stopped
		r.owned(p, tree, report)
		if stopped {
			return // nothing is going to be started, and each tree would take its time again
		}
	}
	if p.Blueprints != nil {
		r.mirror(p)
	}
}

// ownTree looks through a tree, within its bound and with every processor: main keeps to one.
func ownTree(ctx context.Context, t prepare.Tree, id prepare.Identity, fix prepare.Fix, progress func(looked, changed int)) prepare.OwnerReport {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(runtime.NumCPU()))
	ctx, cancel := context.WithTimeout(ctx, ownershipBound)
	defer cancel()
	return t.Own(ctx, id, fix, progress)
}

func (r *prepared) sweep(p plan) {
	r.swept = true
	r.sweepAs(p, prepare.Stale.Sweep)
}

// sweepAs sweeps, or looks what there is to sweep, notes what stays, and gives how many files
// do not.
func (r *prepared) sweepAs(p plan, sweep func(prepare.Stale, context.Context, prepare.Identity, bool) prepare.Swept) (count int) {
	ctx, cancel := context.WithTimeout(context.Background(), sweepBound)
	defer cancel()
	alone := !othersIn(p.TempDir.Path, p.Runtime)
	for _, stale := range p.Leftovers {
		// A system call that hangs does not hear of ctx; what is left behind does.
		where := stale.Dir
		if stale.Metrics != "" {
			where += ", or " + stale.Metrics + ","
		}
		swept, err := prepare.Within(sweepBound+time.Second, where, func() (prepare.Swept, error) {
			return sweep(stale, ctx, p.Identity, alone), nil
		})
		if err != nil {
			r.note("leftovers", warning, exitConfig, fmt.Errorf("cannot look for what an earlier run left: %w", err))
		}
		for _, err := range swept.Kept {
			s := warning
			if errors.Is(err, prepare.ErrAlive) {
				s = wrong
			}
			r.note("leftovers", s, exitConfig, err)
		}
		if swept.Count > 0 {
			r.did("removed what an earlier run left", logs.Str("path", stale.Dir), logs.Num("files", swept.Count), logs.Num("bytes", swept.Bytes))
		}
		count += swept.Count
	}
	return count
}

// othersIn tells whether another live ak-init has its directory in this TMPDIR, or may have.
func othersIn(tmpdir, own string) bool {
	found, err := claimedIn(tmpdir, func(name string) bool { return name != path.Base(own) })
	return found || err != nil
}

// claimedIn tells whether a live ak-init whose directory has such a name is in this TMPDIR.
func claimedIn(tmpdir string, such func(name string) bool) (bool, error) {
	entries, err := prepare.Within(prepare.Bound, tmpdir, func() ([]os.DirEntry, error) { return os.ReadDir(tmpdir) })
	return slices.ContainsFunc(entries, func(e os.DirEntry) bool {
		return strings.HasPrefix(e.Name(), runtimePrefix) && such(e.Name()) && prepare.IsClaimed(path.Join(tmpdir, e.Name()))
	}), err
}

func (r *prepared) did(event string, fields ...logs.Field) {
	r.done = append(r.done, done{event, fields})
}

// owned notes what came of a tree.
func (r *prepared) owned(p plan, t prepare.Tree, report prepare.OwnerReport) {
	for _, err := range report.First {
		r.note("ownership", warning, exitCannotWrite, err)
	}
	hung := slices.ContainsFunc(report.First, func(err error) bool { return errors.Is(err, prepare.ErrHung) }) // which says it all
	if report.GaveUp && !hung {
		r.findings = append(r.findings, warn("look for a file server that hangs, or is slow",
			"%s (%s): not all of it could be looked through in %s", t.Path, t.For, report.Took.Round(time.Second)).of("ownership"))
	}
	if p.FixOwnership == prepare.FixNever && report.Wrong > 0 && !t.ReadOnly {
		r.findings = append(r.findings, warn("leave out --fix-ownership never",
			"%s (%s): %d of %d entries belong to somebody else than the children, %s", t.Path, t.For, report.Wrong, report.Looked, p.Identity).of("ownership"))
	}
	if report.Changed > 0 {
		r.did("ownership put right", logs.Str("path", t.Path), logs.Num("looked", report.Looked), logs.Num("changed", report.Changed), logs.Dur("took", report.Took))
	}
}

func (r *prepared) mirror(p plan) {
	report, err := p.Blueprints.Make(p.Identity)
	if err != nil {
		r.note("blueprints", warning, exitCannotWrite, err)
	}
	if len(report.Written)+len(report.Removed) > 0 {
		r.did("built-in blueprints copied", logs.Str("path", p.Blueprints.Into),
			logs.Num("written", len(report.Written)), logs.Num("removed", len(report.Removed)), logs.Num("kept", len(report.Kept)))
	}
}
