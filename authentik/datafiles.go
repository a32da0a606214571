package authentik

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// DataFile is a file or directory that authentik opens below its root by name. A package
// that installs the Python code alone leaves it out.
type DataFile struct {
	// Path is relative to the root.
	Path string
	// Reader is who opens it, as a file of authentik's source.
	Reader string
	// Without is what happens where it is missing.
	Without string
	// Needed: a service does not start, or harms the database, without it. Otherwise
	// something in it does not work.
	Needed bool
	// Patched: Nix packages patch its path to another store path.
	Patched bool
	// Build is what makes it in a source tree, empty for what lies there.
	Build string
}

// dataFiles are those of 2026.2.2, by a search for BASE_DIR, __file__ and relative names.
// BASE_DIR is the directory above authentik/root/settings.py's package; others are
// relative to the working directory. Where the code lies in site-packages the two differ
// (NixOS/nixpkgs#329151).
func dataFiles() []DataFile {
	return []DataFile{
		{
			Path: "authentik/lib/default.yml", Reader: "authentik/lib/config.py", Needed: true,
			Without: "no setting has its default, and nothing starts",
		},
		{
			// Read when the module is imported, and all URLs import it.
			Path: "authentik/sources/scim/schemas/schema.json", Reader: "authentik/sources/scim/views/v2/schemas.py", Needed: true,
			Without: "every request to authentik's core fails",
		},
		{
			Path: "lifecycle/gunicorn.conf.py", Reader: "internal/gounicorn/gounicorn.go", Needed: true,
			Without: "gunicorn ends at once and is started again for ever",
		},
		{
			// Globbed: an empty one is no error.
			Path: "lifecycle/system_migrations", Reader: "lifecycle/migrate.py", Needed: true,
			Without: "migrations are passed over silently, and later ones fail",
		},
		{
			Path: "authentik/enterprise/public.pem", Reader: "authentik/enterprise/license.py",
			Without: "no licence can be verified",
		},
		{
			Path: "authentik/providers/radius/dictionaries/dictionary", Reader: "authentik/providers/radius/api/providers.py",
			Without: "RADIUS providers cannot answer",
		},
		{
			Path: "authentik/stages/authenticator_webauthn/mds/blob.jwt", Reader: "authentik/stages/authenticator_webauthn/tasks.py",
			Without: "WebAuthn devices are not told apart",
		},
		{
			// Also the logo in e-mails (authentik/stages/email/utils.py).
			Path: "web/dist", Reader: "internal/web/static.go", Patched: true, Build: "make web-build", // Makefile
			Without: "the web interface is empty and e-mails are not sent",
		},
		{
			Path: "locale", Reader: "authentik/root/settings.py", Patched: true,
			Without: "everything is in English",
		},
	}
}

// DataError is a data file that is missing.
type DataError struct {
	DataFile
	Root string
	// Elsewhere is where the same lies in site-packages, empty if it does not.
	Elsewhere string
	// Link is the highest missing name below the root, which a link could stand for.
	Link string
	// built: there is a source tree.
	built bool
}

func (e *DataError) Error() string { return e.What() + "; " + e.Remedy() }

// What is the error without what to do about it.
func (e *DataError) What() string {
	return fmt.Sprintf("%s is missing, which %s opens: without it %s", path.Join(e.Root, e.Path), e.Reader, e.Without)
}

// Remedy is what to do about it.
func (e *DataError) Remedy() string {
	if e.built && e.Build != "" {
		return fmt.Sprintf("run %q in %s", e.Build, e.Root)
	}
	if e.Elsewhere != "" {
		return fmt.Sprintf("the build of this image should link %s to %s", e.Link, e.Elsewhere)
	}
	return "the build of this image should put it there, from authentik's source of the same version"
}

// MissingData gives what a release's code will not find below the root of a layout. It
// changes nothing: the root of a store cannot be written.
func (r Release) MissingData(view View, l Layout) []*DataError {
	var missing []*DataError
	for _, f := range r.DataFiles {
		if f.Patched && strings.HasPrefix(l.Kind, "nix") || view.Exists(path.Join(l.Root, f.Path)) {
			continue
		}
		// One line for a directory, not one more for each file in it.
		if slices.ContainsFunc(missing, func(e *DataError) bool { return within(path.Join(l.Root, f.Path), e.Link) }) {
			continue
		}
		e := missingData(view, l.Root, f)
		e.built = l.Kind == "checkout" || l.Kind == "venv"
		missing = append(missing, e)
	}
	return missing
}

func missingData(view View, root string, f DataFile) *DataError {
	e := &DataError{DataFile: f, Root: root, Link: root}
	name := ""
	for part := range strings.SplitSeq(f.Path, "/") {
		name = path.Join(name, part)
		if e.Link = path.Join(root, name); !view.Exists(e.Link) {
			break
		}
	}
	for _, dir := range sitePackages(view, root) {
		if view.Exists(path.Join(dir, f.Path)) {
			e.Elsewhere = path.Join(dir, name)
			break
		}
	}
	return e
}

// within tells whether a clean path is dir or lies below it.
func within(p, dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }

// sitePackages are a prefix's directories for Python's packages.
func sitePackages(view View, prefix string) []string {
	if view.Names == nil {
		return nil
	}
	var dirs []string
	for _, name := range view.Names(path.Join(prefix, "lib")) {
		if _, ok := minor(name); ok {
			dirs = append(dirs, path.Join(prefix, "lib", name, "site-packages"))
		}
	}
	return dirs
}
