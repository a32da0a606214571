package authentik

import (
	"bytes"
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

// ConsoleScript is a program that an installer of Python packages made, such as gunicorn.
// The Go server starts gunicorn by PATH and starts it again at once whenever it ends, for
// ever (internal/gounicorn/gounicorn.go, 2026.2): one that cannot run at all is best
// found before.
type ConsoleScript struct {
	// Path is where it lies, absolute.
	Path string
	// Env is what it will run with. PATH, PYTHONPATH, NIX_PYTHONPATH and PYTHONHOME decide
	// what Python it gets and what that finds.
	Env map[string]string

	// wrappers is how many shell wrappers lie before it.
	wrappers int
}

// Fault is the kind of thing that is wrong with a script.
type Fault int

// What can be wrong with a console script.
const (
	// DeadLink: a link that leads to nothing, as to a store path that is gone.
	DeadLink Fault = iota + 1
	// NotAProgram: the kernel does not know how to start it.
	NotAProgram
	// NoInterpreter: the interpreter does not exist or may not be run.
	NoInterpreter
	// CarriageReturn: the first line ends as on Windows.
	CarriageReturn
	// TooDeep: interpreters that are scripts themselves, more than the kernel follows.
	TooDeep
	// IntegerIndex: entry points are taken by number or as a table of groups.
	IntegerIndex
	// NoModule: what it imports is not installed.
	NoModule
)

// ScriptError is why a console script cannot run.
type ScriptError struct {
	Fault Fault
	// Script is the program that was asked about, and At the file that is wrong, where
	// that is another one, behind it.
	Script, At string
	// Line counts from 1; 0 is for the file as a whole.
	Line int
	// Cause is what is wrong, Remedy what to do.
	Cause, Remedy string
}

func (e *ScriptError) Error() string { return e.What() + "; " + e.Remedy }

// What is the error without what to do about it.
func (e *ScriptError) What() string {
	where := ""
	if e.At != e.Script {
		where = e.At + ": "
	}
	if e.Line > 0 {
		where += fmt.Sprintf("line %d ", e.Line)
	}
	return fmt.Sprintf("cannot run %s: %s%s", e.Script, where, e.Cause)
}

// ScriptNamed gives the file that a program's name means in a search path: the first that
// may be run, or else the first that is there at all, even as a dead link, which a search
// does not find (man 3 exec). Empty if there is none.
func ScriptNamed(view View, name, searchPath string) string {
	if file := search(view, name, searchPath); file != "" {
		return file
	}
	for _, dir := range filepath.SplitList(searchPath) {
		file := path.Join(dir, name)
		if _, dead := deadLink(view, file); path.IsAbs(dir) && (dead || view.Exists(file)) {
			return file
		}
	}
	return ""
}

// Check says for sure why the script cannot run, nil if nothing is known against it. It
// reads files and starts nothing; of a program that is no script it knows nothing.
func (c ConsoleScript) Check(view View) *ScriptError {
	e := c.check(view, c.Path, 0)
	if e != nil {
		e.Script = c.Path
	}
	return e
}

// maxRewrites is how often the kernel puts an interpreter in a program's place (fs/exec.c,
// exec_binprm: ELOOP after that).
const maxRewrites = 5

// rebuild is what to do about most of them.
const rebuild = "build the image again so that its scripts and its Python are of one build"

func (c ConsoleScript) check(view View, file string, depth int) *ScriptError {
	if target, dead := deadLink(view, file); dead {
		return &ScriptError{Fault: DeadLink, At: file, Cause: "is a link to " + target + ", which does not exist", Remedy: rebuild}
	}
	if depth > maxRewrites {
		return &ScriptError{Fault: TooDeep, At: file, Cause: "is reached by too many scripts that are each other's interpreter", Remedy: "name a real program in the first line of the script"}
	}
	text, isText := readText(view, file)
	if !isText {
		return nil
	}
	line, err := shebang(text)
	if err != nil {
		return &ScriptError{Fault: NotAProgram, At: file, Line: 1, Cause: err.Error(), Remedy: "write one as #!/path/of/python3"}
	}
	if strings.HasSuffix(line.raw, "\r") {
		return &ScriptError{Fault: CarriageReturn, At: file, Line: 1, Cause: "ends in a carriage return, which becomes part of the interpreter's name or option", Remedy: "write the script with Unix line ends"}
	}
	if e := c.checkInterpreter(view, file, line, depth); e != nil {
		return e
	}
	return c.checkBody(view, file, line, string(text))
}

// readText reads what may be a script: not a binary, such as a wrapper of nixpkgs'
// makeBinaryWrapper, and not what we may not read.
func readText(view View, file string) ([]byte, bool) {
	isText := func(text []byte) bool { return bytes.IndexByte(text[:min(len(text), HeadSize)], 0) < 0 }
	if view.Head != nil {
		if head, err := view.Head(file); err != nil || !isText(head) {
			return nil, false
		}
	}
	text, err := view.Read(file)
	return text, err == nil && isText(text)
}

func (c ConsoleScript) checkInterpreter(view View, file string, line shebangLine, depth int) *ScriptError {
	fault := func(cause, remedy string) *ScriptError {
		return &ScriptError{Fault: NoInterpreter, At: file, Line: 1, Cause: cause, Remedy: remedy}
	}
	if !path.IsAbs(line.interpreter) {
		return nil // the kernel takes it as relative to wherever the caller stands
	}
	if e := exists(view, line.interpreter, fault); e != nil {
		return e
	}
	if e := c.check(view, line.interpreter, depth+1); e != nil {
		return e
	}
	name := line.viaEnv()
	if name == "" || strings.Contains(name, "/") || c.Env["PATH"] == "" {
		return nil
	}
	if search(view, name, c.Env["PATH"]) == "" {
		return fault("asks "+line.interpreter+" for "+name+", which is not in PATH="+c.Env["PATH"], "name the interpreter by its path")
	}
	return nil
}

func exists(view View, program string, fault func(cause, remedy string) *ScriptError) *ScriptError {
	switch target, dead := deadLink(view, program); {
	case dead:
		return fault("names the interpreter "+program+", a link to "+target+", which does not exist", rebuild)
	case !view.Exists(program):
		return fault("names the interpreter "+program+", which does not exist", rebuild)
	case view.Executable != nil && !view.Executable(program):
		return fault("names the interpreter "+program+", which is not executable", "chmod 755 "+program)
	}
	return nil
}

// search looks for a program that may be run.
func search(view View, name, searchPath string) string {
	for _, dir := range filepath.SplitList(searchPath) {
		file := path.Join(dir, name)
		if path.IsAbs(dir) && view.Exists(file) && (view.Executable == nil || view.Executable(file)) {
			return file
		}
	}
	return ""
}

// checkBody looks behind the first line: a wrapper's program, or Python's text.
func (c ConsoleScript) checkBody(view View, file string, line shebangLine, text string) *ScriptError {
	if isShell(line.interpreter) {
		if python := execPython(text); python != "" {
			// pip and uv write this where the path of Python is too long for a first line.
			if e := exists(view, python, func(cause, remedy string) *ScriptError {
				return &ScriptError{Fault: NoInterpreter, At: file, Line: 2, Cause: cause, Remedy: remedy}
			}); e != nil {
				return e
			}
			return c.checkPython(view, file, python, text)
		}
		return c.checkWrapped(view, file, text)
	}
	python := line.interpreter
	if name := line.viaEnv(); name != "" {
		python = search(view, path.Base(name), c.Env["PATH"])
	}
	if !isPython(python) {
		return nil
	}
	return c.checkPython(view, file, python, text)
}

// checkWrapped follows the last line of a shell wrapper as nixpkgs' makeWrapper writes
// it: exec [-a "$0"] "/path/of/.gunicorn-wrapped" … "$@".
func (c ConsoleScript) checkWrapped(view View, file, text string) *ScriptError {
	exec := regexp.MustCompile(`^exec (?:-a "?\$0"? +)?"?(/[^"$\s]+)"? `)
	number := 0
	for l := range strings.Lines(text) {
		number++
		found := exec.FindStringSubmatch(l)
		if found == nil {
			continue
		}
		if !view.Exists(found[1]) {
			return &ScriptError{Fault: DeadLink, At: file, Line: number, Cause: "runs " + found[1] + ", which does not exist", Remedy: rebuild}
		}
		wrapped := c
		if wrapped.wrappers++; wrapped.wrappers > maxLinks {
			return nil // in a circle, or as good as
		}
		if strings.Contains(text, "PYTHONPATH") || strings.Contains(text, "PYTHONHOME") {
			wrapped.Env = map[string]string{"PATH": c.Env["PATH"], "PYTHONPATH": "as the wrapper has it"}
		}
		return wrapped.check(view, found[1], 0) // a new program for the kernel
	}
	return nil
}

func isPython(program string) bool { return strings.HasPrefix(path.Base(program), "python") }

func isShell(program string) bool {
	switch path.Base(program) {
	case "sh", "bash", "dash":
		return true
	}
	return false
}
