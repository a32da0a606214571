package authentik

import (
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Layout is where one installation keeps its parts.
type Layout struct {
	// Kind is the row of the table that matched, such as "image" or "checkout".
	Kind string `json:"kind"`
	// Root holds manage.py, lifecycle/ and authentik/. Children run in it: authentik
	// names its files relative to its working directory (./lifecycle/gunicorn.conf.py).
	Root string `json:"root"`
	// Version is what authentik/__init__.py says, empty where it says nothing.
	Version string `json:"version"`
	// Path are directories that must be in the children's PATH, in this order.
	Path []string `json:"path"`
	// VirtualEnv is the children's VIRTUAL_ENV, empty to leave it alone.
	VirtualEnv string `json:"virtual_env,omitempty"`
	// Defaults are variables that the layout's own start script or image sets.
	Defaults map[string]string `json:"defaults,omitempty"`
	// Evidence is what was found there and decided it.
	Evidence []string `json:"evidence"`
	// Programs are what the services are started by, where that is not what the release says.
	Programs Programs `json:"programs,omitzero"`
	// Unknown is why no row matched, for one that is run through its own ak.
	Unknown string `json:"unknown,omitempty"`
}

// KindOwn is a layout that is not known, but has an ak.
const KindOwn = "own"

// kind is one row of the table of layouts. All names are relative to the root.
type kind struct {
	name  string
	needs []string
	// virtualEnv is where the layout has one, "{root}" for the root itself.
	virtualEnv string
	// venvs: it has the one that is active, or lies in the root, or none and Django in PATH's Python.
	venvs    bool
	path     []string
	defaults map[string]string
}

// What every layout holds (BASE_DIR and working directory are the same place).
func common() []string { return []string{"manage.py", "lifecycle", "authentik"} }

// kinds are the layouts that are known by what their root holds, the most particular first.
// Nixpkgs' package is known by its wrapper, see nixpkgs.
func kinds() []kind {
	return []kind{
		image("ak-root/.venv", "lifecycle", "ak-root/.venv/bin", "bin"), // lifecycle/container/Dockerfile, 2026.2
		image("ak-root/venv", "ak-root/venv/bin", "lifecycle", "bin"),   // Dockerfile, 2025.2
		{
			// One store path holds Django and Python; the server binary comes by PATH.
			name:       "nix",
			needs:      append(common(), "bin/python"),
			path:       []string{"bin"},
			virtualEnv: "{root}",
			defaults:   pythonDefaults(),
		},
		{name: "checkout", needs: append(common(), ".git", "go.mod"), venvs: true}, // a work tree's .git is a file
		{name: "venv", needs: common(), venvs: true},
	}
}

// pythonDefaults are what the official image and both Nix packages set.
func pythonDefaults() map[string]string {
	return map[string]string{"PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}
}

// image is the official image by its ENV VENV_PATH and PATH; the binary is in /bin.
func image(venv string, path ...string) kind {
	k := kind{
		name:     "image",
		needs:    append(common(), venv+"/bin/python"),
		path:     path,
		defaults: pythonDefaults(),
	}
	k.defaults["VENV_PATH"] = "{root}/" + venv
	return k
}

// View is how a layout is looked at: the file system, or a table in a test.
type View struct {
	Exists func(path string) bool
	// Read gives the start of a file.
	Read func(path string) ([]byte, error)

	// What follows is for [ConsoleScript], [Release.MissingData], [Release.NoBootstrap] and for
	// layouts that are not the official image's. Nil: nothing is so.

	// Head gives the first bytes of a file, [HeadSize] at most: enough to tell a script from a
	// binary, which is not read whole. Nil: all files are.
	Head func(path string) ([]byte, error)
	// Executable tells whether path leads to a file that may be run.
	Executable func(path string) bool
	// Readlink gives what a link holds, an error where there is none (man 2 readlink).
	Readlink func(path string) (string, error)
	// Names are the entries of a directory, none where it cannot be read.
	Names func(dir string) []string
	// SameFile tells whether two paths lead to one file, by whatever links.
	SameFile func(a, b string) bool
	// Self is the program that looks: an ak that is this one starts nothing.
	Self string
}

// Find gives the layout below the first root that holds one, by what is there and by the
// environment's PATH, VIRTUAL_ENV and VENV_PATH. A root that holds part of one makes the error
// say what it lacks. Where there is not even a part, but an ak, the layout is that one's own.
func Find(view View, roots []string, env map[string]string) (Layout, error) {
	f := finder{view, env}
	l, found := f.known(roots)
	if !found {
		half := f.half(roots)
		if l, found = f.own(roots); !found || half.isPart() {
			return Layout{}, half
		}
		l.Unknown = half.Error()
	}
	if raw, err := view.Read(path.Join(l.Root, "authentik/__init__.py")); err == nil {
		l.Version = versionIn(raw)
	}
	if l.Kind != KindOwn {
		l.Programs = f.programs(l)
	}
	return l, nil
}

// finder looks for one installation.
type finder struct {
	view View
	env  map[string]string
}

func (f finder) known(roots []string) (Layout, bool) {
	for _, root := range roots {
		for _, k := range kinds() {
			if l, ok := f.layout(k, root); ok {
				return l, true
			}
		}
	}
	return f.nixpkgs()
}

func (f finder) missing(root string, names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return f.view.Exists(path.Join(root, name)) })
}

func (f finder) layout(k kind, root string) (l Layout, ok bool) {
	if len(f.missing(root, k.needs)) > 0 {
		return Layout{}, false
	}
	inRoot := func(s string) string { return path.Clean(strings.ReplaceAll(s, "{root}", root)) }
	l = Layout{Kind: k.name, Root: root, Defaults: map[string]string{}}
	for _, dir := range k.path {
		l.Path = append(l.Path, path.Join(root, dir))
	}
	for _, name := range k.needs {
		l.Evidence = append(l.Evidence, path.Join(root, name))
	}
	if k.virtualEnv != "" {
		l.VirtualEnv = inRoot(k.virtualEnv)
	}
	for name, value := range k.defaults {
		if strings.HasPrefix(value, "{root}") {
			value = inRoot(value)
		}
		l.Defaults[name] = value
	}
	if k.venvs {
		ok = f.python(&l)
		return l, ok
	}
	return l, true
}

// versionIn finds VERSION = "2026.2.2" (authentik/__init__.py; __version__ before
// 2025.8).
func versionIn(source []byte) string {
	for line := range strings.Lines(string(source)) {
		name, value, ok := strings.Cut(line, "=")
		if name = strings.TrimSpace(name); ok && (name == "VERSION" || name == "__version__") {
			return strings.Trim(strings.TrimSpace(value), `"'`)
		}
	}
	return ""
}

// Roots are the places where authentik may be, likeliest first: where we stand, the
// official image's root, and what PATH leads to (a Nix store path's bin/).
func Roots(workingDir, searchPath string) []string {
	var distinct []string
	for _, root := range append([]string{workingDir, "/"}, prefixes(searchPath)...) {
		if root != "" && !slices.Contains(distinct, root) {
			distinct = append(distinct, root)
		}
	}
	return distinct
}

// pathDirs are the directories of a search path. An empty one is the working directory, and passed
// over, as one that is relative is.
func pathDirs(searchPath string) []string {
	return slices.DeleteFunc(filepath.SplitList(searchPath), func(dir string) bool { return !path.IsAbs(dir) })
}

// prefixes are where the bin directories of a search path lie.
func prefixes(searchPath string) []string {
	var all []string
	for _, dir := range pathDirs(searchPath) {
		if path.Base(path.Clean(dir)) == "bin" {
			all = append(all, path.Dir(path.Clean(dir)))
		}
	}
	return all
}
