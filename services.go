package main

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"unicode"

	"ak-init/authentik"
	"ak-init/prepare"
	"ak-init/supervise"
)

// planVerb is for one verb of authentik's.
func (p *plan) planVerb(o options, f facts) error {
	verb, words := verbOf(o, f.release)
	if len(words) > 0 && !verb.TakesArgs && !o.asScript && verb.Name != "bash" { // whose words the script drops
		return refuse(exitUsage, fmt.Errorf("%s takes no arguments, and got %q", verb.Name, strings.Join(words, " ")))
	}
	if dir := p.env[metricsDir]; dir != "" {
		p.Directories = append(p.Directories, metricsDirectory(dir, f.layout.Root))
	}
	if !verb.Interactive {
		p.Directories = append(p.Directories, f.dataDirectories()...)
		p.runIn(f.self.UID, verb.Name)
	}
	own := p.skipMigrations(o, f, verb)
	s, err := p.service(verb, words, p.TempDir.Path, f.config, own, f.find)
	p.Services = append(p.Services, s)
	faults := []error{err, p.planTools(f, verb), p.stepsBefore(f, verb)}
	if !verb.Interactive {
		faults = append(faults, p.planDatabase(o, f, verb, nil))
	}
	return merged(append(faults, p.bootstrap(verb, s.Environment, f.find))...)
}

// originBeside is why a worker's port is another than its setting says.
const originBeside = "a port beside the server's"

// planAll is for server and worker side by side. Each has a TMPDIR of its own below the
// common one, so that neither takes the other's files, metrics included, and the worker
// has ports of its own.
func (p *plan) planAll(o options, f facts) error {
	if len(o.args) > 0 {
		return refuse(exitUsage, fmt.Errorf("all takes no arguments, and got %q", strings.Join(o.args, " ")))
	}
	p.Directories = append(p.Directories, f.dataDirectories()...)
	p.runIn(f.self.UID, o.command)
	beside := f.config.Beside()
	faults := []error{p.planTools(f, f.release.Server)}
	var ports []variable
	if listen := f.release.Worker.Listen; listen != "" {
		ports = []variable{
			{authentik.Variable(listen + "http"), beside.ListenHTTP, originBeside},
			{authentik.Variable(listen + "metrics"), beside.ListenMetrics, originBeside},
		}
	}
	for _, one := range []struct {
		verb   authentik.Verb
		config authentik.Config
		more   []variable
	}{{f.release.Server, f.config, nil}, {f.release.Worker, beside, ports}} {
		dir := path.Join(p.TempDir.Path, "authentik-"+one.verb.Name)
		metrics := path.Join(dir, metricsName)
		if o.env[metricsDir] != "" {
			metrics = path.Join(p.env[metricsDir], one.verb.Name)
		}
		own := []variable{{"TMPDIR", dir, "one of its own beside another service"}}
		p.Directories = append(p.Directories, prepare.Dir{
			Path: dir, For: one.verb.Name + "'s TMPDIR", Mode: 0o700, Required: true, Sockets: true, Otherwise: "set another TMPDIR",
		})
		if !one.verb.NoMetrics || p.env[metricsDir] != "" {
			own = append(own, variable{metricsDir, metrics, "one of its own beside another service"})
			p.Directories = append(p.Directories, metricsDirectory(metrics, f.layout.Root))
		}
		own = slices.Concat(own, one.more, p.skipMigrations(o, f, one.verb))
		s, err := p.service(one.verb, nil, dir, one.config, own, f.find)
		p.Services = append(p.Services, s)
		faults = append(faults, err)
	}
	both := authentik.Verb{WaitFirst: f.release.Server.WaitFirst || f.release.Worker.WaitFirst}
	faults = append(faults, p.planDatabase(o, f, both, p.Services[0].Environment[:2]))
	for i, verb := range []authentik.Verb{f.release.Server, f.release.Worker} {
		faults = append(faults, p.bootstrap(verb, p.Services[i].Environment, f.find))
	}
	return merged(faults...)
}

// planProgram is for a program of the user's own: nothing of it is changed, and what
// would be needed to answer for it is done where it can be.
func (p *plan) planProgram(o options, f facts) error {
	p.env = maps.Clone(o.env)
	if o.tmpdir != "" {
		p.set("TMPDIR", o.tmpdir, o.origin("tmpdir"))
	}
	p.noteFromFiles(o)
	if p.drops {
		p.setHome()
	}
	if chosen, _, err := chooseTempDir(f.tempDirs); err == nil {
		p.TempDir = chosen
		p.runIn(f.self.UID, o.command)
	}
	child, err := p.resolve(oneWord(path.Base(o.args[0])), o.args, f.find)
	child.foreground = true
	p.Services = append(p.Services, servicePlan{process: child})
	return err
}

// oneWord is a service's name as it goes over the socket and into logs, whatever the program
// is called.
func oneWord(name string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || !unicode.IsPrint(r) {
			return '_'
		}
		return r
	}, strings.ToValidUTF8(name, "_"))
}

// runIn names the directory in which ak-init keeps its own files: one for each uid and
// command, so that two of them sharing a TMPDIR (a Podman pod's /dev/shm) meet neither.
func (p *plan) runIn(uid int, command string) {
	p.Runtime = runtimeDir(p.TempDir.Path, uid, command)
	p.Socket = path.Join(p.Runtime, socketName)
}

func runtimeDir(tmpdir string, uid int, command string) string {
	return path.Join(tmpdir, fmt.Sprintf("%s%d-%s", runtimePrefix, uid, command))
}

// runtimePrefix is how the names of ak-init's own directories in a TMPDIR begin.
const runtimePrefix = "ak-init-"

// socketName is the socket in the runtime directory.
const socketName = "sock"

// service resolves a verb's main process; own is what its environment has beside every
// child's.
func (p *plan) service(verb authentik.Verb, args []string, tmpdir string, config authentik.Config, own []variable, find finder) (servicePlan, error) {
	if !verb.TakesArgs {
		args = nil
	}
	child := pause(verb.Name, p.Layout.Root)
	var err error
	if !verb.Pauses {
		child, err = p.resolve(verb.Name, verb.Argv(tmpdir, args), find)
	}
	child.Environment, child.foreground, child.migrates = own, verb.Interactive, verb.Migrates
	s := servicePlan{process: child, Drain: verb.Drain}
	if verb.Interactive || verb.Migrates {
		return s, err
	}
	if verb.ModeFile != "" {
		s.ModeFile = path.Join(tmpdir, verb.ModeFile)
	}
	if verb.PIDFile != "" {
		s.StalePIDFile = path.Join(tmpdir, verb.PIDFile)
	}
	if verb.Scratch != "" {
		p.Directories = append(p.Directories, prepare.Dir{
			Path: path.Join(tmpdir, verb.Scratch), For: scratch, Mode: 0o755, IfThere: true, Otherwise: "remove it",
		})
	}
	p.Signals.drop(verb.Messages)
	s.Health = healthOf(verb, tmpdir, config)
	return s, err
}

// scratch is what a directory is for that a service makes by itself, and keeps.
const scratch = "files of gunicorn's workers"

// healthOf is how a service answers.
func healthOf(verb authentik.Verb, tmpdir string, config authentik.Config) healthPlan {
	var h healthPlan
	switch {
	case verb.SocketAlone:
		h.Addresses, config.WebPath = []string{path.Join(tmpdir, verb.HealthSocket)}, "/"
	case verb.Listen != "":
		h.Addresses = config.ProbeAddresses()
	}
	if verb.Heartbeat != "" {
		h.Heartbeat, h.heartbeatAge = path.Join(tmpdir, verb.Heartbeat), verb.HeartbeatAge
	}
	if verb.PIDFile != "" {
		h.PIDFile = path.Join(tmpdir, verb.PIDFile)
	}
	if verb.Live != "" {
		h.Live, h.databasePorts = config.ProbePath(verb.Live), config.DatabasePorts
	}
	if verb.LiveSocket != "" && !config.Debug {
		h.LiveSocket, h.liveAlone = path.Join(tmpdir, verb.LiveSocket), verb.LiveAlone
	}
	if verb.Ready != "" {
		h.Ready = config.ProbePath(verb.Ready)
	}
	return h
}

// bootstrapName is the step that applies the credentials of a first start.
const bootstrapName = "bootstrap"

// bootstrap adds the step that applies the credentials of a first start, where there are
// any.
func (p *plan) bootstrap(verb authentik.Verb, own []variable, find finder) error {
	b := verb.Bootstrap
	if b == nil || !slices.ContainsFunc(b.Triggers, func(name string) bool { return p.env[name] != "" }) {
		return nil
	}
	step, err := p.resolve(bootstrapName, append([]string{b.Program}, b.Args...), find)
	step.Optional, step.Environment, step.migrates = !b.Needed, own, b.Migrates
	p.Steps = append(p.Steps, step)
	return err
}

// finder gives the absolute path of a program.
type finder func(name, searchPath string) (string, error)

// resolve looks a child's program up in the children's PATH.
func (p *plan) resolve(name string, argv []string, find finder) (process, error) {
	program, err := find(argv[0], p.env["PATH"])
	switch {
	case errors.Is(err, prepare.ErrNotExecutable):
		err = failed("programs", exitNotExecutable, err)
	case err != nil:
		err = failed("programs", exitNotFound, err)
	}
	return process{Name: name, Path: program, Argv: argv, Dir: p.Layout.Root}, err
}

// spec is the plan's part that supervise carries out.
func (p *plan) spec() supervise.Spec {
	s := supervise.Spec{
		Grace:     p.grace,
		StopDelay: p.stopDelay,
		Group:     p.Signals.Group,
		Rewrite:   p.Signals.rewrite,
		Restart:   supervise.DefaultRestart(p.Restart.Policy),
		Success:   p.SuccessExit,
		OpenFiles: p.OpenFiles,
		// authentik that was root and is not any more must not become it again by a set-id
		// program (PR_SET_NO_NEW_PRIVS). A program of the user's own may want to.
		NoNewPrivileges: p.drops && p.Identity.UID != 0 && p.Command != "run",
	}
	s.Restart.Limit = p.Restart.Limit
	if p.Companion != nil {
		s.Companion = new(p.command(*p.Companion))
	}
	for _, step := range p.Steps {
		s.Steps = append(s.Steps, supervise.Step{Command: p.command(step), Optional: step.Optional, Aside: step.Aside})
	}
	for _, service := range p.Services {
		s.Services = append(s.Services, supervise.Service{Command: p.command(service.process), Drain: service.Drain})
	}
	return s
}

// environmentOf is what a child gets.
func (p *plan) environmentOf(c process) map[string]string {
	env := p.env
	if c.bare {
		env = map[string]string{}
	}
	if len(c.Environment) > 0 {
		env = maps.Clone(env)
		for _, v := range c.Environment {
			env[v.Name] = v.Value
		}
	}
	return env
}

func (p *plan) command(c process) supervise.Command {
	env := p.environmentOf(c)
	command := supervise.Command{Name: c.Name, Path: c.Path, Argv: c.Argv, Dir: c.Dir, Foreground: c.foreground, Whole: c.migrates}
	for _, name := range slices.SortedFunc(maps.Keys(env), authentik.LoadOrder) {
		command.Env = append(command.Env, name+"="+env[name])
	}
	if p.drops && !c.asSelf {
		command.Identity = &supervise.Identity{UID: uint32(p.Identity.UID), GID: uint32(p.Identity.GID)}
		groups := p.Identity.Groups
		if c.bare {
			groups = c.ownGroups
		}
		for _, g := range groups {
			command.Identity.Groups = append(command.Identity.Groups, uint32(g))
		}
	}
	return command
}
