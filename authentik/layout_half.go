package authentik

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// halfError is why no layout was found: what the likeliest root lacks.
type halfError struct {
	roots []string
	at    string
	// lacks are names of what every layout holds; where there are none it is Python.
	lacks  []string
	python string
}

func (e *halfError) Error() string {
	what := strings.Join(e.lacks, ", ")
	if what == "" {
		what = e.python
	}
	return fmt.Sprintf("no authentik found in %s: %s lacks %s", strings.Join(e.roots, ", "), e.at, what)
}

// isPart tells whether there is half a layout: somebody wanted it to be whole, and its own ak would
// fail. Without two of the parts it is none that is known.
func (e *halfError) isPart() bool { return len(e.lacks) < 2 }

func (f finder) half(roots []string) *halfError {
	e := &halfError{roots: roots}
	for _, root := range roots {
		if lacks := f.missing(root, common()); e.at == "" || len(lacks) < len(e.lacks) {
			e.at, e.lacks = root, lacks
		}
	}
	e.python = f.lacksPython(e.at)
	return e
}

// lacksPython says where a Python was looked for, or what makes one.
func (f finder) lacksPython(root string) string {
	if f.view.Exists(path.Join(root, ".git")) || f.view.Exists(path.Join(root, "go.mod")) {
		return `a virtual environment: run "uv sync" there, or activate one`
	}
	var places []string
	for _, k := range kinds() {
		if name := k.needs[len(k.needs)-1]; path.Base(name) == "python" {
			places = append(places, name)
		}
	}
	for _, dir := range venvDirs() {
		places = append(places, path.Join(dir, "bin/python"))
	}
	for _, name := range venvVariables() {
		python := path.Join(f.env[name], "bin/python")
		named := slices.ContainsFunc(places, func(place string) bool { return path.Join(root, place) == python })
		if f.env[name] != "" && !named {
			places = append(places, python+" by "+name)
		}
	}
	return strings.Join(places, " or ") + ", or a python in PATH that has Django"
}

// own finds the ak of a layout that is not known: in a root, where the official image has it, or in
// PATH. This program's own link of that name would start itself.
func (f finder) own(roots []string) (Layout, bool) {
	isOther := func(ak string) bool {
		return f.view.Executable != nil && f.view.Executable(ak) && !f.same(ak, f.view.Self)
	}
	for _, root := range roots {
		if ak := path.Join(root, "lifecycle/ak"); isOther(ak) {
			return ownLayout(root, ak), true
		}
	}
	for _, dir := range pathDirs(f.env["PATH"]) {
		if ak := path.Join(dir, "ak"); isOther(ak) && len(roots) > 0 {
			return ownLayout(roots[0], ak), true
		}
	}
	return Layout{}, false
}

func ownLayout(root, ak string) Layout {
	return Layout{
		Kind: KindOwn, Root: root, Defaults: map[string]string{}, Evidence: []string{ak},
		Programs: Programs{Row: KindOwn, Server: []string{ak, "server"}, Worker: []string{ak, "worker"}, Evidence: []string{ak}},
	}
}

func (f finder) same(a, b string) bool {
	return a != "" && b != "" && f.view.SameFile != nil && f.view.SameFile(a, b)
}
