package prepare

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// mountHere mounts a file system in a directory that other uids can reach.
func mountHere(t *testing.T, fsType string, flags uintptr, options string) string {
	t.Helper()
	needRoot(t)
	dir := openDir(t)
	if err := unix.Mount(fsType, dir, fsType, flags, options); err != nil {
		t.Skipf("cannot mount a %s here: %v", fsType, err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

func TestRoom(t *testing.T) {
	dir := mountHere(t, "tmpfs", unix.MS_NOEXEC, "size=64m,nr_inodes=1000")
	got, err := Room(dir)
	want := Space{Total: 64 << 20, Free: 64 << 20, Inodes: 1000, FreeInodes: 999, FSType: "tmpfs", NoExec: true}
	if got != want || err != nil {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	got, err = Room(mountHere(t, "tmpfs", unix.MS_RDONLY, "size=0,nr_inodes=0"))
	if want := (Space{FSType: "tmpfs", ReadOnly: true}); got != want || err != nil {
		t.Errorf("one that counts nothing: got %+v, %v, want %+v", got, err, want)
	}
	if got, err := Room("/proc"); got.FSType != "proc" || err != nil {
		t.Errorf("/proc: %+v, %v", got, err)
	}
	if _, err := Room(dir + "/missing"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing one: %v", err)
	}
	if got := fileSystem(0x1234); got != "0x1234" {
		t.Errorf("an unknown one is %s", got)
	}
}

func TestInodesRunOutBeforeBlocks(t *testing.T) {
	dir := mountHere(t, "tmpfs", 0, "size=8m,nr_inodes=5")
	for _, name := range []string{"1", "2", "3", "4"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out := Dir{Path: dir, Required: true}.Make(Self())
	want := ": no inodes left, or as good as; it is owned by 0:0, mode 1777, on tmpfs mounted at " + dir + "; we are uid 0, gid 0; remove files there"
	if out.Fault == nil || !strings.Contains(out.Fault.Error(), want) || !errors.Is(out.Fault, unix.ENOSPC) {
		t.Errorf("got %v, want %q", out.Fault, want)
	}
	if err := NewReader(Bound).LookAt(dir, "a test", Self()); !errors.Is(err, errNoInodes) {
		t.Errorf("looked at: %v", err)
	}
}

func TestErrorNamesTheReadOnlyMountAndTheQuota(t *testing.T) {
	dir := mountHere(t, "tmpfs", unix.MS_RDONLY, "")
	out := Dir{Path: dir}.Make(Self())
	if want := "read-only file system; it is owned by 0:0, mode 1777, on tmpfs mounted at " + dir + ";"; !strings.Contains(out.Fault.Error(), want) {
		t.Errorf("got %v, want %q", out.Fault, want)
	}
	e := Error{Op: writeTo, Path: dir, Err: &os.PathError{Op: "write", Path: dir, Err: unix.EDQUOT}}
	if got := e.explain().Error(); !strings.Contains(got, "quota of its owner, group or project is used up") || !strings.Contains(got, "raise the quota") {
		t.Errorf("got %s", got)
	}
}

// POSIX message queues are files in a file system that makes nothing else.
func TestSocketsAreTried(t *testing.T) {
	dir := openDir(t)
	if err := tryBind(dir); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left %v", left)
	}
	if err := tryBind(filepath.Join(dir, strings.Repeat("x", 90))); !errors.Is(err, errTooLong) {
		t.Errorf("a long name: %v", err)
	}
	mqueue := mountHere(t, "mqueue", 0, "")
	err := tryBind(mqueue)
	if !errors.Is(err, errNoSockets) || givable(err, nobody) {
		t.Fatalf("%v, want one that no chown puts right", err)
	}
	e := Error{Op: writeTo, Path: mqueue, For: "TMPDIR", Err: err}
	for _, want := range []string{"(TMPDIR): unix sockets cannot be bound there: ", "on mqueue mounted at " + mqueue, "; mount a tmpfs there"} {
		if got := e.explain().Error(); !strings.Contains(got, want) {
			t.Errorf("got %s, want %q", got, want)
		}
	}
}

func TestLookChangesNothing(t *testing.T) {
	needRoot(t)
	dir := openDir(t)
	wrong, link, closed := filepath.Join(dir, "wrong"), filepath.Join(dir, "link"), filepath.Join(dir, "file/below")
	if err := errors.Join(os.Mkdir(wrong, 0o755), os.Symlink(wrong, link), os.WriteFile(filepath.Dir(closed), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if out := (Dir{Path: wrong}).Look(nobody); out.Fault != nil || !out.Given {
		t.Errorf("another's directory: %+v, want that it would be given", out)
	}
	if uid, _, mode := owner(t, wrong); uid != 0 || mode.Perm() != 0o755 {
		t.Errorf("it belongs to %d now, mode %v", uid, mode)
	}
	out := (Dir{Path: filepath.Join(dir, "a/b")}).Look(nobody)
	if want := []string{filepath.Join(dir, "a"), filepath.Join(dir, "a/b")}; out.Fault != nil || !slices.Equal(out.Made, want) {
		t.Errorf("a missing one: %+v, want that %v would be made", out, want)
	}
	for _, path := range []string{link, closed} {
		if out := (Dir{Path: path, Required: true}).Look(nobody); out.Fault == nil || out.Warning {
			t.Errorf("%s: %+v, want a fault", path, out)
		}
	}
	if out := (Dir{Path: filepath.Join(dir, "a"), IfThere: true}).Look(nobody); out.Fault != nil || len(out.Made) > 0 {
		t.Errorf("one that is not made: %+v", out)
	}
	if left, _ := os.ReadDir(dir); len(left) != 3 {
		t.Errorf("there is %v now", left)
	}
}

// What Look says comes true.
func TestLookSaysWhatMakeDoes(t *testing.T) {
	needRoot(t)
	full := mountHere(t, "tmpfs", 0, "nr_inodes=1")
	readOnly := mountHere(t, "tmpfs", unix.MS_RDONLY, "")
	base := openDir(t)
	for _, d := range []Dir{
		{Path: base}, {Path: base, Sockets: true}, {Path: base + "/x/y", Mode: 0o700},
		{Path: full}, {Path: readOnly}, {Path: readOnly + "/missing"}, {Path: readOnly, Required: true},
	} {
		look, makes := d.Look(Self()), d.Make(Self())
		if (look.Fault == nil) != (makes.Fault == nil) || look.Warning != makes.Warning || !slices.Equal(look.Made, makes.Made) {
			t.Errorf("%s: looked %+v, made %+v", d.Path, look, makes)
		}
	}
}

// What was made for root's children and for nobody else: a tmpfs of a container's, or a directory
// of an image's.
func TestAnUnusedDirectoryIsGiven(t *testing.T) {
	needRoot(t)
	const uid, gid = 65534, 65534
	for name, tt := range map[string]struct {
		put  func(dir string) error
		give bool
	}{
		"empty":         {func(string) error { return nil }, true},
		"as a new ext4": {func(dir string) error { return os.Mkdir(dir+"/lost+found", 0o700) }, true},
		"with a file":   {func(dir string) error { return os.WriteFile(dir+"/x", nil, 0o600) }, false},
		"with more beside lost+found": {func(dir string) error {
			return errors.Join(os.Mkdir(dir+"/lost+found", 0o700), os.Mkdir(dir+"/x", 0o700))
		}, false},
		"sticky":                  {func(dir string) error { return os.Chmod(dir, fs.ModeSticky|0o755) }, false},
		"for a group to write to": {func(dir string) error { return os.Chmod(dir, 0o775) }, false},
		"another's":               {func(dir string) error { return os.Chown(dir, 4711, 4711) }, false},
		"a link to one": {func(dir string) error {
			return errors.Join(os.Rename(dir, dir+"-there"), os.Symlink(dir+"-there", dir))
		}, false},
		"behind a directory that is another's": {func(dir string) error { return os.Chown(filepath.Dir(dir), 4711, 4711) }, true},
		"behind a link that is another's": {func(dir string) error {
			above := filepath.Dir(dir)
			return errors.Join(os.Rename(above, above+"-there"), os.Symlink(above+"-there", above), os.Lchown(above, 4711, 4711))
		}, false},
		"behind a closed door": {func(dir string) error { return os.Chmod(filepath.Dir(dir), 0o700) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			above := filepath.Join(openDir(t), "above")
			d := Dir{Path: filepath.Join(above, "tmp"), Required: true, Giving: GiveUnused}
			if err := errors.Join(os.MkdirAll(d.Path, 0o755), tt.put(d.Path)); err != nil {
				t.Fatal(err)
			}
			if got := NewReader(Bound).MayGive(d.Path, nobody); got != tt.give {
				t.Errorf("looked at: %t, want %t", got, tt.give)
			}
			never := d
			never.Giving = GiveNever
			if out := never.Make(nobody); out.Fault == nil || out.Given {
				t.Errorf("what is everybody's: %+v", out)
			}
			look := d.Look(nobody)
			made := d.Make(nobody)
			got, _, _ := owner(t, d.Path)
			if look.Given != tt.give || made.Given != tt.give || (made.Fault == nil) != tt.give || (got == uid) != tt.give {
				t.Errorf("looked %+v, made %+v, it belongs to %d; want given: %t", look, made, got, tt.give)
			}
		})
	}
	dir := mountHere(t, "tmpfs", 0, "mode=0755")
	out := Dir{Path: dir, Required: true, Sockets: true, Giving: GiveUnused}.Make(nobody)
	if u, g, _ := owner(t, dir); out.Fault != nil || u != uid || g != gid {
		t.Errorf("a tmpfs: %+v, it belongs to %d:%d", out, u, g)
	}
}

func TestMountTable(t *testing.T) {
	mounts := parseMounts(`22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw
30 22 0:26 / /data rw,relatime - nfs4 server:/x rw,vers=4.2
31 30 0:27 / /data/a\040b rw - fuse.rclone https://me:secret@host/x rw
32 22 0:28 / /tmp rw - tmpfs tmpfs rw
33 22 0:29 / /data rw - cifs //server/x rw
broken
`)
	for path, want := range map[string]string{
		"/": "ext4 /dev/root", "/database": "ext4 /dev/root", "/data": "cifs //server/x", "/data/x": "cifs //server/x",
		"/data/a b/c": "fuse.rclone https://host/x", "/tmp/x": "tmpfs",
	} {
		if got := holding(mounts, path).String(); got != want {
			t.Errorf("%s lies on %s, want %s", path, got, want)
		}
	}
}

// A full TMPDIR that a sweep makes room in is one.
func TestFullOfMetricFilesIsNotFull(t *testing.T) {
	dir := mountHere(t, "tmpfs", 0, "size=2m,mode=0755")
	metrics := filepath.Join(dir, "authentik-worker/authentik_prometheus_tmp")
	if err := os.MkdirAll(metrics, 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(metrics, "counter_7.db")
	if err := os.WriteFile(file, make([]byte, 4<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	looks := func() error {
		return errors.Join(NewReader(Bound).LookAt(dir, "a test", Self()), Dir{Path: dir, Required: true}.Look(Self()).Fault)
	}
	if err := looks(); err != nil {
		t.Errorf("of an earlier run's: %v", err)
	}
	giveTo(t, file, 4711, 4711)
	if err := looks(); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("of another's: %v", err)
	}
	giveTo(t, file, 0, 0)
	if err := errors.Join(os.Rename(file, metrics+"/notes"), os.Symlink("notes", file)); err != nil {
		t.Fatal(err)
	}
	if err := looks(); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("of other files: %v", err)
	}
	if out := (Dir{Path: dir, Required: true}).Make(Self()); !errors.Is(out.Fault, unix.ENOSPC) {
		t.Errorf("made: %+v", out)
	}
}
