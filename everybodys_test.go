package main

import (
	"path"
	"slices"
	"testing"

	"ak-init/authentik"
	"ak-init/prepare"
)

// A setting may name a directory that holds more than uploads: in the image / puts them into the
// /media of earlier releases. Nobody gives the system away for it.
func TestWhatIsNotAuthentiksAloneStaysWhoseItIs(t *testing.T) {
	for _, tt := range []struct {
		dir, root string
		want      []string
	}{
		{"/data", "/", []string{"/data"}},
		{"/", "/", []string{"/media", "/reports"}},
		{"/etc/", "/", []string{"/etc/media", "/etc/reports"}},
		{"/var/lib/authentik", "/", []string{"/var/lib/authentik"}},
		{"/var/lib", "/srv/authentik", []string{"/var/lib/media", "/var/lib/reports"}},
		{"/srv", "/srv/authentik", []string{"/srv/media", "/srv/reports"}},
		{"/srv/authentik", "/srv/authentik", []string{"/srv/authentik/media", "/srv/authentik/reports"}},
		{"/srv/authentik/data", "/srv/authentik", []string{"/srv/authentik/data"}},
	} {
		var f facts
		f.layout.Root = tt.root
		f.config.DataDirs = []authentik.DataDir{
			{Path: tt.dir}, {Path: path.Join(tt.dir, "media"), IfThere: true}, {Path: path.Join(tt.dir, "reports"), IfThere: true},
		}
		p := &plan{drops: true}
		p.planTidying(options{command: "server", fixOwnership: string(prepare.FixAlways)}, f)
		var trees []string
		for _, tree := range p.Trees {
			trees = append(trees, tree.Path)
		}
		if !slices.Equal(trees, tt.want) {
			t.Errorf("%s in %s: %q, want %q", tt.dir, tt.root, trees, tt.want)
		}
		var made []string
		for _, d := range f.dataDirectories() {
			if !d.IfThere {
				made = append(made, d.Path)
			}
		}
		if !slices.Equal(made, tt.want) {
			t.Errorf("%s in %s: %q are made, want %q", tt.dir, tt.root, made, tt.want)
		}
		everybodys := len(tt.want) > 1
		if given := metricsDirectory(tt.dir, tt.root).Giving != prepare.GiveNever; given == everybodys {
			t.Errorf("%s in %s is given for metric files: %v", tt.dir, tt.root, given)
		}
	}
}
