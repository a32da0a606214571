package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"ak-init/authentik"
	"ak-init/notify"
	"ak-init/prepare"
)

// chooseTempDir takes the first candidate that seems usable, and says why those before
// it are not.
func chooseTempDir(candidates []tempDir) (chosen tempDir, warnings []error, err error) {
	var faults []error
	for _, c := range candidates {
		if c.unusable == nil {
			return c, warnings, nil
		}
		faults = append(faults, c.unusable)
		if !c.explicit && c.Origin != originDefault {
			warnings = append(warnings, c.unusable)
		}
		if c.explicit || c.Origin == originEnvironment && errors.Is(c.unusable, unix.ENOTDIR) {
			return c, nil, failed("tmpdir", exitCannotWrite, c.unusable)
		}
	}
	return tempDir{}, nil, failed("tmpdir", exitCannotWrite, append(faults,
		errors.New("no directory can be TMPDIR; mount a writable one, such as a tmpfs on /tmp"))...)
}

// metricsDir names the directory of Prometheus' multiprocess files, metricsName is what
// it is called in TMPDIR (lifecycle/ak, 2026.2).
const (
	metricsDir  = "PROMETHEUS_MULTIPROC_DIR"
	metricsName = "authentik_prometheus_tmp"
)

// environment builds the children's environment, and notes in the plan what is not as
// it came.
func (p *plan) environment(o options, f facts) {
	p.env = maps.Clone(o.env)
	p.noteFromFiles(o)
	layout := f.layout.Kind + " layout"
	p.set("TMPDIR", p.TempDir.Path, p.TempDir.Origin)
	p.setMetrics(o, f)
	p.set("PATH", searchPath(p.env["PATH"], f.layout.Path), layout)
	if f.layout.VirtualEnv != "" {
		p.set("VIRTUAL_ENV", f.layout.VirtualEnv, layout)
	}
	for _, name := range slices.Sorted(maps.Keys(f.layout.Defaults)) {
		p.setDefault(name, f.layout.Defaults[name], layout)
	}
	p.ownHome = p.env["HOME"]
	p.setHome()
	for _, name := range slices.Sorted(maps.Keys(f.onIPv4)) {
		p.set(name, f.onIPv4[name], originNoIPv6)
	}
	for _, name := range notify.Variables() { // meant for us: a child would speak for all
		if _, set := p.env[name]; set {
			p.Unset = append(slices.Clip(p.Unset), name)
		}
	}
	for _, name := range p.Unset {
		delete(p.env, name)
	}
}

// setMetrics names the directory of metric files, but for who shares none: that it is set, be it
// to nothing, makes prometheus_client write such files (prometheus_client/values.py).
func (p *plan) setMetrics(o options, f facts) {
	verb, _ := f.release.Verb(o.command)
	if verb.NoMetrics || o.command == "all" && f.release.Worker.NoMetrics { // the server is given its own
		if p.env[metricsDir] == "" {
			delete(p.env, metricsDir)
			return
		}
	}
	p.setDefault(metricsDir, path.Join(p.TempDir.Path, metricsName), "lifecycle/ak")
	if !path.IsAbs(p.env[metricsDir]) {
		p.set(metricsDir, path.Join(f.layout.Root, p.env[metricsDir]), "relative to the root, where children run")
	}
}

func (p *plan) set(name, value, origin string) {
	if p.env[name] != value {
		p.env[name] = value
		p.Environment = append(p.Environment, variable{name, value, origin})
	}
}

func (p *plan) setDefault(name, value, origin string) {
	if p.env[name] == "" {
		p.set(name, value, origin)
	}
}

// noteFromFiles shows which variables come from env files, and hides what they hold.
func (p *plan) noteFromFiles(o options) {
	for _, name := range slices.Sorted(maps.Keys(o.fromFile)) {
		p.Environment = append(p.Environment, variable{name, hidden, o.fromFile[name]})
	}
}

// setHome is for children who are somebody else, and for a uid without a name, which a
// container runtime sends home to / (OpenShift, --user 1027). A HOME that was given stays,
// writable or not: in authentik's image it is /authentik, for the keys in its .ssh.
func (p *plan) setHome() {
	switch given := p.env["HOME"]; {
	case p.drops:
		p.set("HOME", p.home(), "identity of the children")
	case p.Identity.UID != 0 && given == "/" && p.TempDir.Path != "":
		p.set("HOME", p.TempDir.Path, "the user has no name, and no home")
	}
}

// home is where the children's user is at home, or a place that can be written.
func (p *plan) home() string {
	if home := p.Identity.Home; home != "" && home != "/nonexistent" {
		return home
	}
	return cmp.Or(p.TempDir.Path, "/")
}

// defaultPath is for an environment that was lost: the one that Debian's images have.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// searchPath puts in front what the layout needs and PATH lacks.
func searchPath(given string, needs []string) string {
	if given == "" {
		given = defaultPath
	}
	has := filepath.SplitList(given)
	var missing []string
	for _, dir := range needs {
		if !slices.Contains(has, dir) {
			missing = append(missing, dir)
		}
	}
	return strings.Join(append(missing, given), ":")
}

// tempDirectory is TMPDIR itself.
func tempDirectory(c tempDir) prepare.Dir {
	mode, giving := fs.FileMode(0o700), prepare.GiveNever
	if c.Path == "/tmp" {
		mode = fs.ModeSticky | 0o777
	}
	if c.isTheirs() {
		giving = prepare.GiveUnused
	}
	return prepare.Dir{Path: c.Path, For: "TMPDIR", Mode: mode, Required: true, Sockets: true, Giving: giving, Otherwise: "set another TMPDIR"}
}

func metricsDirectory(dir, root string) prepare.Dir {
	d := prepare.Dir{
		Path: dir, For: "metric files", Mode: 0o755, Required: true, Otherwise: "set another PROMETHEUS_MULTIPROC_DIR",
	}
	if everybodys(dir, root) {
		d.Giving = prepare.GiveNever
	}
	return d
}

// dataDirectories are where services write what users upload. A volume for one kind of them alone is
// all that authentik needs for that (authentik/admin/files/backends/file.py, manageable, 2026.2). Of
// a directory that is not authentik's alone those below it count, and they are made.
func (f facts) dataDirectories() []prepare.Dir {
	var dirs []prepare.Dir
	for _, d := range f.config.DataDirs {
		dir := prepare.Dir{
			Path: d.Path, For: "uploads", Mode: 0o770, IfThere: d.IfThere,
			Otherwise: fmt.Sprintf("set %s to another one, or %s to s3", d.Setting, d.Backend),
		}
		switch {
		case d.IfThere:
			dir.IfThere = !everybodys(filepath.Dir(d.Path), f.layout.Root)
		case everybodys(d.Path, f.layout.Root):
			continue
		default:
			dir.IfThere = slices.ContainsFunc(f.config.DataDirs, func(below authentik.DataDir) bool {
				return below.IfThere && filepath.Dir(below.Path) == filepath.Clean(d.Path) && f.mounts[below.Path]
			})
		}
		dirs = append(dirs, dir)
	}
	return dirs
}
