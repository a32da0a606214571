package prepare

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// put writes files below dir; a value of "-> X" is a link to X, "/" an empty directory.
func put(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		at := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if to, isLink := strings.CutPrefix(content, "-> "); isLink {
			err = os.Symlink(to, at)
		} else if content == "/" {
			err = os.MkdirAll(at, 0o755)
		} else {
			err = os.WriteFile(at, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// tree is what lies below dir as put takes it, without the mirror's list.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(at string, e fs.DirEntry, err error) error {
		name, _ := filepath.Rel(dir, at)
		switch {
		case err != nil:
			return err
		case e.Type() == fs.ModeSymlink:
			to, err := os.Readlink(at)
			files[name] = "-> " + to
			return err
		case e.IsDir():
			if below, _ := os.ReadDir(at); len(below) == 0 {
				files[name] = "/"
			}
			return nil
		case name == mirrorList:
			return nil
		}
		raw, err := os.ReadFile(at)
		files[name] = string(raw)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// stamps tell a tree that was written to from one that was not: inode and time of last
// change of everything in it (man 7 inode, ctime).
func stamps(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(at string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Lstat(at)
		if err == nil {
			st := info.Sys().(*syscall.Stat_t)
			all[at] = fmt.Sprint(st.Ino, st.Ctim)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func builtins() map[string]string {
	return map[string]string{
		"system/bootstrap.yaml": "bootstrap 1", "system/providers.yaml": "providers 1",
		"default/a.yaml": "a 1", "default/deeper/b.yaml": "b 1", "top.yaml": "top 1",
	}
}

func mirror(from, into string) Mirror {
	return Mirror{From: from, Into: into, Suffix: ".yaml", For: "blueprints", Otherwise: "take another directory"}
}

func makeMirror(t *testing.T, m Mirror, id Identity) MirrorReport {
	t.Helper()
	r, err := m.Make(id)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestMirrorCopiesOnceAndLeavesTheStoreAlone(t *testing.T) {
	dir := t.TempDir()
	from, into := dir+"/nix/store/a-authentik/blueprints", dir+"/blueprints"
	put(t, from, builtins())
	put(t, from, map[string]string{"schema.json": "not wanted", ".hidden.yaml": "not wanted"})
	put(t, into, map[string]string{"custom/mine.yaml": "mine"})
	store := stamps(t, dir+"/nix")

	r := makeMirror(t, mirror(from, into), Self())
	want := builtins()
	if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), r.Written); diff != "" {
		t.Errorf("written (-want +got):\n%s", diff)
	}
	want["custom/mine.yaml"] = "mine"
	if diff := cmp.Diff(want, tree(t, into)); diff != "" {
		t.Errorf("after the first run (-want +got):\n%s", diff)
	}

	before := stamps(t, into)
	r = makeMirror(t, mirror(from, into), Self())
	if diff := cmp.Diff(MirrorReport{Same: 5}, r); diff != "" {
		t.Errorf("second run (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(before, stamps(t, into)); diff != "" {
		t.Errorf("the second run wrote (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(store, stamps(t, dir+"/nix")); diff != "" {
		t.Errorf("the store was written to (-before +after):\n%s", diff)
	}
}

func TestMirrorFollowsTheImageAndKeepsWhatTheUserChanged(t *testing.T) {
	dir := t.TempDir()
	first, second, into := dir+"/store/a/blueprints", dir+"/store/b/blueprints", dir+"/blueprints"
	put(t, first, builtins())
	put(t, first, map[string]string{"migrations/gone.yaml": "gone"})
	put(t, into, map[string]string{"custom/mine.yaml": "mine"})
	makeMirror(t, mirror(first, into), Self())

	put(t, into, map[string]string{"default/a.yaml": "changed by hand", "system/mine.yaml": "mine too"})
	put(t, second, map[string]string{
		"system/bootstrap.yaml": "bootstrap 2", "default/a.yaml": "a 2", "default/new.yaml": "new 2", "custom/x.yaml": "not seen",
	})
	r := makeMirror(t, mirror(second, into), Self())
	want := map[string]string{
		"custom/mine.yaml": "mine", "default/a.yaml": "changed by hand", "system/mine.yaml": "mine too",
		"system/bootstrap.yaml": "bootstrap 2", "default/new.yaml": "new 2",
	}
	if diff := cmp.Diff(want, tree(t, into)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	wantReport := MirrorReport{
		Written: []string{"default/new.yaml", "system/bootstrap.yaml"},
		Removed: []string{"default/deeper/b.yaml", "migrations/gone.yaml", "system/providers.yaml", "top.yaml"},
		Kept:    []string{"custom", "default/a.yaml"},
	}
	if diff := cmp.Diff(wantReport, r); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
}

func TestMirrorPutsCopiesInPlaceOfAnImagesLinks(t *testing.T) {
	dir := t.TempDir()
	old, from, into := dir+"/nix/store/old/blueprints", dir+"/nix/store/new/blueprints", dir+"/blueprints"
	put(t, old, builtins())
	put(t, from, builtins())
	put(t, dir, map[string]string{"srv/blueprints/migrations/x.yaml": "a user's"})
	put(t, from, map[string]string{"migrations/y.yaml": "y", "example/e.yaml": "e"})
	put(t, into, map[string]string{
		"system":     "-> " + old + "/system/", // as the shell's */ makes it
		"default":    "-> " + from + "/default",
		"example":    "-> /nix/store/collected/blueprints/example",
		"testing":    "-> /nix/store/collected/blueprints/testing", // no longer in the image
		"migrations": "-> " + dir + "/srv/blueprints/migrations",
		"other":      "-> custom",
	})
	r := makeMirror(t, mirror(from, into), Self())
	want := builtins()
	want["example/e.yaml"] = "e"
	want["migrations"], want["other"] = "-> "+dir+"/srv/blueprints/migrations", "-> custom"
	if diff := cmp.Diff(want, tree(t, into)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"default", "example", "system", "testing"}, r.Removed); diff != "" {
		t.Errorf("removed (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"migrations"}, r.Kept); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
}

func TestMirrorIntoItselfByAnotherName(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, builtins())
	other := filepath.Join(t.TempDir(), "blueprints")
	if err := os.Symlink(dir, other); err != nil {
		t.Fatal(err)
	}
	before := stamps(t, dir)
	if diff := cmp.Diff(MirrorReport{}, makeMirror(t, mirror(dir, other), Self())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(before, stamps(t, dir)); diff != "" {
		t.Errorf("written to (-before +after):\n%s", diff)
	}
}

// Interrupted when the list was written and the files were not, or some of them.
func TestMirrorGoesOnAfterAnInterruption(t *testing.T) {
	dir := t.TempDir()
	first, second, into := dir+"/store/a/blueprints", dir+"/store/b/blueprints", dir+"/blueprints"
	put(t, first, map[string]string{"default/a.yaml": "a 1", "default/b.yaml": "b 1", "default/gone.yaml": "gone"})
	put(t, second, map[string]string{"default/a.yaml": "a 2", "default/b.yaml": "b 2"})
	makeMirror(t, mirror(first, into), Self())

	full := mirror(second, into)
	root, err := os.OpenRoot(into)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	files, err := filesBelow(second, ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := root.ReadFile(mirrorList)
	if err != nil {
		t.Fatal(err)
	}
	w := mirroring{Mirror: full, files: files, root: root, listed: parseList(string(raw))}
	if err := errors.Join(w.writeList(string(raw), true), w.replace("default/b.yaml", []byte("b 2"))); err != nil {
		t.Fatal(err)
	}

	makeMirror(t, full, Self())
	if diff := cmp.Diff(map[string]string{"default/a.yaml": "a 2", "default/b.yaml": "b 2"}, tree(t, into)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Whoever may write to the directory may put links and a list of his own there.
func TestMirrorIsNotLedOutOfItsDirectory(t *testing.T) {
	dir := t.TempDir()
	from, into, outside := dir+"/store/a/blueprints", dir+"/blueprints", dir+"/outside"
	put(t, from, builtins())
	put(t, outside, map[string]string{"bootstrap.yaml": "precious", "old.yaml": "precious"})
	list := ""
	for _, name := range []string{"system/bootstrap.yaml", "system/old.yaml", "../outside/old.yaml", outside + "/old.yaml"} {
		list += sum([]byte("precious")) + "  " + name + "\n"
	}
	put(t, into, map[string]string{"system": "-> " + outside, mirrorList: list})
	before := stamps(t, outside)
	makeMirror(t, mirror(from, into), Self())
	if diff := cmp.Diff(before, stamps(t, outside)); diff != "" {
		t.Errorf("outside was changed (-before +after):\n%s", diff)
	}
}

// A user has put a link to a directory of his own in place of what the mirror made.
func TestMirrorWritesThroughNoLink(t *testing.T) {
	dir := t.TempDir()
	from, into := dir+"/store/a/blueprints", dir+"/blueprints"
	put(t, from, builtins())
	put(t, into, map[string]string{"custom/mine.yaml": "mine"})
	makeMirror(t, mirror(from, into), Self())
	if err := errors.Join(os.RemoveAll(into+"/system"), os.Symlink("custom", into+"/system")); err != nil {
		t.Fatal(err)
	}
	r := makeMirror(t, mirror(from, into), Self())
	if diff := cmp.Diff([]string{"system/bootstrap.yaml", "system/providers.yaml"}, r.Kept); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"mine.yaml": "mine"}, tree(t, into+"/custom")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestMirrorAsAnotherUser(t *testing.T) {
	needRoot(t)
	tests := []struct {
		name string
		uid  int
		mode fs.FileMode
		as   Identity
		says string
	}{
		{"a directory for all is written as the children's user", 0, 0o777, nobody, ""},
		{"the user's own too", nobody.UID, 0o700, nobody, ""},
		{"root's own by root, and readable for all", 0, 0o755, Self(), ""},
		{"another's is refused in one line", 4711, 0o755, Identity{}, "is owned by 4711:0, mode 0755; we are uid 65534, gid 65534; chown it to 65534:65534, or take another directory"},
		{"root's where others may write is not for root", 0, 0o775, Identity{}, "(blueprints): permission denied"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			defer unix.Umask(unix.Umask(0o077))
			dir := openDir(t)
			from, into := dir+"/from", dir+"/into"
			put(t, from, builtins())
			if err := exec.CommandContext(t.Context(), "chmod", "-R", "a+rX", from).Run(); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(os.Mkdir(into, 0o755), os.Chown(into, tt.uid, 0), os.Chmod(into, tt.mode)); err != nil {
				t.Fatal(err)
			}
			_, err := mirror(from, into).Make(nobody)
			if tt.says != "" {
				if err == nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "\n") {
					t.Fatalf("error %v, want one line with %q", err, tt.says)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			file := into + "/system/bootstrap.yaml"
			if uid, _, mode := owner(t, file); uid != tt.as.UID || mode.Perm() != 0o644 {
				t.Errorf("uid %d, mode %v; want uid %d, 0644", uid, mode, tt.as.UID)
			}
			if err := As(nobody, func() error { _, err := os.ReadFile(file); return err }); err != nil {
				t.Errorf("the children's user cannot read it: %v", err)
			}
		})
	}
}

// A directory that cannot be written is no fault as long as all is there.
func TestMirrorThatIsUpToDateNeedsNoRights(t *testing.T) {
	needRoot(t)
	dir := openDir(t)
	put(t, dir+"/from", builtins())
	makeMirror(t, mirror(dir+"/from", dir+"/into"), Self())
	if err := os.Chmod(dir+"/into", 0o775); err != nil { // so that it is not for root to write
		t.Fatal(err)
	}
	if diff := cmp.Diff(MirrorReport{Same: 5}, makeMirror(t, mirror(dir+"/from", dir+"/into"), nobody)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	put(t, dir+"/from", map[string]string{"default/a.yaml": "a 2"})
	if _, err := mirror(dir+"/from", dir+"/into").Make(nobody); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("got %v for a file that is older and cannot be written", err)
	}
}

func TestMirrorSaysWhatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	_, err := mirror(dir+"/none", dir).Make(Self())
	if err == nil || !strings.HasPrefix(err.Error(), "cannot read the image's own files in "+dir+"/none (blueprints): ") || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}
