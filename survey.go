package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"

	"ak-init/authentik"
	"ak-init/prepare"
)

// facts is what this machine is, as far as a plan depends on it.
type facts struct {
	self         prepare.Identity
	identity     prepare.Identity
	layout       authentik.Layout
	release      authentik.Release
	releaseKnown bool
	settings     authentik.Settings
	// settingsFault is what of them could not be read.
	settingsFault error
	config        authentik.Config
	tempDirs      []tempDir
	// databaseProgram is ak-init-database beside ak-init, empty where it is not.
	databaseProgram string
	find            finder
}

// Where a TMPDIR may come from, beside a flag.
const (
	originEnvironment = "TMPDIR in the environment"
	originDefault     = "a default for TMPDIR"
)

// survey looks and changes nothing. failed are directories that could not be written
// after all.
func survey(o options, failed map[string]error) (facts, error) {
	f := facts{self: prepare.Self(), find: prepare.Executable, releaseKnown: true}
	ofAuthentik := o.command != "run"
	if ofAuthentik {
		if err := f.surveyLayout(o); err != nil {
			return f, err
		}
	}
	if err := f.surveyIdentity(o); err != nil {
		return f, err
	}
	if ofAuthentik {
		settings, err := readSettings(o, f.layout.Root)
		f.settings, f.settingsFault, f.config = settings, err, settings.Config(f.layout.Root)
		f.databaseProgram = databaseProgram()
	}
	candidates, err := tempDirCandidates(o)
	if err != nil && ofAuthentik {
		return f, err
	}
	for _, c := range candidates {
		c.unusable = failed[c.Path]
		if c.unusable == nil {
			c.unusable = prepare.LookAt(c.Path, c.Origin, f.identity)
		}
		f.tempDirs = append(f.tempDirs, c)
		if c.unusable == nil {
			break // the rest is looked at when writing there fails after all
		}
	}
	return f, nil
}

// readSettings reads authentik's configuration as the children will.
func readSettings(o options, root string) (authentik.Settings, error) {
	return authentik.ReadSettings(authentik.Sources{
		Env:  o.env,
		Read: prepare.ReadSmall,
		Glob: func(pattern string) []string {
			found, _ := filepath.Glob(pattern) // the pattern is sound
			return found
		},
		Root: root,
	})
}

func (f *facts) surveyLayout(o options) error {
	roots := []string{o.root}
	if o.root == "" {
		workingDir, _ := os.Getwd() // one that is gone holds no authentik
		roots = authentik.Roots(workingDir, o.env["PATH"])
	} else if abs, err := filepath.Abs(o.root); err == nil {
		roots = []string{abs}
	}
	layout, err := authentik.Find(authentik.View{Exists: exists, Read: prepare.ReadSmall}, roots)
	if err != nil {
		return refuse(exitConfig, fmt.Errorf("%w; give the root that holds it by --root", err))
	}
	f.layout = layout
	f.release, f.releaseKnown = authentik.ReleaseOf(layout.Version)
	return nil
}

// surveyIdentity decides who the children are: --user, or for a root worker what the
// release says, else ourselves.
func (f *facts) surveyIdentity(o options) error {
	verb, _ := f.release.Verb(o.command)
	if o.command == "all" {
		// Both as one user, since both write to the same data.
		verb = f.release.Worker
	}
	dropsRoot := f.self.UID == 0 && verb.DropsRoot
	wanted := o.user
	if wanted == "" && dropsRoot {
		wanted = f.release.DropsTo
	}
	if wanted == "" {
		f.identity = f.self
		return nil
	}
	id, err := prepare.Become(f.self, wanted)
	if err != nil {
		return refuse(exitNoPermission, err)
	}
	if dropsRoot && id.UID != 0 {
		id = id.WithGroupOf(f.release.DockerSocket)
	}
	if err := prepare.MayTake(id); err != nil {
		return refuse(exitNoPermission, err)
	}
	f.identity = id
	return nil
}

// tempDirCandidates is the chain in which TMPDIR is looked for. One that could be
// right nowhere is refused: authentik would write to /authentik-mode, or relative to
// wherever it stands.
func tempDirCandidates(o options) ([]tempDir, error) {
	if o.tmpdir != "" {
		return []tempDir{{Path: filepath.Clean(o.tmpdir), Origin: o.origin("tmpdir"), explicit: true}}, nil
	}
	var chain []tempDir
	if dir, set := o.env["TMPDIR"]; set {
		if !filepath.IsAbs(dir) {
			return nil, refuse(exitConfig, fmt.Errorf("TMPDIR is %q in the %s: unset it or set an absolute path", dir, cmp.Or(o.fromFile["TMPDIR"], "environment")))
		}
		chain = append(chain, tempDir{Path: filepath.Clean(dir), Origin: originEnvironment})
	}
	for _, dir := range []string{"/dev/shm", "/tmp", "/var/tmp", o.env["XDG_RUNTIME_DIR"]} {
		if filepath.IsAbs(dir) {
			chain = append(chain, tempDir{Path: filepath.Clean(dir), Origin: originDefault})
		}
	}
	return chain, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
