package completion

import "strings"

// fish's own functions for this take a flag's value for a command: ours knows who has one.
func fish(s *script, p Program) {
	in := "_" + p.function() + "_in"
	s.line("# Completion for fish: %s completion fish | source", p.Name)
	s.line("function %s --description 'the command is one of these, or still to come where one is empty'", in)
	s.line("	set -l words (commandline -opc)")
	s.line("	set -l command ''")
	s.line("	set -e words[1]")
	s.line("	while set -q words[1]")
	s.line("		switch $words[1]")
	s.line("			case %s", strings.Join(p.valued(func(f Flag) bool { return f.Value != None }), " "))
	s.line("				set -e words[1]")
	s.line("			case '-*'")
	s.line("			case '*'")
	s.line("				set command $words[1]")
	s.line("				break")
	s.line("		end")
	s.line("		set -e words[1]")
	s.line("	end")
	s.line("	contains -- $command $argv")
	s.line("end")
	s.line("complete -c %s -f", p.Name)
	s.line("complete -c %s -n %s -a %s", p.Name, quoted(in+" ''"), quoted(strings.Join(p.commands(), " ")))
	for _, c := range p.Commands {
		switch {
		case c.Files:
			s.line("complete -c %s -n %s -F", p.Name, quoted(in+" "+c.Name))
		case len(c.Words) > 0:
			s.line("complete -c %s -n %s -a %s", p.Name, quoted(in+" "+c.Name), quoted(strings.Join(c.Words, " ")))
		}
	}
	for _, f := range p.Flags {
		when := ""
		if len(f.Commands) > 0 {
			when = " -n " + quoted(in+" '' "+strings.Join(f.Commands, " "))
		}
		value := map[Value]string{
			None: "", Text: " -x", File: " -r -F", Directory: " -x -a '(__fish_complete_directories)'",
		}[f.Value]
		if len(f.Choices) > 0 {
			value += " -a " + quoted(strings.Join(f.Choices, " "))
		}
		s.line("complete -c %s%s -l %s%s -d %s", p.Name, when, f.Name, value, quoted(f.Help))
	}
}
