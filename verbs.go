package main

import (
	"cmp"
	"errors"
	"path"

	"ak-init/authentik"
)

// verbOf gives the verb that a command is in this release, and its words. What another release
// has as a verb is Django's word here.
func verbOf(o options, r authentik.Release) (authentik.Verb, []string) {
	if verb, ok := r.Verb(o.command); ok {
		return verb, o.args
	}
	verb, _ := r.Verb(authentik.ManageName)
	return verb, append([]string{o.command}, o.args...)
}

// stepsBefore adds a verb's own steps.
func (p *plan) stepsBefore(f facts, verb authentik.Verb) error {
	var faults []error
	for _, step := range verb.Before {
		if step.Root && f.self.UID != 0 {
			continue
		}
		child, err := p.step(step, f.find)
		p.Steps = append(p.Steps, child)
		faults = append(faults, err)
	}
	return merged(faults...)
}

func (p *plan) step(s authentik.Step, find finder) (process, error) {
	child, err := p.resolve(s.Name, append([]string{s.Program}, s.Args...), find)
	if child.asSelf = s.Root; s.Root && p.drops && p.ownHome != "" {
		child.Environment = []variable{{"HOME", p.ownHome, "root's own"}}
	}
	return child, err
}

// planTools adds the steps that install what authentik's debugger wants, where that makes sense.
func (p *plan) planTools(f facts, verb authentik.Verb) error {
	wanted := verb.WantsTools || f.settings.Debugger() && !verb.Interactive
	if !wanted || p.lacksForTools(f) != nil {
		return nil //nolint:nilerr // the check says why not
	}
	own := []variable{{"DEBIAN_FRONTEND", "noninteractive", "nobody answers questions"}}
	if venv := p.env["VENV_PATH"]; venv != "" {
		own = append(own, variable{"VIRTUAL_ENV", venv, "VENV_PATH, as its activate script sets it"})
	}
	for _, step := range f.release.Tools {
		child, err := p.step(step, f.find)
		if err != nil {
			return err
		}
		child.Environment = append(child.Environment, own...)
		p.Steps = append(p.Steps, child)
	}
	return nil
}

// lacksForTools says why packages cannot be installed here. Outside a container the script
// installs none either.
func (p *plan) lacksForTools(f facts) error {
	var faults []error
	switch {
	case !f.view.Exists(path.Join(f.layout.Root, "ak-root")):
		return errors.New("this is no container of authentik's (it has no /ak-root)")
	case f.self.UID != 0:
		faults = append(faults, errors.New("only root can install packages"))
	}
	for _, step := range f.release.Tools {
		_, err := f.find(step.Program, p.env["PATH"])
		faults = append(faults, err)
	}
	return cmp.Or(faults...)
}

// judgeDebugger says why the debugger's packages are not installed.
func judgeDebugger(c circumstances) []*finding {
	if !c.facts.settings.Debugger() {
		return []*finding{okay("off")}
	}
	if why := c.plan.lacksForTools(c.facts); why != nil {
		return []*finding{warn("start an image with these programs as root, or unset AUTHENTIK_DEBUGGER",
			"authentik's debugger is on, and packages for it are not installed: %s", why)}
	}
	return []*finding{okay("on: packages for it are installed before each start")}
}

// judgeWords tells which words lifecycle/ak would have dropped, as we do in its place.
func judgeWords(c circumstances) []*finding {
	verb, words := verbOf(c.options, c.facts.release)
	if !c.options.asScript || verb.TakesArgs || len(words) == 0 {
		return nil
	}
	return []*finding{warn("leave them away", "%s takes no words, and %q are dropped", verb.Name, words)}
}

// pauseName is argv[0] of what is in the place of sleep infinity, in an image that has no sleep.
const pauseName = "ak-init-pause"

func pause(name, dir string) process {
	return process{Name: name, Path: "/proc/self/exe", Argv: []string{pauseName}, Dir: dir}
}
