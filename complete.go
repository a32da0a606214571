package main

import (
	"io"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"ak-init/completion"
)

// writeCompletion prints what a shell needs to complete our words.
func writeCompletion(o options, w io.Writer) error {
	return completion.Write(w, o.args[0], completable())
}

// completable are our commands and flags. One knows no management commands without asking Python.
func completable() completion.Program {
	p := completion.Program{Name: ownName}
	for _, name := range slices.Concat(ownCommands(), asked()) {
		known := slices.ContainsFunc(p.Commands, func(c completion.Command) bool { return c.Name == name })
		if known || name == "allinone" { // which is all
			continue
		}
		p.Commands = append(p.Commands, completion.Command{
			Name: name, Words: wordsOf(name), Files: slices.Contains([]string{"run", "bash", "manage", "install"}, name),
		})
	}
	takers := (&options{dryRun: true}).takers() // who knows what is still typed
	flagSet(&options{}).VisitAll(func(f *pflag.Flag) {
		one := completion.Flag{Name: f.Name, Commands: takers[f.Name]}
		kind, help := pflag.UnquoteUsage(f)
		one.Help = help
		switch {
		case f.NoOptDefVal != "":
		case kind == "DIR":
			one.Value = completion.Directory
		case kind == "FILE":
			one.Value = completion.File
		default:
			one.Value = completion.Text
			if kind == strings.ToLower(kind) && strings.Contains(kind, "|") {
				one.Choices = strings.Split(kind, "|")
			}
		}
		p.Flags = append(p.Flags, one)
	})
	return p
}
