package prepare

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// nobody is a uid that has no rights here.
var nobody = Identity{UID: 65534, GID: 65534, Groups: []int{65534}}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: it tries what another uid may do")
	}
}

// openDir is a directory that every uid can reach; t.TempDir lies below ones that it
// cannot.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "ak-init-test-") //nolint:usetesting // other uids cannot reach t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func owner(t *testing.T, path string) (uid, gid int, mode fs.FileMode) {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	return int(st.Uid), int(st.Gid), info.Mode()
}

func TestAsHasTheRightsOfTheOtherAndNoMore(t *testing.T) {
	needRoot(t)
	dir := openDir(t)
	create := func(name string) error { return os.WriteFile(filepath.Join(dir, name), nil, 0o600) }
	if err := As(nobody, func() error { return create("x") }); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("nobody wrote into root's directory: %v", err)
	}
	if err := os.Chown(dir, nobody.UID, nobody.GID); err != nil {
		t.Fatal(err)
	}
	if err := As(nobody, func() error { return create("x") }); err != nil {
		t.Fatal(err)
	}
	if uid, gid, _ := owner(t, filepath.Join(dir, "x")); uid != nobody.UID || gid != nobody.GID {
		t.Errorf("what nobody made belongs to %d:%d", uid, gid)
	}
	if err := As(Self(), func() error { return create("y") }); err != nil {
		t.Errorf("we have lost our own rights: %v", err)
	}
}

func TestAsTakesSupplementaryGroups(t *testing.T) {
	needRoot(t)
	dir := openDir(t)
	if err := os.Chown(dir, 0, 4242); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o770); err != nil {
		t.Fatal(err)
	}
	member := nobody
	member.Groups = []int{65534, 4242}
	if err := (Dir{Path: dir}).try(member); err != nil {
		t.Errorf("fsGroup's directory: %v", err)
	}
	if err := (Dir{Path: dir}).try(nobody); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("without the group: %v", err)
	}
}

func TestBecome(t *testing.T) {
	root := Identity{UID: 0, GID: 0, Groups: []int{0, 2000}}
	user := Identity{UID: 1000, GID: 1000, Groups: []int{1000}}
	tests := []struct {
		name     string
		self     Identity
		spec     string
		want     Identity
		mentions string
	}{
		{"a number without a name keeps the runtime's groups and loses root's", root, "4711:4712", Identity{UID: 4711, GID: 4712, Groups: []int{4712, 2000}}, ""},
		{"a number alone is its own group", root, "4711", Identity{UID: 4711, GID: 4711, Groups: []int{4711, 2000}}, ""},
		{"oneself", user, "1000", user, ""},
		{"oneself with another group", user, "1000:5", Identity{}, "only root can become another user"},
		{"somebody else without being root", user, "4711", Identity{}, "only root can become another user"},
		{"nobody of that name", root, "no-such-user", Identity{}, `there is no user "no-such-user" here`},
		{"a group by name", root, "4711:wheel", Identity{}, `group "wheel" is not a number below`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := become(tt.self, tt.spec)
			if tt.mentions != "" {
				if err == nil || !strings.Contains(err.Error(), tt.mentions) {
					t.Errorf("error %v, want one with %q", err, tt.mentions)
				}
				return
			}
			if err != nil || got.UID != tt.want.UID || got.GID != tt.want.GID || !slices.Equal(got.Groups, tt.want.Groups) {
				t.Errorf("got %+v, %v, want %+v", got, err, tt.want)
			}
		})
	}
}

func TestMakeDir(t *testing.T) {
	dir := openDir(t)
	d := Dir{Path: filepath.Join(dir, "a/b"), For: "tests", Mode: fs.ModeSticky | 0o777}
	old := syscall.Umask(0o077)
	out := d.Make(Self())
	syscall.Umask(old)
	if out.Fault != nil || len(out.Made) == 0 {
		t.Fatalf("%+v", out)
	}
	if _, _, mode := owner(t, d.Path); mode != fs.ModeDir|fs.ModeSticky|0o777 {
		t.Errorf("made with mode %v in spite of umask 077", mode)
	}
	if out := d.Make(Self()); out.Fault != nil || len(out.Made) > 0 {
		t.Errorf("again: %+v", out)
	}
	if want := []string{filepath.Join(dir, "a"), d.Path}; !slices.Equal(out.Made, want) {
		t.Errorf("says that it made %v, want %v", out.Made, want)
	}
	left, _ := filepath.Glob(filepath.Join(d.Path, "*"))
	hidden, _ := filepath.Glob(filepath.Join(d.Path, ".*"))
	if len(left)+len(hidden) != 0 {
		t.Errorf("the test left %v %v", left, hidden)
	}
}

func TestMakeDirAsRootForAnother(t *testing.T) {
	needRoot(t)
	dir := openDir(t)
	t.Run("made where the other may not", func(t *testing.T) {
		d := Dir{Path: filepath.Join(dir, "made"), Mode: 0o770}
		if out := d.Make(nobody); out.Fault != nil || len(out.Made) == 0 {
			t.Fatalf("%+v", out)
		}
		if uid, gid, _ := owner(t, d.Path); uid != nobody.UID || gid != nobody.GID {
			t.Errorf("belongs to %d:%d", uid, gid)
		}
	})
	t.Run("put right where it is wrong", func(t *testing.T) {
		d := Dir{Path: filepath.Join(dir, "wrong"), Mode: 0o770}
		if err := os.Mkdir(d.Path, 0o755); err != nil {
			t.Fatal(err)
		}
		if out := d.Make(nobody); out.Fault != nil {
			t.Fatalf("%+v", out)
		}
		if uid, _, _ := owner(t, d.Path); uid != nobody.UID {
			t.Errorf("belongs to %d", uid)
		}
	})
	t.Run("left alone where it is right", func(t *testing.T) {
		d := Dir{Path: filepath.Join(dir, "right"), Mode: 0o770}
		if err := errors.Join(os.Mkdir(d.Path, 0o777), os.Chmod(d.Path, 0o777)); err != nil {
			t.Fatal(err)
		}
		if out := d.Make(nobody); out.Fault != nil {
			t.Fatalf("%+v", out)
		}
		if uid, _, _ := owner(t, d.Path); uid != 0 {
			t.Errorf("changed its owner to %d without need", uid)
		}
	})
	t.Run("a link is not followed", func(t *testing.T) {
		target := filepath.Join(dir, "target")
		d := Dir{Path: filepath.Join(dir, "link"), Mode: 0o770}
		if err := errors.Join(os.Mkdir(target, 0o755), os.Symlink(target, d.Path)); err != nil {
			t.Fatal(err)
		}
		if out := d.Make(nobody); out.Fault == nil {
			t.Error("no fault")
		}
		if uid, _, _ := owner(t, target); uid != 0 {
			t.Errorf("what the link leads to belongs to %d now", uid)
		}
	})
}

func TestErrorIsOneWholeLine(t *testing.T) {
	needRoot(t)
	dir := openDir(t)
	err := As(nobody, func() error { return (Dir{Path: dir}).try(nobody) })
	f := &Error{Op: "write to", Path: dir, For: "uploads", As: nobody, Otherwise: "set another", Err: err, Found: found(dir)}
	want := "cannot write to " + dir + " (uploads): permission denied; it is owned by 0:0, mode 0755; we are uid 65534, gid 65534; chown it to 65534:65534, or set another"
	if f.Error() != want {
		t.Errorf("got  %s\nwant %s", f, want)
	}
}

// A tmpfs in a mount namespace of its own needs root: a really full disk.
func TestFullDisk(t *testing.T) {
	needRoot(t)
	dir := openDir(t)
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=8m"); err != nil {
		t.Skipf("cannot mount a tmpfs here: %v", err)
	}
	defer func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }()
	if err := NewReader(Bound).LookAt(dir, "a test", Self()); err != nil {
		t.Errorf("an empty one: %v", err)
	}
	// Fill it; the last write fails, and is meant to.
	_ = os.WriteFile(filepath.Join(dir, "big"), make([]byte, 16<<20), 0o600)
	if err := NewReader(Bound).LookAt(dir, "a test", Self()); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("looked at: %v, want ENOSPC", err)
	}
	out := Dir{Path: dir, For: "TMPDIR", Required: true}.Make(Self())
	if out.Fault == nil || !strings.Contains(out.Fault.Error(), "the file system is full, or as good as") {
		t.Errorf("written to: %v", out.Fault)
	}
	if err := tryWriteByName(dir); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("written to by name: %v, want ENOSPC", err)
	}
	left, _ := os.ReadDir(dir)
	if len(left) != 1 {
		t.Errorf("the test left %v", left)
	}
}

// Such file systems say 0 of 0.
func TestFileSystemThatCountsNothingIsNotFull(t *testing.T) {
	needRoot(t)
	for _, options := range []string{"size=0", "nr_inodes=0"} {
		dir := openDir(t)
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
			t.Skipf("cannot mount a tmpfs here: %v", err)
		}
		if err := NewReader(Bound).LookAt(dir, "a test", Self()); err != nil {
			t.Errorf("%s: %v", options, err)
		}
		_ = unix.Unmount(dir, unix.MNT_DETACH)
	}
}

func TestReadOnlyMountIsAWarningWhereNobodyGaveADirectory(t *testing.T) {
	needRoot(t)
	dir := openDir(t)
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_RDONLY, ""); err != nil {
		t.Skipf("cannot mount a tmpfs here: %v", err)
	}
	defer func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }()
	for path, required := range map[string]bool{dir: false, filepath.Join(dir, "missing"): false} {
		if out := (Dir{Path: path, Required: required}).Make(Self()); out.Fault == nil || !out.Warning {
			t.Errorf("%s: %+v, want a warning", path, out)
		}
	}
	if out := (Dir{Path: dir, Required: true}).Make(Self()); out.Warning {
		t.Errorf("a required one: %+v", out)
	}
	if err := NewReader(Bound).LookAt(dir, "a test", Self()); !errors.Is(err, unix.EROFS) {
		t.Errorf("looked at: %v, want EROFS", err)
	}
}

func TestLookAt(t *testing.T) {
	dir := openDir(t)
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		path string
		want error
	}{
		"a directory":           {dir, nil},
		"one that can be made":  {filepath.Join(dir, "new"), nil},
		"with its parents":      {filepath.Join(dir, "new/and/deep"), nil},
		"a file":                {file, unix.ENOTDIR},
		"below a file":          {filepath.Join(file, "x"), unix.ENOTDIR},
		"too deep for a socket": {dir + "/" + strings.Repeat("x", 90), errTooLong},
	} {
		if err := NewReader(Bound).LookAt(tt.path, "a test", Self()); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "new")); err == nil {
		t.Error("looking has made a directory")
	}
}

func TestOpenWaitsForNobody(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "authentik-mode")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{fifo, t.TempDir(), "/dev/zero"} {
		if _, err := ReadSmall(path); err == nil || !strings.Contains(err.Error(), "not a regular file") {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestReadSmallRefusesALargeFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "large")
	if err := os.WriteFile(path, make([]byte, maxSmall+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadSmall(path); err == nil || !strings.Contains(err.Error(), "larger") {
		t.Errorf("%v", err)
	}
}

func TestWriteFileReplacesWhatIsThere(t *testing.T) {
	dir := openDir(t)
	elsewhere, path := filepath.Join(dir, "elsewhere"), filepath.Join(dir, "authentik-mode")
	if err := errors.Join(os.WriteFile(elsewhere, []byte("keep"), 0o600), os.Symlink(elsewhere, path)); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(path, "server\n", 0o644); err != nil {
		t.Fatal(err)
	}
	if kept, _ := os.ReadFile(elsewhere); string(kept) != "keep" {
		t.Errorf("wrote through a link: %q", kept)
	}
	if got, _ := os.ReadFile(path); string(got) != "server\n" {
		t.Errorf("the file holds %q", got)
	}
	entries, _ := os.ReadDir(dir)
	if len(entries) != 2 {
		t.Errorf("left %v", entries)
	}
}

func TestExecutable(t *testing.T) {
	dir := t.TempDir()
	plain, runs := filepath.Join(dir, "plain"), filepath.Join(dir, "runs")
	for _, d := range []string{plain, runs} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(
		os.WriteFile(filepath.Join(plain, "python"), nil, 0o644),
		os.WriteFile(filepath.Join(runs, "python"), nil, 0o755),
	); err != nil {
		t.Fatal(err)
	}
	if got, err := NewReader(Bound).Executable("python", plain+":"+runs); err != nil || got != runs+"/python" {
		t.Errorf("got %s, %v", got, err)
	}
	if _, err := NewReader(Bound).Executable("python", plain); !errors.Is(err, ErrNotExecutable) || !strings.Contains(err.Error(), plain) {
		t.Errorf("without the x bit: %v", err)
	}
	for name, want := range map[string]error{runs + "/python": nil, plain + "/python": ErrNotExecutable, runs: ErrNotExecutable, dir + "/none": ErrNotFound} {
		if got, err := NewReader(Bound).Executable(name, "/nowhere"); !errors.Is(err, want) || want == nil && got != name {
			t.Errorf("the path %s gives %s, %v, want %v", name, got, err, want)
		}
	}
	if _, err := NewReader(Bound).Executable("python", "/nowhere::."); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "/nowhere::.") {
		t.Errorf("nowhere: %v", err)
	}
}

func TestClaimIsForOne(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ak-init-0-server")
	first, err := Take(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Take(dir); !errors.Is(err, ErrClaimed) {
		t.Errorf("a second one: %v, want ErrClaimed", err)
	}
	first.Release()
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left behind: %v", err)
	}
	second, err := Take(dir)
	if err != nil {
		t.Fatal(err)
	}
	second.Release()
}

func TestWhatCannotBeAskedIsClaimed(t *testing.T) {
	needRoot(t)
	dir := filepath.Join(openDir(t), "ak-init-0-server")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[int]bool{0: false, nobody.UID: true} {
		claimed := false
		who := Identity{UID: id, GID: id, Groups: []int{id}}
		if err := As(who, func() error { claimed = isClaimed(dir); return nil }); err != nil || claimed != want {
			t.Errorf("for uid %d it is claimed: %v, %v, want %v", id, claimed, err, want)
		}
	}
}

func TestClaimTakesNobodyElsesDirectory(t *testing.T) {
	base := t.TempDir()
	open := filepath.Join(base, "open")
	if err := errors.Join(os.Mkdir(open, 0o777), os.Chmod(open, 0o777), os.Symlink(base, filepath.Join(base, "link"))); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{open, filepath.Join(base, "link")} {
		if c, err := Take(dir); err == nil {
			t.Errorf("took %s", dir)
			c.Release()
		}
	}
}
