package authentik

import (
	"path"
	"slices"
	"strings"
)

// venvVariables name an environment that somebody has chosen: "activate" sets the first, the
// official image and authentik's own script know the second (lifecycle/ak, prepare_debug).
func venvVariables() []string { return []string{"VIRTUAL_ENV", "VENV_PATH"} }

// venvDirs are where one lies in a root: uv's, and the one that Python's manual makes.
func venvDirs() []string { return []string{".venv", "venv"} }

// python finds the Python of a layout that may have any: the one that is active, as the script
// would take it, one in the root, or one in PATH that has Django.
func (f finder) python(l *Layout) bool {
	var venvs []string
	for _, name := range venvVariables() {
		if dir := f.env[name]; path.IsAbs(dir) {
			venvs = append(venvs, path.Clean(dir))
		}
	}
	for _, name := range venvDirs() {
		venvs = append(venvs, path.Join(l.Root, name))
	}
	for _, venv := range venvs {
		if python := path.Join(venv, "bin/python"); f.view.Exists(python) {
			l.VirtualEnv, l.Path = venv, []string{path.Join(venv, "bin")}
			l.Evidence = append(l.Evidence, python)
			return true
		}
	}
	for _, dir := range pathDirs(f.env["PATH"]) {
		if python := path.Join(dir, "python"); f.view.Exists(python) {
			django := f.django(path.Dir(path.Clean(dir)))
			l.Evidence = append(l.Evidence, python, django)
			return django != "" // no later one would be run
		}
	}
	return false
}

// django is where a prefix has it. Debian's Python looks in dist-packages, pip's own below local/
// (wiki.debian.org/Python).
func (f finder) django(prefix string) string {
	for _, site := range append(sitePackages(f.view, prefix), sitePackages(f.view, path.Join(prefix, "local"))...) {
		for _, dir := range []string{site, strings.Replace(site, "site-packages", "dist-packages", 1)} {
			if django := path.Join(dir, "django"); f.view.Exists(django) {
				return django
			}
		}
	}
	return ""
}

// nixpkgs finds the package of nixpkgs (pkgs/by-name/au/authentik/package.nix, 2025.2.3 and
// 2025.8.4): an ak that a wrapper gives its PATH, and a Python whose site-packages hold manage.py,
// lifecycle/ and authentik/. What else is named relative to the root elsewhere is patched there.
// An image that puts the same in its own PATH needs no wrapper.
func (f finder) nixpkgs() (Layout, bool) {
	wrapper := f.inPath("ak", pathDirs(f.env["PATH"]))
	bins := f.wrapped(wrapper)
	for _, prefix := range append(prefixes(strings.Join(bins, ":")), prefixes(f.env["PATH"])...) {
		python := path.Join(prefix, "bin/python")
		if !f.view.Exists(python) {
			continue
		}
		for _, site := range sitePackages(f.view, prefix) {
			if len(f.missing(site, common())) > 0 {
				continue
			}
			l := Layout{Kind: "nixpkgs", Root: site, Path: bins, Defaults: pythonDefaults()}
			for _, name := range common() {
				l.Evidence = append(l.Evidence, path.Join(site, name))
			}
			if l.Evidence = append(l.Evidence, python); len(bins) > 0 {
				l.Evidence = append(l.Evidence, wrapper)
			}
			return l, true
		}
	}
	return Layout{}, false
}

// wrapped are the bin directories below a Nix store that a wrapper script puts into PATH. Each line
// puts its own in front (pkgs/build-support/setup-hooks/make-wrapper.sh). A binary names none.
func (f finder) wrapped(wrapper string) []string {
	if wrapper == "" || f.view.Head == nil {
		return nil
	}
	if head, err := f.view.Head(wrapper); err != nil || !strings.HasPrefix(string(head), "#!") {
		return nil
	}
	raw, err := f.view.Read(wrapper)
	if err != nil {
		return nil
	}
	var bins []string
	for line := range strings.Lines(string(raw)) {
		assigned, isPath := strings.CutPrefix(strings.TrimSpace(line), "PATH=")
		if !isPath {
			continue
		}
		var words []string
		for word := range strings.FieldsFuncSeq(assigned, func(r rune) bool { return strings.ContainsRune(`'":$={} `, r) }) {
			if strings.Contains(word, "/store/") && path.Base(word) == "bin" && !slices.Contains(bins, word) {
				words = append(words, word)
			}
		}
		bins = append(words, bins...)
	}
	return bins
}

// inPath finds a program.
func (f finder) inPath(name string, dirs []string) string {
	for _, dir := range dirs {
		if file := path.Join(dir, name); f.view.Executable != nil && f.view.Executable(file) {
			return file
		}
	}
	return ""
}
