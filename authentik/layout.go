package authentik

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Layout is where one installation keeps its parts.
type Layout struct {
	// Kind is the row of the table that matched: "image" or "nix".
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
}

// kind is one row of the table of layouts. All names are relative to the root.
type kind struct {
	name       string
	needs      []string
	path       []string
	virtualEnv string
	defaults   map[string]string
}

// What every layout holds (BASE_DIR and working directory are the same place).
func common() []string { return []string{"manage.py", "lifecycle", "authentik"} }

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
			defaults: map[string]string{
				"PYTHONDONTWRITEBYTECODE": "1",
				"PYTHONUNBUFFERED":        "1",
			},
		},
	}
}

// image is the official image by its ENV VENV_PATH and PATH; the binary is in /bin.
func image(venv string, path ...string) kind {
	return kind{
		name:  "image",
		needs: append(common(), venv+"/bin/python"),
		path:  path,
		defaults: map[string]string{
			"VENV_PATH":               "{root}/" + venv,
			"PYTHONDONTWRITEBYTECODE": "1",
			"PYTHONUNBUFFERED":        "1",
		},
	}
}

// View is how a layout is looked at: the file system, or a table in a test.
type View struct {
	Exists func(path string) bool
	// Read gives the start of a file.
	Read func(path string) ([]byte, error)

	// What follows is for [ConsoleScript], [Release.MissingData] and [Release.NoBootstrap].

	// Head gives the first bytes of a file, [HeadSize] at most: enough to tell a script from a
	// binary, which is not read whole. Nil: all files are.
	Head func(path string) ([]byte, error)
	// Executable tells whether path leads to a file that may be run.
	Executable func(path string) bool
	// Readlink gives what a link holds, an error where there is none (man 2 readlink).
	Readlink func(path string) (string, error)
	// Names are the entries of a directory, none where it cannot be read.
	Names func(dir string) []string
}

// Find gives the layout below the first root that holds one. A root that holds part
// of one makes the error say what it lacks.
func Find(view View, roots []string) (Layout, error) {
	var nearest []string // what the likeliest root lacks
	var at string
	for _, root := range roots {
		for _, k := range kinds() {
			lacks := slices.DeleteFunc(slices.Clone(k.needs), func(name string) bool {
				return view.Exists(path.Join(root, name))
			})
			if len(lacks) == 0 {
				return k.layout(view, root), nil
			}
			last := len(lacks) - 1
			switch {
			case at == "" || len(lacks) < len(nearest):
				nearest, at = lacks, root
			case at == root && len(lacks) == len(nearest) && lacks[last] != nearest[last]:
				nearest[last] += " or " + lacks[last] // the kinds differ in where Python lies
			}
		}
	}
	return Layout{}, fmt.Errorf("no authentik found in %s: %s lacks %s",
		strings.Join(roots, ", "), at, strings.Join(nearest, ", "))
}

func (k kind) layout(view View, root string) Layout {
	inRoot := func(s string) string { return path.Clean(strings.ReplaceAll(s, "{root}", root)) }
	l := Layout{Kind: k.name, Root: root, Defaults: map[string]string{}}
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
	if raw, err := view.Read(path.Join(root, "authentik/__init__.py")); err == nil {
		l.Version = versionIn(raw)
	}
	return l
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
	roots := []string{workingDir, "/"}
	for _, dir := range filepath.SplitList(searchPath) {
		if path.IsAbs(dir) && path.Base(dir) == "bin" {
			roots = append(roots, path.Dir(path.Clean(dir)))
		}
	}
	var distinct []string
	for _, root := range roots {
		if root != "" && !slices.Contains(distinct, root) {
			distinct = append(distinct, root)
		}
	}
	return distinct
}
