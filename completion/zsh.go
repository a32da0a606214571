package completion

import "strings"

// zsh's _arguments (zshcompsys(1)) reads a description up to "]", and a value up to ":".
func zsh(s *script, p Program) {
	s.line("#compdef %s", p.Name)
	s.line("# Completion for zsh, behind compinit: source <(%s completion zsh)", p.Name)
	s.line("%s() {", p.function())
	s.line("	local state line curcontext=$curcontext")
	s.line("	_arguments -C \\")
	for _, f := range p.Flags {
		help := strings.NewReplacer(`\`, `\\`, "[", `\[`, "]", `\]`, ":", `\:`).Replace(f.Help)
		value := map[Value]string{None: "", Text: ":value: ", File: ":file:_files", Directory: ":directory:_directories"}[f.Value]
		if len(f.Choices) > 0 {
			value = ":value:(" + strings.Join(f.Choices, " ") + ")"
		}
		equals := "="
		if f.Value == None {
			equals = ""
		}
		s.line("		%s \\", quoted("*--"+f.Name+equals+"["+help+"]"+value))
	}
	s.line("		%s \\", quoted("1:command:("+strings.Join(p.commands(), " ")+")"))
	s.line("		'*:word:->words'")
	s.line("	[[ $state == words ]] || return 0")
	s.line("	case $line[1] in")
	for _, c := range p.Commands {
		switch {
		case c.Files:
			s.line("	%s) _files ;;", c.Name)
		case len(c.Words) > 0:
			s.line("	%s) _values word %s ;;", c.Name, strings.Join(c.Words, " "))
		}
	}
	s.line("	esac")
	s.line("}")
	s.line("compdef %s %s", p.function(), p.Name)
}
