package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"ak-init/authentik"
)

// installationChecks are about authentik itself, who runs it, and where it may write.
func installationChecks() []check {
	return []check{
		{
			id: "layout", looks: "where the parts of authentik lie, which programs start it, and by what that is known",
			goesWrong: "error 78 where there is none, or half of one; warning for one that is not known and has an ak", judge: judgeLayout,
		},
		{
			id: "release", looks: "authentik's version, and whether ak-init knows what it expects",
			goesWrong: "warning: an unknown one is taken for the newest known", judge: judgeRelease,
		},
		{
			id: "migrations", looks: "whether --migrate never can be had",
			goesWrong: "warning where the release's services migrate whatever they are told", judge: judgeMigrations,
		},
		{
			// Pain 29.
			id: "data-files", looks: "what authentik opens below its root, beside its code",
			goesWrong: "error 78 for what nothing works without in an image of a known release, else warning", judge: judgeDataFiles,
		},
		{
			// Pains 25, 30.
			id: "blueprints", looks: "whether authentik's own blueprints lie where it looks for them; the copies of them, where a Nix image looks elsewhere",
			goesWrong: "warning: initial-setup is not found on a new installation, or the copies cannot be written", judge: judgeBlueprints,
		},
		{
			// Pain 28.
			id: "console-scripts", looks: "whether gunicorn and python can run at all: interpreter, entry points, modules",
			goesWrong: "error 78 with a known release, whose server would start a broken gunicorn again for ever; else warning", judge: judgeScripts,
		},
		{
			id: "debugger", looks: "whether what authentik's debugger needs can be installed, where it is on",
			goesWrong: "warning: it is not", judge: judgeDebugger,
		},
		{
			// Pain 17.
			id: "identity", looks: "who the children are: --user, PUID and PGID, root's worker",
			goesWrong: "error 77 where we may not become that user; warning where PUID and PGID are ignored", judge: judgeIdentity,
		},
		{
			// Pain 16.
			id: "docker-socket", looks: "whether the worker may use the container engine's socket, where there is one",
			goesWrong: "warning: outposts cannot be deployed", judge: judgeDockerSocket,
		},
		{
			// Pains 2, 11, 18.
			id: "tmpdir", looks: "which directory is TMPDIR, and whether it has room",
			goesWrong: "error 73 where none can be; warning where it is nearly full, forbids programs that a checkout builds there, or is another one than was named", judge: judgeTempDir,
		},
	}
}

func judgeLayout(c circumstances) []*finding {
	l := c.facts.layout
	if l.Unknown != "" {
		return []*finding{warn("give the root that holds it by --root, or look for a newer ak-init",
			"%s; it is started through %s, and no more of it is known", l.Unknown, strings.Join(l.Evidence, ", "))}
	}
	all := []*finding{okay("%s in %s: it holds %s", l.Kind, l.Root, strings.Join(l.Evidence, ", "))}
	if l.Programs.Row != "" {
		all = append(all, okay("%s: %s", l.Programs.Row, strings.Join(l.Programs.Evidence, ", ")))
	}
	return all
}

func judgeMigrations(c circumstances) []*finding {
	release := c.facts.release
	if c.options.migrate == migrateBefore && len(release.Migrate) == 0 {
		return []*finding{warn("leave out "+c.options.origin("migrate")+" before", "authentik is left to migrate by itself: how it is told to is not known")}
	}
	if c.options.migrate != migrateNever || release.SkipMigrations != "" || !c.serves("server") && !c.serves("worker") {
		return nil
	}
	return []*finding{warn("leave out --migrate never", "authentik %s migrates at every start, which %s cannot keep it from", c.facts.layout.Version, c.options.origin("migrate"))}
}

func judgeRelease(c circumstances) []*finding {
	f := c.facts
	if f.layout.Unknown != "" {
		return nil // that is told already, and nothing is done by a release
	}
	if f.releaseKnown {
		return []*finding{okay("authentik %s, which is %s", f.layout.Version, f.release.Name)}
	}
	has := "has no version"
	if f.layout.Version != "" {
		has = "is version " + f.layout.Version
	}
	return []*finding{warn("look for a newer ak-init", "authentik in %s %s, which ak-init does not know; it is taken for %s", f.layout.Root, has, f.release.Name)}
}

func judgeDataFiles(c circumstances) []*finding {
	var all []*finding
	for _, e := range c.facts.release.MissingData(c.facts.view, c.facts.layout) {
		if e.Needed {
			all = append(all, c.fatal(e.Remedy(), "%s", e.What()))
		} else {
			all = append(all, warn(e.Remedy(), "%s", e.What()))
		}
	}
	if len(all) == 0 && len(c.facts.release.DataFiles) > 0 {
		all = append(all, okay("complete"))
	}
	return all
}

// judgeBlueprints reads one that all releases have. What cannot be read, or does not answer, is told
// with the rest of the directory.
func judgeBlueprints(c circumstances) []*finding {
	dir := c.facts.settings.Text("blueprints_dir")
	known := c.facts.isOfficial() || c.facts.settings.GivenBy("blueprints_dir") != "" // else a package may have another default
	if !c.serves("worker") || c.plan.Blueprints != nil || !known || !path.IsAbs(dir) {
		return nil
	}
	switch _, err := c.facts.view.Read(path.Join(dir, "system/bootstrap.yaml")); {
	case err == nil:
		return []*finding{okay("%s has authentik's own", dir)}
	case errors.Is(err, fs.ErrNotExist):
		return []*finding{warn("mount your own below it, as "+dir+"/custom, or set AUTHENTIK_BLUEPRINTS_DIR to where authentik's are",
			"%s has none of authentik's own blueprints: it is missing, or a mount hides them; a new installation has no /if/flow/initial-setup/ then", dir)}
	default:
		return nil
	}
}

// fatal is an error where it is known that authentik cannot do without: in an image of a known
// release. A later one may start other programs, and a Nix package may have patched a name.
func (c circumstances) fatal(remedy, format string, args ...any) *finding {
	if c.facts.releaseKnown && c.facts.layout.Kind == "image" {
		return bad(exitConfig, remedy, format, args...)
	}
	return warn(remedy, format, args...)
}

func judgeScripts(c circumstances) []*finding {
	if c.facts.layout.Unknown != "" {
		return nil // its ak may have a PATH of its own
	}
	names := []string{"python"}
	if c.serves("server") && !c.facts.config.Debug {
		names = append(names, "gunicorn")
	}
	var all []*finding
	for _, name := range names {
		file := authentik.ScriptNamed(c.facts.view, name, c.plan.env["PATH"])
		switch {
		case file == "" && name == "python":
			continue // whoever is started by it has looked for it
		case file == "":
			all = append(all, c.fatal("build the image with it", "%s: not found in PATH=%s", name, c.plan.env["PATH"]))
			continue
		}
		script := authentik.ConsoleScript{Path: file, Env: c.plan.env}
		if e := script.Check(c.facts.view); e != nil {
			f := warn(e.Remedy, "%s", e.What())
			if c.facts.releaseKnown { // whose server runs it by this name
				f = bad(exitConfig, e.Remedy, "%s", e.What())
			}
			all = append(all, f)
			continue
		}
		all = append(all, okay("%s", file))
	}
	return all
}

func judgeIdentity(c circumstances) []*finding {
	f, o := c.facts, c.options
	if f.identityFailed {
		return nil // that is told already
	}
	who := fmt.Sprintf("the children run as %s", f.identity)
	if len(f.identity.Groups) > 0 {
		who += ", groups " + strings.Trim(fmt.Sprint(f.identity.Groups), "[]")
	}
	if f.identityBy != "" {
		who += ", by " + f.identityBy
	}
	all := []*finding{okay("%s; we are %s", who, f.self)}
	if strings.HasPrefix(f.identityBy, "PUID") {
		all[0].Remedy = "let every container of this authentik run as that user: they share their files"
	}
	switch given := givenIDs(o.env); {
	case given == "" || strings.HasPrefix(f.identityBy, "PUID") || o.user != "":
	case f.self.UID != 0:
		all = append(all, warn("set the container's user instead, or start it as root", "%s ignored: only root can become another user, and we are %s", given, f.self))
	default:
		all = append(all, warn("give PUID a number, and PGID beside it one or nothing", "%s ignored", given))
	}
	return all
}

// givenIDs names PUID and PGID as far as they are set, as the subject of a sentence.
func givenIDs(env map[string]string) string {
	var given []string
	for _, name := range []string{"PUID", "PGID"} {
		if env[name] != "" {
			given = append(given, name+"="+env[name])
		}
	}
	switch len(given) {
	case 0:
		return ""
	case 1:
		return given[0] + " is"
	default:
		return strings.Join(given, " and ") + " are"
	}
}

func judgeDockerSocket(c circumstances) []*finding {
	d := c.facts.docker
	switch {
	case d.path == "" || !c.serves("worker"):
		return nil
	case d.err == nil:
		return []*finding{okay("%s can be used", d.path)}
	default:
		return []*finding{warn("add the socket's group to the container's (group_add), or start the worker as root",
			"%s is there and the children, %s, cannot use it: %s", d.path, c.facts.identity, d.err)}
	}
}

// Rooms for what authentik writes into TMPDIR: sockets and keys are small, a process's
// metric files are about a megabyte each.
const (
	littleRoom = 16 << 20
	smallShm   = 64 << 20
)

// moreRoom is what to do about a TMPDIR that fills up.
const moreRoom = "mount a larger one there (shm_size: 512mb for /dev/shm), or set another TMPDIR"

func judgeTempDir(c circumstances) []*finding {
	p, s := c.plan, c.facts.room
	if p.TempDir.Path == "" {
		return nil // the reason is among the faults
	}
	var all []*finding
	for _, w := range p.tempDirWarnings {
		all = append(all, found("", warning, exitCannotWrite, w))
	}
	free := fmt.Sprintf("%s (%s): %s free of %s", p.TempDir.Path, p.TempDir.Origin, size(s.Free), size(s.Total))
	compiles := slices.ContainsFunc(p.Services, func(s servicePlan) bool { return len(s.Argv) > 0 && s.Argv[0] == "go" })
	if s.NoExec && compiles { // it runs what it has built from there (go help environment, GOTMPDIR)
		all = append(all, warn("set TMPDIR to another directory, or GOTMPDIR to one where programs may be executed",
			"%s: nothing can be executed there, and \"go run\" builds the server there", p.TempDir.Path))
	}
	switch {
	case s.Total == 0: // it is still to be made, or does not count
		all = append(all, okay("%s (%s)", p.TempDir.Path, p.TempDir.Origin))
	case isShort(s):
		short := warn(moreRoom, "%s; metric files grow there, and processes that find it full end by SIGBUS", free)
		short.ofRoom = true
		all = append(all, short)
	case s.Total <= smallShm:
		note := okay("%s; metric files grow there with every process that ever ran", free)
		note.Remedy = moreRoom + ", before it is full"
		all = append(all, note)
	default:
		all = append(all, okay("%s", free))
	}
	return all
}

// size writes bytes for people.
func size(n uint64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%d GiB", n>>30)
	case n >= 10<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	default:
		return fmt.Sprintf("%d KiB", n>>10)
	}
}
