// Package completion writes what makes a shell complete a program's words: of its commands, of
// their flags, and of the values of those.
package completion

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// Program is what is completed.
type Program struct {
	Name     string
	Commands []Command
	Flags    []Flag
}

// Command is a word that is one.
type Command struct {
	Name string
	// Words are those that it takes.
	Words []string
	// Files: it takes names of files, or a program and its words.
	Files bool
}

// Flag is a long one.
type Flag struct {
	Name, Help string
	Value      Value
	// Choices are a value's, where it has any.
	Choices []string
	// Commands are those that the flag is for, all where there are none.
	Commands []string
}

// Value is what a flag's value is.
type Value int

// The values.
const (
	// None: it is on or off.
	None Value = iota
	// Text is one of the choices, or anything.
	Text
	File
	Directory
)

// Shells are those that Write knows.
func Shells() []string { return []string{"bash", "fish", "zsh"} }

// Write writes the shell's script. It fails for another shell, or where w does.
func Write(w io.Writer, shell string, p Program) error {
	write := map[string]func(*script, Program){"bash": bash, "fish": fish, "zsh": zsh}[shell]
	if write == nil {
		return fmt.Errorf("%q is none of %s", shell, strings.Join(Shells(), ", "))
	}
	var s script
	write(&s, p)
	_, err := io.WriteString(w, s.String())
	return err
}

// script is written line by line.
type script struct{ strings.Builder }

func (s *script) line(format string, args ...any) {
	_, _ = fmt.Fprintf(s, format+"\n", args...) // it cannot fail
}

// quoted is a text that no shell of ours takes anything out of.
func quoted(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// function is a name for the program's own function.
func (p Program) function() string { return "_" + strings.ReplaceAll(p.Name, "-", "_") }

func (p Program) commands() (names []string) {
	for _, c := range p.Commands {
		names = append(names, c.Name)
	}
	return names
}

// flags are those of a command, as they are typed; of "" all.
func (p Program) flags(command string) (names []string) {
	for _, f := range p.Flags {
		if command == "" || len(f.Commands) == 0 || slices.Contains(f.Commands, command) {
			names = append(names, "--"+f.Name)
		}
	}
	return names
}

// valued are the flags for which this holds, as they are typed.
func (p Program) valued(holds func(Flag) bool) (names []string) {
	for _, f := range p.Flags {
		if holds(f) {
			names = append(names, "--"+f.Name)
		}
	}
	return names
}
