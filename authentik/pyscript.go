package authentik

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// checkPython looks for what this Python cannot do with a console script's text.
func (c ConsoleScript) checkPython(view View, file, program, text string) *ScriptError {
	p := pythonOf(view, program)
	if e := c.checkIndex(file, p, text); e != nil {
		return e
	}
	return c.checkModules(view, file, p, text)
}

// checkIndex finds entry points that are taken by number: importlib.metadata's EntryPoints
// refuses that with KeyError(0) since Python 3.12, as its selection by group does not know
// groups as keys (docs.python.org, importlib.metadata; seen on 3.12.1, 3.13.0, 3.14.2).
func (c ConsoleScript) checkIndex(file string, p python, text string) *ScriptError {
	if p.minor < 12 || !strings.Contains(text, "importlib.metadata") || guarded(text) {
		return nil
	}
	const selected = `(?:importlib\.)?(?:metadata\.)?(?:entry_points\([^()]*\)|distribution\([^()]*\)\.entry_points)(?:\.select\([^()]*\))?`
	assigned := regexp.MustCompile(`^\s*(\w+)\s*=\s*(.*?)\s*$`)
	whole := regexp.MustCompile(`^` + selected + `$`)
	direct := regexp.MustCompile(`(?:^|[^\w.])(` + selected + `)\[\s*-?\d+\s*\]`)
	groups := regexp.MustCompile(`(?:^|[^\w.])((?:importlib\.)?(?:metadata\.)?entry_points\(\s*\))(?:\[\s*['"]|\.get\()`)
	names := map[string]bool{}
	number := 0
	for line := range strings.Lines(withoutTexts(text)) {
		number++
		taken := indexed(line, names)
		for _, wrong := range []*regexp.Regexp{direct, groups} {
			if m := wrong.FindStringSubmatch(line); m != nil {
				taken = m[1]
			}
		}
		if taken != "" {
			return &ScriptError{
				Fault: IntegerIndex, At: file, Line: number,
				Cause:  fmt.Sprintf("takes %s by index, which Python 3.%d refuses (EntryPoints is asked by name)", taken, p.minor),
				Remedy: "take next(iter(...)) of it, or let the script call the function itself, as pip writes it: from gunicorn.app.wsgiapp import run",
			}
		}
		if m := assigned.FindStringSubmatch(line); m != nil {
			names[m[1]] = whole.MatchString(m[2])
		}
	}
	return nil
}

// withoutTexts is a script without its comments and its texts of several lines, line for line. A
// mark of either within a text of one line takes the rest of that with it, and so a fault may be
// missed; none is made up.
func withoutTexts(text string) string {
	marks := regexp.MustCompile(`(?s)""".*?(?:"""|$)|'''.*?(?:'''|$)|#[^\n]*`)
	return marks.ReplaceAllStringFunc(text, func(found string) string {
		return strings.Repeat("\n", strings.Count(found, "\n"))
	})
}

// indexed gives the name among names that a line takes an integer index of.
func indexed(line string, names map[string]bool) string {
	index := regexp.MustCompile(`(?:^|[^\w.])(\w+)\[\s*-?\d+\s*\]`)
	for _, m := range index.FindAllStringSubmatch(line, -1) {
		if names[m[1]] {
			return m[1] + " (entry points)"
		}
	}
	return ""
}

// guarded: a script that looks at its Python or catches what may go wrong knows better
// than we do. Import errors say nothing about indices.
func guarded(text string) bool {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.Contains(line, "version_info") || strings.Contains(line, "suppress(") || strings.Contains(line, "hasattr(") {
			return true
		}
		caught, isExcept := strings.CutPrefix(line, "except")
		if isExcept && !strings.Contains(caught, "ImportError") && !strings.Contains(caught, "ModuleNotFoundError") {
			return true
		}
	}
	return false
}

// checkModules finds a package that the script imports before all else and that its
// Python has not.
func (c ConsoleScript) checkModules(view View, file string, p python, text string) *ScriptError {
	number := 0
	for line := range strings.Lines(text) {
		number++
		module, name, ok := imported(line)
		if !ok || !strings.Contains(text, name+"(") || view.Exists(path.Join(p.site, module)) {
			continue
		}
		// To list whole directories is for those that are suspect already.
		if !p.closed(view, c.Env) || strings.Contains(text, "sys.path") || strings.Contains(text, "site.") {
			return nil
		}
		if p.has(view, module) {
			continue
		}
		remedy := "install it there"
		if module == "pkg_resources" {
			remedy = "it is part of setuptools before 82; install the package anew with pip or uv, whose scripts do without"
		}
		return &ScriptError{
			Fault: NoModule, At: file, Line: number,
			Cause: fmt.Sprintf("imports %s, which is not in %s", module, p.site), Remedy: remedy,
		}
	}
	return nil
}

// imported takes "from MODULE.more import NAME" apart, as pip, uv and older setuptools write
// it, at the start of a line: what is inside a try is indented.
func imported(line string) (module, name string, ok bool) {
	words := strings.Fields(line)
	if !strings.HasPrefix(line, "from ") || len(words) != 4 || words[2] != "import" {
		return "", "", false
	}
	module, _, _ = strings.Cut(words[1], ".")
	name = words[3]
	return module, name, isWord(module) && isWord(name)
}

// isWord tells whether a text is one of Python's names, as far as ASCII has them.
func isWord(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(r rune) bool {
		return r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	})
}

// execPython gives the Python that a script runs which is shell and Python at once: its
// second line is ”'exec' /path/python "$0" "$@". Empty if it is none or not written out.
func execPython(text string) string {
	if !strings.Contains(text, "'''exec' ") {
		return ""
	}
	m := regexp.MustCompile(`^#![^\n]*\n'''exec' "?(/[^"$\n]*?)"? "\$0" "\$@"\n`).FindStringSubmatch(text)
	if m == nil {
		return ""
	}
	return m[1]
}

// python is one installation, or virtualenv, by its program.
type python struct {
	// minor of Python 3, 0 where it is not known.
	minor int
	// site is its directory for packages; stdlib its own modules. Empty if not known.
	site, stdlib string
	// venv: only site and stdlib are searched, as far as the environment says nothing else.
	venv bool
}

// pythonOf finds out what a program's Python is without running it: by pyvenv.cfg beside
// or above it as it is named (docs.python.org, site), and by the name of the program
// behind its links, python3.N.
func pythonOf(view View, program string) python {
	files := chain(view, program)
	var p python
	for _, f := range slices.Backward(files) {
		if n, ok := minor(path.Base(f)); ok {
			p.minor = n
			break
		}
	}
	cfg, prefix := venvConfig(view, path.Dir(program))
	if cfg == nil {
		prefix = path.Dir(path.Dir(files[len(files)-1]))
	}
	if p.minor == 0 {
		for _, key := range []string{"version", "version_info"} {
			if n, ok := minor("python" + cfg[key]); ok {
				p.minor = n
			}
		}
	}
	if sites := sitePackages(view, prefix); p.minor == 0 && len(sites) == 1 {
		p.minor, _ = minor(path.Base(path.Dir(sites[0])))
	}
	if p.minor > 0 {
		lib := fmt.Sprintf("lib/python3.%d", p.minor)
		p.site = path.Join(prefix, lib, "site-packages")
		if home := cfg["home"]; home != "" {
			p.stdlib = path.Join(path.Dir(home), lib)
		}
	}
	p.venv = cfg != nil && cfg["include-system-site-packages"] != "true"
	return p
}

// venvConfig reads pyvenv.cfg and gives the prefix that it stands for.
func venvConfig(view View, bin string) (map[string]string, string) {
	for _, dir := range []string{bin, path.Dir(bin)} {
		raw, err := view.Read(path.Join(dir, "pyvenv.cfg"))
		if err != nil {
			continue
		}
		cfg := map[string]string{}
		for line := range strings.Lines(string(raw)) {
			if key, value, ok := strings.Cut(line, "="); ok {
				cfg[strings.ToLower(strings.TrimSpace(key))] = strings.TrimSpace(value)
			}
		}
		return cfg, dir
	}
	return nil, ""
}

// minor reads N in python3.N, and in python3.N.M.
func minor(name string) (int, bool) {
	rest, ok := strings.CutPrefix(name, "python3.")
	digits, _, _ := strings.Cut(rest, ".")
	n, err := strconv.Atoi(digits)
	return n, ok && err == nil
}

// closed tells whether nothing but site and stdlib can give this Python a package. A .pth
// file may add directories or run code; those of setuptools and virtualenv do neither.
func (p python) closed(view View, env map[string]string) bool {
	for _, name := range []string{"PYTHONPATH", "NIX_PYTHONPATH", "PYTHONHOME"} {
		if env[name] != "" {
			return false
		}
	}
	if !p.venv || p.stdlib == "" || view.Names == nil || !view.Exists(path.Join(p.stdlib, "os.py")) {
		return false
	}
	names := view.Names(p.site)
	return len(names) > 0 && !slices.ContainsFunc(names, func(name string) bool {
		return strings.HasSuffix(name, ".pth") && name != "distutils-precedence.pth" && name != "_virtualenv.pth" ||
			name == "sitecustomize.py" || name == "usercustomize.py"
	})
}

func (p python) has(view View, module string) bool {
	return slices.ContainsFunc([]string{p.site, p.stdlib, path.Join(p.stdlib, "lib-dynload")}, func(dir string) bool {
		return slices.ContainsFunc(view.Names(dir), func(name string) bool {
			return name == module || strings.HasPrefix(name, module+".")
		})
	})
}
