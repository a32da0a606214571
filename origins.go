package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"ak-init/authentik"
	"ak-init/prepare"
)

// origins tells where the values of a plan come from, by their names in its JSON: a flag, its twin
// in the environment or in an env file, a setting of authentik's, the release, the layout, or
// nobody.
type origins map[string]string

// Where a value comes from that nobody gave.
const (
	originNobody    = "default"
	originAuthentik = "authentik's default"
	originFlagged   = "command line"
)

// planFlags are the values of a plan that a flag decides, by their names in its JSON.
func planFlags() map[string]string {
	return map[string]string{
		"grace_period": "grace-period", "stop_delay": "stop-delay", "live_threshold": "live-threshold",
		"restart.policy": "restart", "restart.limit": "restart-limit", "success_exit": "success-exit",
		"signals.group": "signal-group", "fix_ownership": "fix-ownership",
		"database": "wait-database", "migrate": "migrate", "log_format": "log-format", "log_level": "log-level",
	}
}

// settledBy tells what gave a flag its value.
func (o *options) settledBy(flag string) string {
	switch {
	case slices.Contains(oneTime(), o.command) && slices.Contains([]string{"restart", "stop-delay", "success-exit"}, flag):
		return o.command + " is done once"
	case o.given[flag] != "":
		return o.given[flag]
	case flag == "log-level" && o.logLevel == "warning":
		return originNobody + " of " + o.command
	}
	return originNobody
}

// askedBy is the same of what is there because of a flag.
func (o *options) askedBy(flag string) string {
	return cmp.Or(o.given[flag], originNobody+" of --"+flag)
}

// variableOrigin tells where a variable stands.
func (o *options) variableOrigin(name string) string {
	if file := o.fromFile[name]; file != "" {
		return name + " from the " + fromEnvFile + file
	}
	return name + " from the environment"
}

// settingOrigin tells who gave the first of some settings of authentik's that has a value: the
// others do not count then.
func settingOrigin(o *options, s authentik.Settings, names ...string) string {
	name := s.FirstOf(names...)
	switch by := s.GivenBy(name); {
	case name == "" || by == "":
		return originAuthentik
	case by != authentik.ByEnvironment:
		return name + " in " + by
	case o.env[authentik.Variable(name)] == "": // one above it, as JSON
		return name + " from the environment"
	}
	return o.variableOrigin(authentik.Variable(name))
}

// originate says of each part of a plan where it comes from, where the plan is to be printed.
func (p *plan) originate(o options, f facts) {
	if !o.dryRun {
		return
	}
	p.LogFormat, p.LogLevel = o.logFormat, o.logLevel
	p.Origins = origins{"command": o.commandOrigin(), "identity": cmp.Or(f.identityBy, "who ak-init is"), "socket": "TMPDIR, uid and command"}
	for value, flag := range planFlags() {
		p.Origins[value] = o.settledBy(flag)
	}
	for sig := range p.Signals.rewrite {
		by := p.byPrograms() // they are messages between their processes
		if _, given := o.rewrite[sig]; given {
			by = o.settledBy("rewrite-signal")
		}
		p.Origins["signals.rewrite."+signalName(sig)] = by
	}
	if p.Companion != nil {
		p.Companion.Origin = o.askedBy("health-listen")
	}
	if p.Command == "run" {
		for i := range p.Services {
			p.Services[i].Origin = originFlagged
		}
		return
	}
	if verb, _ := verbOf(o, f.release); !verb.Interactive && !verb.Migrates {
		p.Migrate = o.migrate
	}
	p.Origins["open_files"] = fmt.Sprintf("the limit was %d", f.openFiles)
	p.Origins["layout"] = "found"
	if o.given["root"] != "" {
		p.Origins["layout"] = o.given["root"]
	}
	p.Origins["release"] = f.layout.Root + "/authentik/__init__.py"
	p.originateDirectories(o, f)
	p.originateProcesses(o, f)
	p.listAddresses(o, f)
}

func (o *options) commandOrigin() string {
	if o.asScript {
		return originFlagged + ", as " + scriptName
	}
	return originFlagged
}

// byRelease is the origin of what the table of releases says.
func (p *plan) byRelease() string { return "authentik " + p.Release }

// byPrograms is the origin of what the layout's programs do otherwise than the release.
func (p *plan) byPrograms() string {
	return strings.TrimSuffix(p.Layout.Kind+" layout, "+p.Layout.Programs.Row, ", ")
}

// originateDirectories is for directories and what is done in them.
func (p *plan) originateDirectories(o options, f facts) {
	by := map[string]string{}
	for _, d := range f.config.DataDirs {
		by[d.Path] = settingOrigin(&o, f.settings, d.From)
	}
	for _, s := range p.Services { // of several, each has its own
		for _, v := range s.Environment {
			by[v.Value] = v.Origin
		}
	}
	metrics := o.variableOrigin(metricsDir)
	for _, v := range p.Environment {
		if v.Name == metricsDir && v.Value != hidden {
			metrics = v.Origin
		}
	}
	by[p.env[metricsDir]], by[p.TempDir.Path] = metrics, p.TempDir.Origin
	for i, d := range p.Directories {
		p.Directories[i].Origin = by[d.Path]
		if d.For == scratch {
			p.Directories[i].Origin = p.byRelease()
		}
	}
	p.originateTrees(o, f, by)
	for _, name := range p.Unset {
		p.Origins["unset."+name] = p.byRelease()
		if !slices.Contains(f.release.Unset, name) {
			p.Origins["unset."+name] = "meant for ak-init"
		}
	}
}

// originateTrees is for what is looked through as a whole. by has the origins of other directories.
func (p *plan) originateTrees(o options, f facts, by map[string]string) {
	for _, read := range onlyRead() {
		by[f.settings.Text(read.setting)] = settingOrigin(&o, f.settings, read.setting)
	}
	for i, t := range p.Trees {
		p.Trees[i].Origin = by[t.Path]
	}
	if p.Blueprints != nil {
		p.Origins["blueprints"] = settingOrigin(&o, f.settings, "blueprints_dir")
	}
}

// originateProcesses is for steps and services.
func (p *plan) originateProcesses(o options, f facts) {
	for i, step := range p.Steps {
		p.Steps[i].Origin = p.stepOrigin(o, f, step.Name)
	}
	row, _ := authentik.ReleaseOf(f.layout.Version)
	for i, s := range p.Services {
		verb, _ := f.release.Verb(s.Name)
		by := p.byRelease()
		if of, ok := row.Verb(s.Name); ok && (of.Program != verb.Program || !slices.Equal(of.Args, verb.Args)) {
			by = p.byPrograms()
		}
		if len(o.args) > 0 {
			by += ", " + originFlagged
		}
		p.Services[i].Origin = by
		switch {
		case verb.SocketAlone:
			p.Services[i].Health.Origin = p.byPrograms()
		case len(s.Health.Addresses) > 0:
			p.Services[i].Health.Origin = "listen.http: " + p.addressOrigin(o, f, verb, "http") + ", web.path: " + settingOrigin(&o, f.settings, "web.path")
		}
	}
}

func (p *plan) stepOrigin(o options, f facts, name string) string {
	switch name {
	case authentik.WaitName:
		return o.askedBy("wait-database")
	case authentik.MigrateName, watchName:
		return o.askedBy("migrate")
	case bootstrapName:
		return p.triggerOf(o, f)
	}
	verb, _ := verbOf(o, f.release)
	if !verb.WantsTools && slices.ContainsFunc(f.release.Tools, func(s authentik.Step) bool { return s.Name == name }) {
		return settingOrigin(&o, f.settings, "debugger")
	}
	return p.byRelease()
}

// triggerOf is the credential that makes a first start apply all of them.
func (p *plan) triggerOf(o options, f facts) string {
	for _, verb := range []authentik.Verb{f.release.Server, f.release.Worker} {
		if verb.Bootstrap == nil {
			continue
		}
		for _, name := range verb.Bootstrap.Triggers {
			if p.env[name] != "" {
				return o.variableOrigin(name)
			}
		}
	}
	return p.byRelease()
}

// addressPlan is where a service listens.
type addressPlan struct {
	Service string `json:"service"`
	Setting string `json:"setting"`
	Address string `json:"address"`
	Origin  string `json:"origin"`
}

func (p *plan) listAddresses(o options, f facts) {
	for _, l := range f.listeners {
		verb, _ := f.release.Verb(l.service)
		name := strings.TrimPrefix(l.setting, cmp.Or(verb.Listen, "listen."))
		p.Addresses = append(p.Addresses, addressPlan{l.service, l.setting, l.address, p.addressOrigin(o, f, verb, name)})
	}
}

// addressOrigin tells who gave the address of this name, such as http.
func (p *plan) addressOrigin(o options, f facts, verb authentik.Verb, name string) string {
	switch {
	case p.Command == "all" && verb.Name == f.release.Worker.Name:
		return originBeside
	case f.onIPv4[authentik.Variable("listen."+name)] != "":
		return originNoIPv6
	}
	return settingOrigin(&o, f.settings, verb.ListenSettings(name)...)
}

// directoryWhy is what a directory is for, what is done about it, and who named it.
func directoryWhy(d prepare.Dir) string { return d.For + ", " + how(d) + "; " + d.Origin }
