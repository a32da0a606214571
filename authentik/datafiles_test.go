package authentik

import (
	"errors"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// nixRoot lays a root out as blumeops' image has it: the code in site-packages, linked
// from the root.
func nixRoot(t *testing.T) (root, site string) {
	t.Helper()
	root = filepath.Join(t.TempDir(), "nix/store/x-authentik-django-2026.2.2")
	site = root + "/lib/python3.14/site-packages"
	for _, f := range dataFiles() {
		switch {
		case f.Patched:
		case path.Ext(f.Path) == "" && !strings.HasSuffix(f.Path, "dictionary"):
			write(t, path.Join(site, f.Path, "x.py"), "")
		default:
			write(t, path.Join(site, f.Path), "")
		}
	}
	link(t, site+"/authentik", root+"/authentik")
	link(t, site+"/lifecycle", root+"/lifecycle")
	return root, site
}

func missing(root, kind string) []string {
	r, _ := ReleaseOf("2026.2.2")
	var lines []string
	for _, e := range r.MissingData(machine(), Layout{Kind: kind, Root: root}) {
		lines = append(lines, e.Error())
	}
	return lines
}

func TestMissingData(t *testing.T) {
	root, site := nixRoot(t)
	if lines := missing(root, "nix"); len(lines) != 0 {
		t.Fatalf("of a root that has all: %q", lines)
	}

	t.Run("a link that is not there is told once, with what to do", func(t *testing.T) {
		if err := os.Remove(root + "/authentik"); err != nil {
			t.Fatal(err)
		}
		want := root + "/authentik/lib/default.yml is missing, which authentik/lib/config.py opens: without it no setting has its default, and nothing starts; " +
			"the build of this image should link " + root + "/authentik to " + site + "/authentik"
		if lines := missing(root, "nix"); len(lines) != 1 || lines[0] != want {
			t.Errorf("got  %q\nwant %q", lines, want)
		}
		link(t, site+"/authentik", root+"/authentik")
	})
	t.Run("a package without its data", func(t *testing.T) {
		err := errors.Join(os.RemoveAll(site+"/authentik/sources/scim/schemas"), os.Remove(site+"/authentik/enterprise/public.pem"))
		if err != nil {
			t.Fatal(err)
		}
		lines := missing(root, "nix")
		if len(lines) != 2 || !strings.HasPrefix(lines[0], root+"/authentik/sources/scim/schemas/schema.json is missing") ||
			!strings.HasSuffix(lines[0], "from authentik's source of the same version") || !strings.Contains(lines[1], "no licence can be verified") {
			t.Errorf("got %q", lines)
		}
	})
	t.Run("the web interface belongs to a root that nobody has patched", func(t *testing.T) {
		lines := missing(root, "image")
		if len(lines) != 4 || !strings.Contains(lines[2], "/web/dist is missing") || !strings.Contains(lines[3], "/locale is missing") {
			t.Errorf("got %q", lines)
		}
		if lines := missing(root, "checkout"); len(lines) != 4 || !strings.HasSuffix(lines[2], `run "make web-build" in `+root) {
			t.Errorf("got %q", lines)
		}
		if lines := missing(root, "nixpkgs"); len(lines) != 2 {
			t.Errorf("got %q", lines)
		}
	})
}

func TestNoBootstrap(t *testing.T) {
	r, _ := ReleaseOf("2026.2.2")
	dir := t.TempDir()
	token := map[string]string{"AUTHENTIK_BOOTSTRAP_TOKEN": "secret", "AUTHENTIK_BOOTSTRAP_PASSWORD": ""}
	says := func(t *testing.T, dir string, env map[string]string, want string) {
		t.Helper()
		err := r.NoBootstrap(machine(), dir, env)
		if got := map[bool]string{false: "", true: "an error"}[err != nil]; want == "" && got != "" {
			t.Errorf("got %v", err)
		} else if want != "" && (err == nil || err.Error() != want) {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}

	t.Run("an empty mount", func(t *testing.T) {
		empty := dir + "/empty"
		says(t, empty, token, "AUTHENTIK_BOOTSTRAP_TOKEN will be ignored: "+empty+"/system/bootstrap.yaml is missing; a mount at "+
			empty+" hides what the image has there, so mount below it, as "+empty+"/custom")
		says(t, empty, map[string]string{"AUTHENTIK_BOOTSTRAP_EMAIL": "x"}, "") // alone it triggers nothing
	})
	t.Run("a copy", func(t *testing.T) {
		write(t, dir+"/copy/system/bootstrap.yaml", "")
		says(t, dir+"/copy", token, "")
	})
	t.Run("a directory that is a link out of it", func(t *testing.T) {
		link(t, dir+"/copy/system/", dir+"/linked/system")
		says(t, dir+"/linked", token, "AUTHENTIK_BOOTSTRAP_TOKEN will be ignored: "+dir+"/linked/system is a link to "+dir+
			"/copy/system/, and authentik reads no blueprint outside "+dir+"/linked; put a copy in its place")
	})
	t.Run("a ConfigMap, whose links stay inside", func(t *testing.T) {
		write(t, dir+"/map/system/..data/bootstrap.yaml", "")
		link(t, "..data/bootstrap.yaml", dir+"/map/system/bootstrap.yaml")
		says(t, dir+"/map", token, "")
	})
}

// What looks at an image writes nothing into it: a root that is mounted read-only will do.
func TestLookingWritesNothing(t *testing.T) {
	root, _ := nixRoot(t)
	link(t, "/bin/true", root+"/bin/python3.14")
	script := write(t, root+"/bin/gunicorn", "#!"+root+"/bin/python3.14\n"+bodies()["blumeops, by number"])
	before := changed(t, root)
	if e := (ConsoleScript{Path: script}).Check(machine()); e == nil || e.Fault != IntegerIndex {
		t.Fatalf("got %v", e)
	}
	missing(root, "nix")
	r, _ := ReleaseOf("2026.2.2")
	_ = r.NoBootstrap(machine(), root+"/blueprints", map[string]string{"AUTHENTIK_BOOTSTRAP_TOKEN": "x"})
	if after := changed(t, root); after != before {
		t.Errorf("changed:\n%s\nbefore:\n%s", after, before)
	}
}

// changed is when everything below a directory was last changed (ctime).
func changed(t *testing.T, dir string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "find", dir, "-printf", "%p %C@\n").Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
