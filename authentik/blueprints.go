package authentik

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// NoBootstrap says why the bootstrap variables of env will be ignored, nil if they will
// not or none is set: the blueprint that reads them is looked for in dir (blueprints_dir)
// alone, and its failure is ignored (goauthentik/authentik#7546).
//
// What leads out of dir through a link is refused (authentik/blueprints/models.py,
// retrieve_file), and links to directories are not searched (v1/tasks.py,
// blueprints_find; Path.rglob recurses into none, recurse_symlinks=False). Both the same
// from 2025.2 to 2026.2, on Python 3.10 to 3.14.
func (r Release) NoBootstrap(view View, dir string, env map[string]string) error {
	b := r.Worker.Bootstrap
	if b == nil || len(b.Args) == 0 {
		return nil
	}
	var set []string
	for _, name := range b.Triggers {
		if env[name] != "" {
			set = append(set, name)
		}
	}
	if len(set) == 0 {
		return nil
	}
	names, blueprint := strings.Join(set, " and "), b.Args[len(b.Args)-1]
	file := path.Join(dir, blueprint)
	if _, err := view.Read(file); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s will be ignored: %s is missing; a mount at %s hides what the image has there, so mount below it, as %s/custom", names, file, dir, dir)
	}
	if link, to := leadsOut(view, dir, blueprint); link != "" {
		return fmt.Errorf("%s will be ignored: %s is a link to %s, and authentik reads no blueprint outside %s; put a copy in its place", names, link, to, dir)
	}
	return nil
}

// leadsOut gives the first link on the way from dir to name that leads out of dir, with
// what it holds.
func leadsOut(view View, dir, name string) (link, to string) {
	if view.Readlink == nil {
		return "", ""
	}
	if _, err := view.Readlink(dir); err == nil {
		return "", "" // a directory that goes by two names; what is inside depends
	}
	at := dir
	for part := range strings.SplitSeq(name, "/") {
		at = path.Join(at, part)
		held, err := view.Readlink(at)
		if err != nil {
			continue
		}
		target := held
		if !path.IsAbs(target) {
			target = path.Join(path.Dir(at), target)
		}
		if !within(path.Clean(target), path.Clean(dir)) {
			return at, held
		}
	}
	return "", ""
}
