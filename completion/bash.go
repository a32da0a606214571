package completion

import "strings"

// bash parts words at "=" as well (bash(1), COMP_WORDBREAKS), so that --flag=value is three.
func bash(s *script, p Program) {
	s.line("# Completion for bash: source <(%s completion bash)", p.Name)
	s.line("%s() {", p.function())
	s.line(`	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} command= at`)
	s.line(`	if [[ $word == '=' ]]; then`)
	s.line(`		word=`)
	s.line(`	elif [[ $before == '=' ]]; then`)
	s.line(`		before=${COMP_WORDS[COMP_CWORD - 2]}`)
	s.line(`	fi`)
	s.line(`	for ((at = 1; at < COMP_CWORD; at++)); do`)
	s.line(`		case ${COMP_WORDS[at]} in`)
	s.line(`		%s)`, strings.Join(p.valued(func(f Flag) bool { return f.Value != None }), " | "))
	s.line(`			[[ ${COMP_WORDS[at + 1]} == '=' ]] && ((at++))`)
	s.line(`			((at++)) ;;`)
	s.line(`		-*) ;;`)
	s.line(`		*)`)
	s.line(`			command=${COMP_WORDS[at]}`)
	s.line(`			break ;;`)
	s.line(`		esac`)
	s.line(`	done`)
	s.line(`	COMPREPLY=()`)
	s.line(`	case $before in`)
	for _, f := range p.Flags {
		if len(f.Choices) > 0 {
			s.bashReply("--"+f.Name, "compgen -W "+quoted(strings.Join(f.Choices, " ")))
		}
	}
	s.bashReply(strings.Join(p.valued(func(f Flag) bool { return f.Value == Directory }), " | "), "compgen -d")
	s.bashReply(strings.Join(p.valued(func(f Flag) bool { return f.Value == File }), " | "), "compgen -f")
	s.line(`	%s)`, strings.Join(p.valued(func(f Flag) bool { return f.Value == Text && len(f.Choices) == 0 }), " | "))
	s.line(`		return ;; # nobody can guess it`)
	s.line(`	esac`)
	s.line(`	case $command:$word in`)
	s.bashReply(":-*", "compgen -W "+quoted(strings.Join(p.flags(""), " ")))
	s.bashReply(":*", "compgen -W "+quoted(strings.Join(p.commands(), " ")))
	for _, c := range p.Commands {
		if !c.Files { // those of a program are its own
			s.bashReply(c.Name+":-*", "compgen -W "+quoted(strings.Join(p.flags(c.Name), " ")))
		}
		switch {
		case c.Files:
			s.bashReply(c.Name+":*", "compgen -f")
		case len(c.Words) > 0:
			s.bashReply(c.Name+":*", "compgen -W "+quoted(strings.Join(c.Words, " ")))
		}
	}
	s.line(`	esac`)
	s.line(`}`)
	s.line(`complete -F %s %s`, p.function(), p.Name)
}

// bashReply is a case in which a command says what there is.
func (s *script) bashReply(pattern, command string) {
	s.line("	%s)", pattern)
	if strings.HasSuffix(command, "-d") || strings.HasSuffix(command, "-f") {
		s.line("		compopt -o filenames 2>/dev/null # a directory is not the last word")
	}
	s.line(`		mapfile -t COMPREPLY < <(%s -- "$word")`, command)
	s.line("		return ;;")
}
