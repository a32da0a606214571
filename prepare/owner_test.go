package prepare

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// child is whose trees must be; fsGroup is a group that it has beside its own.
var child = Identity{UID: 1000, GID: 1000, Groups: []int{1000, fsGroup}}

const fsGroup = 2000

func giveTo(t *testing.T, path string, uid, gid int) {
	t.Helper()
	if err := os.Lchown(path, uid, gid); err != nil {
		t.Fatal(err)
	}
}

// plantTree makes a tree of root's below dir: two directories deep, a file in each, a link
// to a file and to a directory outside.
func plantTree(t *testing.T) (tree, outside string) {
	t.Helper()
	base := openDir(t)
	tree, outside = filepath.Join(base, "data"), filepath.Join(base, "outside")
	if err := errors.Join(
		os.MkdirAll(filepath.Join(tree, "media/public"), 0o755), os.Mkdir(outside, 0o755),
		os.WriteFile(filepath.Join(outside, "shadow"), nil, 0o600),
		os.WriteFile(filepath.Join(tree, "top"), nil, 0o600),
		os.WriteFile(filepath.Join(tree, "media/public/icon"), nil, 0o600),
		os.Symlink(filepath.Join(outside, "shadow"), filepath.Join(tree, "file-link")),
		os.Symlink(outside, filepath.Join(tree, "media/dir-link")),
	); err != nil {
		t.Fatal(err)
	}
	return tree, outside
}

// entries gives each entry of a tree, the top first.
func entries(t *testing.T, tree string) map[string]syscall.Stat_t {
	t.Helper()
	all := map[string]syscall.Stat_t{}
	if err := filepath.WalkDir(tree, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil {
			all[path] = *info.Sys().(*syscall.Stat_t)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

func ownedByAll(t *testing.T, tree string, uid, gid int) {
	t.Helper()
	for path, st := range entries(t, tree) {
		if int(st.Uid) != uid || int(st.Gid) != gid {
			t.Errorf("%s belongs to %d:%d, want %d:%d", path, st.Uid, st.Gid, uid, gid)
		}
	}
}

// untouched compares owners, modes and the times at which inodes were written.
func untouched(t *testing.T, before, after map[string]syscall.Stat_t) {
	t.Helper()
	for path, was := range before {
		is, ok := after[path]
		if !ok || is.Ctim != was.Ctim || is.Mtim != was.Mtim || is.Uid != was.Uid || is.Gid != was.Gid || is.Mode != was.Mode {
			t.Errorf("%s was written to: %+v, was %+v", path, is, was)
		}
	}
}

func own(t *testing.T, tree string, fix Fix) OwnerReport {
	t.Helper()
	return Tree{Path: tree, For: "uploads"}.Own(t.Context(), child, fix, nil)
}

// planted is how many entries plantTree makes.
const planted = 7

func TestOwnGivesAllThatIsWrongAndFollowsNoLink(t *testing.T) {
	needRoot(t)
	for _, fix := range []Fix{FixWrong, FixAlways} {
		t.Run(string(fix), func(t *testing.T) {
			tree, outside := plantTree(t)
			before := entries(t, outside)
			r := own(t, tree, fix)
			if r.Looked != planted || r.Wrong != planted || r.Changed != planted || r.Failed+r.Left+len(r.First) > 0 || r.GaveUp {
				t.Errorf("%+v", r)
			}
			ownedByAll(t, tree, child.UID, child.GID)
			untouched(t, before, entries(t, outside))
		})
	}
}

func TestOwnChangesOneWrongEntryAlone(t *testing.T) {
	needRoot(t)
	tree, _ := plantTree(t)
	own(t, tree, FixWrong)
	for _, wrong := range []string{"", "media/public", "media/public/icon", "media/dir-link"} {
		path := filepath.Join(tree, wrong)
		giveTo(t, path, 0, 0)
		before := entries(t, tree)
		delete(before, path)
		if r := own(t, tree, FixWrong); r.Wrong != 1 || r.Changed != 1 {
			t.Errorf("%q: %+v", wrong, r)
		}
		untouched(t, before, entries(t, tree))
		ownedByAll(t, tree, child.UID, child.GID)
	}
}

func TestOwnDoesNotWriteToATreeThatIsRight(t *testing.T) {
	needRoot(t)
	tree, _ := plantTree(t)
	own(t, tree, FixWrong)
	before := entries(t, tree)
	r := own(t, tree, FixWrong)
	if r.Looked != planted || r.Wrong+r.Changed+r.Failed > 0 {
		t.Errorf("%+v", r)
	}
	untouched(t, before, entries(t, tree))
}

// A directory that is read is written to, once a day at least, unless one asks for the
// contrary (mount(8), relatime).
func TestOwnLeavesAccessTimesAlone(t *testing.T) {
	needRoot(t)
	tree, _ := plantTree(t)
	own(t, tree, FixWrong)
	longAgo := time.Now().Add(-72 * time.Hour)
	if err := os.Chtimes(tree, longAgo, longAgo); err != nil {
		t.Fatal(err)
	}
	if r := own(t, tree, FixWrong); r.Looked != planted {
		t.Errorf("%+v", r)
	}
	info, err := os.Lstat(tree)
	if err != nil {
		t.Fatal(err)
	}
	if atime := time.Unix(info.Sys().(*syscall.Stat_t).Atim.Unix()); !atime.Equal(longAgo) {
		t.Errorf("the directory was accessed at %v, want %v", atime, longAgo)
	}
}

func TestOwnAlwaysWritesToATreeThatIsRight(t *testing.T) {
	needRoot(t)
	tree, _ := plantTree(t)
	own(t, tree, FixWrong)
	if r := own(t, tree, FixAlways); r.Wrong != 0 || r.Changed != planted {
		t.Errorf("%+v", r)
	}
}

func TestOwnNeverLooksOnly(t *testing.T) {
	needRoot(t)
	tree, _ := plantTree(t)
	before := entries(t, tree)
	if r := own(t, tree, FixNever); r.Looked != planted || r.Wrong != planted || r.Changed+r.Failed > 0 {
		t.Errorf("%+v", r)
	}
	untouched(t, before, entries(t, tree))
}

func TestOwnIsForRootWithChildrenThatAreNot(t *testing.T) {
	tree := t.TempDir()
	who := Self()
	if who.UID != 0 {
		who.UID = 1
	}
	if r := (Tree{Path: tree}).Own(t.Context(), who, FixAlways, nil); r.Looked != 0 {
		t.Errorf("%+v", r)
	}
}

func TestOwnKeepsTheGroupOfAKubernetesVolume(t *testing.T) {
	needRoot(t)
	tree, _ := plantTree(t)
	for path := range entries(t, tree) {
		giveTo(t, path, 0, fsGroup)
	}
	if r := own(t, tree, FixWrong); r.Changed != planted {
		t.Errorf("%+v", r)
	}
	ownedByAll(t, tree, child.UID, fsGroup)
	if r := own(t, tree, FixWrong); r.Wrong != 0 {
		t.Errorf("again: %+v", r)
	}
	own(t, tree, FixAlways)
	ownedByAll(t, tree, child.UID, child.GID)
}

func TestOwnLeavesAFileThatHasAnotherName(t *testing.T) {
	needRoot(t)
	tree, outside := plantTree(t)
	own(t, tree, FixWrong)
	shadow, link := filepath.Join(outside, "shadow"), filepath.Join(tree, "mine")
	if err := os.Link(shadow, link); err != nil {
		t.Fatal(err)
	}
	before := entries(t, outside)
	for _, fix := range []Fix{FixWrong, FixAlways} {
		r := own(t, tree, fix)
		if r.Left != 1 || r.Wrong != 1 || len(r.First) != 1 || !strings.Contains(r.First[0].Error(), link+" (uploads) is left to 0:0: the file has 2 names") {
			t.Errorf("%s: %+v", fix, r)
		}
	}
	untouched(t, before, entries(t, outside))
}

func TestOwnLeavesDevices(t *testing.T) {
	needRoot(t)
	tree, _ := plantTree(t)
	device := filepath.Join(tree, "null")
	if err := unix.Mknod(device, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))); err != nil {
		t.Skipf("cannot make a device here: %v", err)
	}
	if r := own(t, tree, FixWrong); r.Left != 1 || r.Changed != planted {
		t.Errorf("%+v", r)
	}
	if uid, _, _ := owner(t, device); uid != 0 {
		t.Errorf("the device belongs to %d", uid)
	}
}

func TestOwnTakesSetIDBitsAway(t *testing.T) {
	needRoot(t)
	tree, _ := plantTree(t)
	file := filepath.Join(tree, "top")
	if err := os.Chmod(file, fs.ModeSetuid|0o755); err != nil {
		t.Fatal(err)
	}
	own(t, tree, FixWrong)
	if _, _, mode := owner(t, file); mode&fs.ModeSetuid != 0 {
		t.Errorf("mode %v", mode)
	}
}

func TestOwnRefusesALinkAtTheTopAndOnTheWay(t *testing.T) {
	needRoot(t)
	tree, _ := plantTree(t)
	link := filepath.Join(filepath.Dir(tree), "link")
	if err := os.Symlink(tree, link); err != nil {
		t.Fatal(err)
	}
	before := entries(t, tree)
	for _, path := range []string{link, filepath.Join(link, "media"), filepath.Join(tree, "top")} {
		r := own(t, path, FixWrong)
		if r.Failed != 1 || len(r.First) != 1 || !strings.Contains(r.First[0].Error(), "name the directory itself, without links") {
			t.Errorf("%s: %+v", path, r)
		}
	}
	untouched(t, before, entries(t, tree))
}

func TestOwnFindsNothingWrongWithATreeThatIsNotThere(t *testing.T) {
	needRoot(t)
	if r := own(t, "/nowhere/at/all", FixWrong); r.Looked+r.Failed > 0 || r.GaveUp {
		t.Errorf("%+v", r)
	}
}

func TestOwnGivesUpWithItsContext(t *testing.T) {
	needRoot(t)
	tree, _ := plantTree(t)
	before := entries(t, tree)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := Tree{Path: tree}.Own(ctx, child, FixWrong, nil)
	if !r.GaveUp || r.Looked == planted {
		t.Errorf("%+v", r)
	}
	delete(before, tree) // looked at before there is anybody to stop
	untouched(t, before, entries(t, tree))
}

func TestOwnedAndChange(t *testing.T) {
	for _, tt := range []struct {
		uid, gid         uint32
		right            bool
		wantUID, wantGID int
	}{
		{1000, 1000, true, 1000, -1},
		{1000, fsGroup, true, 1000, -1},
		{1000, 0, false, 1000, 1000},
		{0, fsGroup, false, 1000, -1},
		{0, 1000, false, 1000, -1},
		{0, 0, false, 1000, 1000},
		{999, 999, false, 1000, 1000},
	} {
		t.Run(fmt.Sprintf("%d:%d", tt.uid, tt.gid), func(t *testing.T) {
			st := unix.Stat_t{Uid: tt.uid, Gid: tt.gid}
			if got := belongs(&st, child); got != tt.right {
				t.Errorf("right: %v, want %v", got, tt.right)
			}
			if uid, gid := change(&st, child, FixWrong); uid != tt.wantUID || gid != tt.wantGID {
				t.Errorf("chown gets %d:%d, want %d:%d", uid, gid, tt.wantUID, tt.wantGID)
			}
			if uid, gid := change(&st, child, FixAlways); uid != child.UID || gid != child.GID {
				t.Errorf("always: chown gets %d:%d", uid, gid)
			}
		})
	}
}
