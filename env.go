package main

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"ak-init/authentik"
)

// childEnvironment is what one child gets.
type childEnvironment struct {
	Name        string          `json:"name"`
	Environment []shownVariable `json:"environment"`
	byName      map[string]shownVariable
}

// shownVariable is a variable as it is shown. A hidden one has no value.
type shownVariable struct {
	variable
	Hidden bool `json:"hidden"`
}

// environments are what env prints.
type environments struct {
	Command  string             `json:"command"`
	Children []childEnvironment `json:"children"`
	// Unset are variables that ak-init takes away.
	Unset []string `json:"unset"`
}

// showEnvironment prints what the children of a command would get: for a shell, for docker
// --env-file, or as JSON. Secrets are hidden in each.
func showEnvironment(o options, stdout, stderr io.Writer) error {
	o.command = append(o.args, "server")[0]
	o.args = nil
	ahead := lookPatiently(o, nil)
	if ahead.err != nil {
		return ahead.err
	}
	all := environmentsIn(o, ahead.plan)
	w := bufio.NewWriter(stdout)
	switch o.output {
	case "json":
		return cmp.Or(writeJSON(w, all), w.Flush())
	case "docker":
		for _, unsaid := range writeForDocker(w, all) {
			_, _ = fmt.Fprintln(stderr, "ak-init:", unsaid)
		}
	default:
		writeForShell(w, all)
	}
	return w.Flush()
}

// environmentsIn takes them from a plan.
func environmentsIn(o options, p plan) environments {
	all := environments{Command: o.command, Children: []childEnvironment{}}
	gone := map[string]bool{}
	for _, name := range p.Unset {
		gone[name] = true
	}
	for _, s := range p.Services {
		child := environmentFor(o, p, s.process)
		all.Children = append(all.Children, child)
		for name := range o.env {
			if _, has := child.byName[name]; !has {
				gone[name] = true
			}
		}
	}
	all.Unset = slices.AppendSeq([]string{}, maps.Keys(gone))
	slices.Sort(all.Unset)
	return all
}

func environmentFor(o options, p plan, c process) childEnvironment {
	env := p.environmentOf(c)
	child := childEnvironment{Name: c.Name, byName: map[string]shownVariable{}}
	set := map[string]string{}
	for _, v := range slices.Concat(p.Environment, c.Environment) {
		set[v.Name] = v.Origin
	}
	for _, name := range slices.SortedFunc(maps.Keys(env), authentik.LoadOrder) {
		value := env[name]
		file := o.fromFile[name]
		v := shownVariable{variable: variable{name, value, cmp.Or(set[name], "environment")}}
		if value != "" && file != "" && value == o.env[name] || authentik.Secretive(name, value) {
			v.Value, v.Hidden = hidden, true
		}
		child.Environment, child.byName[name] = append(child.Environment, v), v
	}
	return child
}

// common are the variables that all children have alike, in order, and own those of each that
// others have not, or otherwise.
func (e environments) common() (common []shownVariable, own map[string][]shownVariable) {
	own = map[string][]shownVariable{}
	for i, child := range e.Children {
		for _, v := range child.Environment {
			alike := !slices.ContainsFunc(e.Children, func(other childEnvironment) bool {
				its, has := other.byName[v.Name]
				return !has || its.Value != v.Value
			})
			switch {
			case !alike:
				own[child.Name] = append(own[child.Name], v)
			case i == 0:
				common = append(common, v)
			}
		}
	}
	return common, own
}

// writeForShell writes what a shell can source (POSIX, 2.2.2 Single-Quotes). What it must not take
// over is there as a comment: a secret is not to become three stars, nor the shell another one.
func writeForShell(w io.Writer, e environments) {
	common, own := e.common()
	for _, name := range e.Unset {
		if isShellName(name) && !isShellsOwn(name) {
			_, _ = fmt.Fprintln(w, "unset", name) // w keeps the first error
		}
	}
	for _, v := range common {
		switch {
		case !isShellName(v.Name):
			comment(w, strconv.Quote(v.Name)+" is no name for a shell")
		case isShellsOwn(v.Name):
			comment(w, v.Name+" is the shell's own")
		case v.Hidden:
			comment(w, exported(v))
		default:
			_, _ = fmt.Fprintln(w, exported(v))
		}
	}
	for _, child := range e.Children {
		for _, v := range own[child.Name] {
			comment(w, child.Name+" alone: "+exported(v))
		}
	}
}

func exported(v shownVariable) string {
	return "export " + v.Name + "='" + strings.ReplaceAll(v.Value, "'", `'\''`) + "'"
}

// comment writes a text of which nothing is taken for more than that.
func comment(w io.Writer, text string) {
	_, _ = fmt.Fprintln(w, "# "+strings.ReplaceAll(text, "\n", "\n# "))
}

// isShellName: letters, digits and underscores, and no digit first (POSIX, 3.216 Name).
func isShellName(name string) bool {
	const letters, digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_", "0123456789"
	return name != "" && strings.Trim(name, letters+digits) == "" && !strings.Contains(digits, name[:1])
}

// isShellsOwn: a shell sets these itself, or does not let them be set (bash(1), Shell Variables).
func isShellsOwn(name string) bool {
	return slices.Contains([]string{
		"_", "PWD", "OLDPWD", "SHLVL", "IFS", "PPID", "UID", "EUID", "BASHOPTS", "SHELLOPTS", "BASH_VERSINFO",
	}, name)
}

// dockerLine is the longest line that docker reads (bufio.MaxScanTokenSize in Go).
const dockerLine = 64 << 10

// writeForDocker writes lines for docker --env-file, which takes all behind "=" as it stands, and
// gives a line for each variable that cannot be said so.
func writeForDocker(w io.Writer, e environments) (unsaid []string) {
	common, own := e.common()
	for _, v := range common {
		line := v.Name + "=" + v.Value
		switch why := unsayable(v); {
		case why != "":
			unsaid = append(unsaid, quotedName(v.Name)+" is left out: docker --env-file cannot say "+why)
			comment(w, unsaid[len(unsaid)-1])
		case v.Hidden:
			comment(w, line)
		default:
			_, _ = fmt.Fprintln(w, line) // w keeps the first error
		}
	}
	for _, child := range e.Children {
		for _, v := range own[child.Name] {
			comment(w, child.Name+" alone: "+v.Name+"="+v.Value)
		}
	}
	return unsaid
}

// unsayable is why a line of docker's file cannot be this variable (docker/cli, pkg/kvfile): lines
// end at a line break, and lose a carriage return before it.
func unsayable(v shownVariable) string {
	switch {
	case strings.Contains(v.Value, "\n"):
		return "a value with a line break"
	case strings.HasSuffix(v.Value, "\r"):
		return "a value with a carriage return at its end"
	case !utf8.ValidString(v.Name + v.Value):
		return "what is no UTF-8"
	case len(v.Name)+len(v.Value)+1 >= dockerLine:
		return "a value of this length"
	case strings.HasPrefix(v.Name, "#") || strings.ContainsFunc(v.Name, unicode.IsSpace):
		return "such a name"
	}
	return ""
}

// quotedName shows a name of which nothing can be taken for more than that.
func quotedName(name string) string {
	if isShellName(name) {
		return name
	}
	return strconv.Quote(name)
}
