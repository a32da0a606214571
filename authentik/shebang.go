package authentik

import (
	"errors"
	"fmt"
	"path"
	"strings"
)

// HeadSize is what the kernel reads of a file to see how to start it (BINPRM_BUF_SIZE;
// man 2 execve: 255 bytes for the text since Linux 5.1).
const HeadSize = 256

// shebangLine is the first line of a script as the kernel splits it (fs/binfmt_script.c):
// all behind the interpreter is one argument.
type shebangLine struct {
	raw                   string
	interpreter, argument string
}

func shebang(text []byte) (shebangLine, error) {
	first, hasMark := strings.CutPrefix(string(text[:min(len(text), HeadSize)]), "#!")
	switch {
	case len(text) == 0:
		return shebangLine{}, errors.New("is not there: the file is empty")
	case !hasMark:
		return shebangLine{}, errors.New("names no interpreter")
	}
	line, _, ended := strings.Cut(first, "\n")
	l := shebangLine{raw: line}
	name := strings.TrimLeft(line, " \t")
	l.interpreter, l.argument, _ = strings.Cut(strings.Replace(name, "\t", " ", 1), " ")
	l.argument = strings.Trim(l.argument, " \t")
	switch {
	case l.interpreter == "":
		return l, errors.New("names no interpreter")
	case !ended && len(text) >= HeadSize && !strings.ContainsAny(name, " \t"):
		return l, fmt.Errorf("names an interpreter that ends beyond byte %d, where the kernel stops reading", HeadSize)
	}
	return l, nil
}

// viaEnv is the program that env is asked for, empty where the interpreter is another or
// the argument is more than a name.
func (l shebangLine) viaEnv() string {
	if path.Base(l.interpreter) != "env" {
		return ""
	}
	words := strings.Fields(l.argument)
	if len(words) > 0 && words[0] == "-S" {
		words = words[1:]
	}
	if len(words) == 0 || strings.HasPrefix(words[0], "-") || strings.Contains(words[0], "=") {
		return ""
	}
	return words[0]
}

// maxLinks is what the kernel follows (man 7 path_resolution).
const maxLinks = 40

// chain gives a file and what its links lead to, one after the other.
func chain(view View, file string) []string {
	files := []string{file}
	for view.Readlink != nil && len(files) <= maxLinks {
		target, err := view.Readlink(file)
		if err != nil {
			break
		}
		if !path.IsAbs(target) {
			target = path.Join(path.Dir(file), target)
		}
		file = path.Clean(target)
		files = append(files, file)
	}
	return files
}

// deadLink tells whether a file is a link that leads to nothing, and to what.
func deadLink(view View, file string) (target string, dead bool) {
	files := chain(view, file)
	last := files[len(files)-1]
	return last, len(files) > 1 && !view.Exists(file)
}
