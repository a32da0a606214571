package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ak-init/authentik"
	"ak-init/prepare"
	"ak-init/supervise"
)

// plan is what is going to be done, as a value: --dry-run prints it, launch does it.
type plan struct {
	Command      string           `json:"command"`
	Release      string           `json:"release"`
	Layout       authentik.Layout `json:"layout"`
	TempDir      tempDir          `json:"tmpdir"`
	Identity     prepare.Identity `json:"identity"`
	Environment  []variable       `json:"environment"`
	Unset        []string         `json:"unset"`
	Directories  []prepare.Dir    `json:"directories"`
	ModeFile     string           `json:"mode_file"`
	StalePIDFile string           `json:"stale_pid_file,omitempty"`
	Steps        []process        `json:"steps"`
	Service      process          `json:"service"`
	Drain        string           `json:"drain,omitempty"`
	Health       healthPlan       `json:"health"`
	GracePeriod  string           `json:"grace_period"`
	StopDelay    string           `json:"stop_delay"`
	Signals      signalPlan       `json:"signals"`
	Warnings     []string         `json:"warnings"`

	verb authentik.Verb
	// drops: the children are not who we are.
	drops            bool
	grace, stopDelay time.Duration
	env              []string
}

// variable is one that ak-init sets for every child.
type variable struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Origin string `json:"origin"`
}

// signalPlan is how signals are handed on.
type signalPlan struct {
	Group bool `json:"group"`
	// Rewrite maps names to names; an empty one drops.
	Rewrite map[string]string `json:"rewrite,omitempty"`

	rewrite map[syscall.Signal]syscall.Signal
}

// tempDir is a directory that could be TMPDIR.
type tempDir struct {
	Path   string `json:"path"`
	Origin string `json:"origin"`
	// chosen by a flag or its twin: nothing else will do.
	explicit bool
	// unusable is why not, nil if it seems to do.
	unusable error
}

// process is one child.
type process struct {
	Name     string   `json:"name"`
	Path     string   `json:"path"`
	Argv     []string `json:"argv"`
	Dir      string   `json:"dir"`
	Optional bool     `json:"optional,omitempty"`
}

// healthPlan is where health is asked and answered.
type healthPlan struct {
	// Dir is ak-init's own directory below TMPDIR, Socket its socket in there.
	Dir    string `json:"dir"`
	Socket string `json:"socket"`
	// Addresses and the paths are authentik's own.
	Addresses []string `json:"addresses"`
	Live      string   `json:"live,omitempty"`
	Ready     string   `json:"ready,omitempty"`
	PIDFile   string   `json:"pid_file,omitempty"`
}

// hidden stands for a value that may be a secret.
const hidden = "***"

// makePlan is pure: what was asked for and what was found give what is to be done.
func makePlan(o options, f facts) (plan, error) {
	verb, ok := f.release.Verb(o.command)
	if !ok {
		return plan{}, fmt.Errorf("release %s has no %s", f.release.Name, o.command)
	}
	if len(o.args) > 0 && !verb.TakesArgs {
		return plan{}, refuse(exitUsage, fmt.Errorf("%s takes no arguments, and got %q", verb.Name, strings.Join(o.args, " ")))
	}
	chosen, warnings, err := chooseTempDir(f.tempDirs)
	if err != nil {
		return plan{}, err
	}
	p := plan{
		Command:     o.command,
		Release:     f.release.Name,
		Layout:      f.layout,
		TempDir:     chosen,
		Identity:    f.identity,
		Environment: []variable{},
		Unset:       f.release.Unset,
		ModeFile:    path.Join(chosen.Path, verb.ModeFile),
		Drain:       verb.Drain,
		Health:      planHealth(verb, f, chosen.Path),
		GracePeriod: o.grace.String(),
		StopDelay:   o.stopDelay.String(),
		Signals:     planSignals(o),
		Warnings:    append(generalWarnings(o, f), warnings...),
		verb:        verb,
		drops:       f.identity.UID != f.self.UID || f.identity.GID != f.self.GID,
		grace:       o.grace,
		stopDelay:   o.stopDelay,
	}
	if verb.PIDFile != "" {
		p.StalePIDFile = path.Join(chosen.Path, verb.PIDFile)
	}
	env := p.environment(o, f)
	p.Directories = directories(env, chosen, f)
	return p, p.processes(verb, o.args, env, f.find)
}

// chooseTempDir takes the first candidate that seems usable, and says why those before
// it are not.
func chooseTempDir(candidates []tempDir) (tempDir, []string, error) {
	var warnings []string
	var faults []error
	for _, c := range candidates {
		if c.unusable == nil {
			return c, warnings, nil
		}
		faults = append(faults, c.unusable)
		if !c.explicit && c.Origin != originDefault {
			warnings = append(warnings, c.unusable.Error()+"; another TMPDIR is used")
		}
		if c.explicit || c.Origin == originEnvironment && errors.Is(c.unusable, unix.ENOTDIR) {
			return c, nil, refuse(exitCannotWrite, c.unusable)
		}
	}
	return tempDir{}, nil, refuse(exitCannotWrite, append(faults,
		errors.New("no directory can be TMPDIR; mount a writable one, such as a tmpfs on /tmp"))...)
}

func generalWarnings(o options, f facts) []string {
	warnings := []string{}
	if !f.releaseKnown {
		found := "has no version"
		if f.layout.Version != "" {
			found = "is version " + f.layout.Version
		}
		warnings = append(warnings, fmt.Sprintf("authentik in %s %s, which ak-init does not know; it is taken for %s", f.layout.Root, found, f.release.Name))
	}
	for _, name := range o.unknown {
		warnings = append(warnings, name+" belongs to no flag of ak-init and is ignored")
	}
	return warnings
}

func planSignals(o options) signalPlan {
	s := signalPlan{Group: o.signalGroup, rewrite: o.rewrite}
	for from, to := range o.rewrite {
		if s.Rewrite == nil {
			s.Rewrite = map[string]string{}
		}
		s.Rewrite[signalName(from)] = ""
		if to != 0 {
			s.Rewrite[signalName(from)] = signalName(to)
		}
	}
	return s
}

func planHealth(verb authentik.Verb, f facts, tmpdir string) healthPlan {
	h := healthPlan{
		Dir:       runtimeDir(tmpdir, f.self.UID, verb.Name),
		Addresses: f.config.ProbeAddresses(),
	}
	h.Socket = path.Join(h.Dir, socketName)
	if verb.Live != "" {
		h.Live = f.config.ProbePath(verb.Live)
	}
	if verb.Ready != "" {
		h.Ready = f.config.ProbePath(verb.Ready)
	}
	if verb.PIDFile != "" {
		h.PIDFile = path.Join(tmpdir, verb.PIDFile)
	}
	return h
}

// runtimeDir is ak-init's own directory: one for each uid and verb, so that two of
// them sharing a TMPDIR (a Podman pod's /dev/shm) meet neither.
func runtimeDir(tmpdir string, uid int, verb string) string {
	return path.Join(tmpdir, fmt.Sprintf("ak-init-%d-%s", uid, verb))
}

// socketName is the health socket in the runtime directory.
const socketName = "sock"

// metricsDir names the directory of Prometheus' multiprocess files.
const metricsDir = "PROMETHEUS_MULTIPROC_DIR"

// environment builds the children's environment, and notes in the plan what is not as
// it came.
func (p *plan) environment(o options, f facts) map[string]string {
	env := maps.Clone(o.env)
	set := func(name, value, origin string) {
		if env[name] == value && o.fromFile[name] == "" {
			return
		}
		env[name] = value
		p.Environment = append(p.Environment, variable{name, value, origin})
	}
	setDefault := func(name, value, origin string) {
		if env[name] == "" {
			set(name, value, origin)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(o.fromFile)) {
		p.Environment = append(p.Environment, variable{name, hidden, o.fromFile[name]})
	}
	layout := f.layout.Kind + " layout"
	set("TMPDIR", p.TempDir.Path, p.TempDir.Origin)
	// lifecycle/ak, 2026.2
	setDefault(metricsDir, path.Join(p.TempDir.Path, "authentik_prometheus_tmp"), "lifecycle/ak")
	if !path.IsAbs(env[metricsDir]) {
		set(metricsDir, path.Join(f.layout.Root, env[metricsDir]), "relative to the root, where children run")
	}
	set("PATH", searchPath(env["PATH"], f.layout.Path), layout)
	if f.layout.VirtualEnv != "" {
		set("VIRTUAL_ENV", f.layout.VirtualEnv, layout)
	}
	for _, name := range slices.Sorted(maps.Keys(f.layout.Defaults)) {
		setDefault(name, f.layout.Defaults[name], layout)
	}
	if p.drops {
		set("HOME", p.home(), "identity of the children")
	}
	for _, name := range p.Unset {
		delete(env, name)
	}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		p.env = append(p.env, name+"="+env[name])
	}
	return env
}

// home is where the children's user is at home, or a place that can be written.
func (p *plan) home() string {
	if home := p.Identity.Home; home != "" && home != "/nonexistent" {
		return home
	}
	return p.TempDir.Path
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

// directories are those that the verb's processes write to.
func directories(env map[string]string, chosen tempDir, f facts) []prepare.Dir {
	mode := fs.FileMode(0o700)
	if chosen.Path == "/tmp" {
		mode = fs.ModeSticky | 0o777
	}
	dirs := []prepare.Dir{
		{Path: chosen.Path, For: "TMPDIR", Mode: mode, Required: true, Otherwise: "set another TMPDIR"},
		{
			Path: env[metricsDir], For: "metric files", Mode: 0o755, Required: true,
			Otherwise: "set another PROMETHEUS_MULTIPROC_DIR",
		},
	}
	for _, d := range f.config.DataDirs {
		otherwise := fmt.Sprintf("set %s to another one, or %s to s3", d.Setting, d.Backend)
		dirs = append(dirs, prepare.Dir{Path: d.Path, For: "uploads", Mode: 0o770, IfThere: d.IfThere, Otherwise: otherwise})
	}
	return dirs
}

// processes resolves the service and the steps before it.
func (p *plan) processes(verb authentik.Verb, args []string, env map[string]string, find func(name, searchPath string) (string, error)) error {
	var faults []error
	resolve := func(name string, argv []string) process {
		program, err := find(argv[0], env["PATH"])
		if err != nil {
			faults = append(faults, err)
		}
		return process{Name: name, Path: program, Argv: argv, Dir: p.Layout.Root}
	}
	p.Steps = []process{}
	p.Service = resolve(verb.Name, verb.Argv(p.TempDir.Path, args))
	if b := verb.Bootstrap; b != nil && slices.ContainsFunc(b.Triggers, func(name string) bool { return env[name] != "" }) {
		step := resolve("bootstrap", append([]string{b.Program}, b.Args...))
		step.Optional = true
		p.Steps = append(p.Steps, step)
	}
	switch {
	case len(faults) == 0:
		return nil
	case errors.Is(faults[0], prepare.ErrNotExecutable):
		return refuse(exitNotExecutable, faults[0])
	default:
		return refuse(exitNotFound, faults[0])
	}
}

// spec is the plan's part that supervise carries out.
func (p *plan) spec() supervise.Spec {
	var identity *supervise.Identity
	if p.drops {
		identity = &supervise.Identity{UID: uint32(p.Identity.UID), GID: uint32(p.Identity.GID)}
		for _, g := range p.Identity.Groups {
			identity.Groups = append(identity.Groups, uint32(g))
		}
	}
	command := func(c process) supervise.Command {
		return supervise.Command{Name: c.Name, Path: c.Path, Argv: c.Argv, Dir: c.Dir, Env: p.env, Identity: identity}
	}
	s := supervise.Spec{
		Service:   supervise.Service{Command: command(p.Service), Drain: p.Drain},
		Grace:     p.grace,
		StopDelay: p.stopDelay,
		Group:     p.Signals.Group,
		Rewrite:   p.Signals.rewrite,
	}
	for _, step := range p.Steps {
		s.Steps = append(s.Steps, supervise.Step{Command: command(step), Optional: step.Optional})
	}
	return s
}
