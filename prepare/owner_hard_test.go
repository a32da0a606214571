package prepare

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// mountReadOnly makes a directory a read-only mount of itself.
func mountReadOnly(t *testing.T, dir string) {
	t.Helper()
	if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
		t.Skipf("cannot mount here: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	if err := unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
}

func TestOwnHasNothingToSayOfAReadOnlyTreeThatIsRight(t *testing.T) {
	needRoot(t)
	tree, _ := plantTree(t)
	own(t, tree, FixWrong)
	mountReadOnly(t, tree)
	if r := own(t, tree, FixWrong); r.Looked != planted || r.Wrong+r.Failed+len(r.First) > 0 {
		t.Errorf("%+v", r)
	}
}

func TestOwnSaysOnceThatAMountIsReadOnly(t *testing.T) {
	needRoot(t)
	for below, changed := range map[string]int{"": 0, "media": 3} {
		tree, _ := plantTree(t)
		mountReadOnly(t, filepath.Join(tree, below))
		r := own(t, tree, FixWrong)
		if r.Changed != changed || r.Failed != planted-changed || len(r.First) != 1 || !errors.Is(r.First[0], unix.EROFS) {
			t.Errorf("%q: %+v", below, r)
		}
	}
}

func TestOwnGoesOnBehindAnImmutableFile(t *testing.T) {
	needRoot(t)
	tree, _ := plantTree(t)
	file, err := os.Open(filepath.Join(tree, "top"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	set := func(flags int) error {
		return unix.IoctlSetPointerInt(int(file.Fd()), unix.FS_IOC_SETFLAGS, flags)
	}
	if err := set(unix.STATX_ATTR_IMMUTABLE); err != nil { // FS_IMMUTABLE_FL is the same bit
		t.Skipf("no file is immutable here: %v", err)
	}
	defer func() { // else it could not be removed
		if err := set(0); err != nil {
			t.Error(err)
		}
	}()
	r := own(t, tree, FixWrong)
	if r.Changed != planted-1 || r.Failed != 1 || len(r.First) != 1 || !errors.Is(r.First[0], unix.EPERM) {
		t.Errorf("%+v", r)
	}
}

// Whoever may write to the tree swaps a directory for a link that leads out, and a file for
// another name of one outside, as fast as it can.
func TestOwnNeverLeavesTheTreeInARace(t *testing.T) {
	needRoot(t)
	tree, outside := plantTree(t)
	name := func(n string) string { return filepath.Join(tree, n) }
	if err := errors.Join(
		os.Link(filepath.Join(outside, "shadow"), name("top-other")),
		os.Symlink(outside, name("public-other")),
		os.WriteFile(filepath.Join(outside, "key"), nil, 0o600),
	); err != nil {
		t.Fatal(err)
	}
	before := entries(t, outside)
	ctx, cancel := context.WithCancel(t.Context())
	swaps := make(chan int)
	go func() { // ends with ctx
		n := 0
		for ; ctx.Err() == nil; n++ {
			_ = unix.Renameat2(unix.AT_FDCWD, name("media/public"), unix.AT_FDCWD, name("public-other"), unix.RENAME_EXCHANGE)
			_ = unix.Renameat2(unix.AT_FDCWD, name("top"), unix.AT_FDCWD, name("top-other"), unix.RENAME_EXCHANGE)
		}
		swaps <- n
	}()
	changed := 0
	for end := time.Now().Add(time.Second); time.Now().Before(end); {
		changed += own(t, tree, FixAlways).Changed
		changed += own(t, tree, FixWrong).Changed
		_ = os.Lchown(name("media/public"), 0, 0) // wrong again, directory or link
	}
	cancel()
	if n := <-swaps; n < 100 || changed < 100 {
		t.Errorf("no race: %d swaps, %d changes", n, changed)
	}
	after := entries(t, outside)
	shadow := filepath.Join(outside, "shadow")
	if st := after[shadow]; st.Uid != 0 || st.Gid != 0 {
		t.Errorf("the file outside belongs to %d:%d", st.Uid, st.Gid)
	}
	delete(before, shadow) // a rename of its other name is a change of the inode
	untouched(t, before, after)
}

// Both ways to open a path are to refuse the same.
func TestOpenBelowRefusesLinksAndWhatIsOutside(t *testing.T) {
	tree, long := t.TempDir(), strings.Repeat("d", 200)
	below := filepath.Join(tree, "a/b")
	deep := strings.TrimSuffix(strings.Repeat(long+"/", 30), "/")
	if err := errors.Join(
		os.MkdirAll(below, 0o700), os.Symlink("a", filepath.Join(tree, "link")), os.Symlink("b", filepath.Join(tree, "a/link")),
		os.WriteFile(filepath.Join(tree, "a/file"), nil, 0o600),
	); err != nil {
		t.Fatal(err)
	}
	root, err := unix.Open(tree, unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(root) }()
	at := root
	for range 30 { // longer than a system call takes
		if err := unix.Mkdirat(at, long, 0o700); err != nil {
			t.Fatal(err)
		}
		next, err := unix.Openat(at, long, unix.O_DIRECTORY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = unix.Close(next) }()
		at = next
	}
	for name, open := range map[string]func(int, string, int) (int, error){"openat2": openPiece, "part by part": openParts} {
		for path, refused := range map[string]bool{
			"": false, "a": false, "a/b": false, deep: false,
			"link": true, "link/b": true, "a/link": true, "a/file": true, "a/none": true,
		} {
			fd, err := openIn(root, path, open)
			if refused == (err == nil) {
				t.Errorf("%s: %.20q: %v", name, path, err)
			}
			if err == nil {
				_ = unix.Close(fd)
			}
		}
	}
}

// few makes descriptors few, so that none can be held for each directory.
func few(t *testing.T, most uint64) {
	t.Helper()
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	now := was
	now.Cur = most
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &now); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &was) })
}

func TestOwnGoesAThousandDirectoriesDeep(t *testing.T) {
	needRoot(t)
	tree := openDir(t)
	fd, err := unix.Open(tree, unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		if err := errors.Join(unix.Mkdirat(fd, "deeper", 0o755), unix.Mkdirat(fd, "beside", 0o755)); err != nil {
			t.Fatal(err)
		}
		next, err := unix.Openat(fd, "deeper", unix.O_DIRECTORY, 0)
		if err != nil {
			t.Fatal(err)
		}
		_ = unix.Close(fd)
		fd = next
	}
	_ = unix.Close(fd)
	few(t, 100)
	if r := own(t, tree, FixWrong); r.Looked != 2001 || r.Changed != 2001 || r.Failed+r.Left > 0 {
		t.Errorf("%+v", r)
	}
	if r := own(t, tree, FixWrong); r.Looked != 2001 || r.Wrong > 0 {
		t.Errorf("again: %+v", r)
	}
}

// More subdirectories than are noted at a time, more names than one reading holds.
func TestOwnGoesThroughAWideDirectory(t *testing.T) {
	needRoot(t)
	tree := openDir(t)
	const files, dirs = 20_000, enough + 1000
	for i := range files {
		f, err := os.Create(filepath.Join(tree, "file-"+strconv.Itoa(i)))
		if err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
	}
	for i := range dirs {
		if err := os.Mkdir(filepath.Join(tree, strconv.Itoa(i)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	few(t, 100)
	const all = 1 + files + dirs
	if r := own(t, tree, FixWrong); r.Looked != all || r.Changed != all || r.Failed+r.Left > 0 || r.GaveUp {
		t.Errorf("%+v, want %d", r, all)
	}
	ownedByAll(t, tree, child.UID, child.GID)
}

// AK_OWN_TREE makes TestOwnInAnotherProcess the process that looks through that tree.
const ownTree = "AK_OWN_TREE"

func TestOwnInAnotherProcess(t *testing.T) {
	tree := os.Getenv(ownTree)
	if tree == "" {
		t.Skip("is run by other tests")
	}
	r := own(t, tree, FixWrong)
	t.Logf("looked=%d changed=%d failed=%d", r.Looked, r.Changed, r.Failed)
	for _, err := range r.First {
		t.Log(err)
	}
}

// ownWithout looks through a tree as a root that lacks capabilities.
func ownWithout(t *testing.T, tree, capabilities string) string {
	t.Helper()
	setpriv, err := exec.LookPath("setpriv")
	if err != nil {
		t.Skip("there is no setpriv")
	}
	cmd := exec.CommandContext(t.Context(), setpriv, "--bounding-set", capabilities,
		os.Args[0], "-test.run", "^TestOwnInAnotherProcess$", "-test.v")
	cmd.Env = append(os.Environ(), ownTree+"="+tree)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

func TestOwnSaysWhatItMayNot(t *testing.T) {
	needRoot(t)
	tree, _ := plantTree(t)
	lost := filepath.Join(tree, "lost+found")
	if err := errors.Join(os.Mkdir(lost, 0o700), os.Lchown(lost, 4711, 4711)); err != nil {
		t.Fatal(err)
	}
	out := ownWithout(t, tree, "-chown")
	for _, want := range []string{
		"looked=8 changed=0 failed=8",
		"cannot give away " + tree + " (uploads): operation not permitted; it is owned by 0:0, mode 0755; we are uid 0, gid 0; chown it to 1000:1000 from outside, or give the container the capability CHOWN",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("without CHOWN: no %q in\n%s", want, out)
		}
	}
	out = ownWithout(t, tree, "-dac_override,-dac_read_search")
	for _, want := range []string{
		"looked=8 changed=8 failed=1",
		"cannot read " + lost + " (uploads): permission denied; it is owned by 1000:1000, mode 0700; we are uid 0, gid 0; the container may lack the capability DAC_READ_SEARCH",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("without DAC_READ_SEARCH: no %q in\n%s", want, out)
		}
	}
}

func TestReadOnlyTreeIsLookedAtByTheChildrenAndNothingIsGiven(t *testing.T) {
	needRoot(t)
	tree, outside := plantTree(t)
	hidden := filepath.Join(tree, "hidden")
	if err := errors.Join(os.Mkdir(hidden, 0o700), os.WriteFile(filepath.Join(hidden, "key"), nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	before, beside := entries(t, tree), entries(t, outside)
	r := Tree{Path: tree, For: "certificates", ReadOnly: true}.Own(t.Context(), child, FixAlways, nil)
	// The key files are root's, and file-link leads to one; what lies in hidden is not seen.
	if r.Looked != planted+1 || r.Wrong != 4 || r.Failed != 4 || r.Changed+r.Left > 0 || len(r.First) != 4 {
		t.Errorf("%+v", r)
	}
	want := "cannot read " + filepath.Join(tree, "top") + " (certificates): permission denied; it is owned by 0:0, mode 0600; we are uid 1000, gid 1000; let uid 1000, gid 1000 read it, by its group or its mode"
	if !strings.Contains(errors.Join(r.First...).Error(), want) {
		t.Errorf("no %q in %v", want, r.First)
	}
	untouched(t, before, entries(t, tree))
	untouched(t, beside, entries(t, outside))
	for path := range before {
		if before[path].Mode&unix.S_IFMT == unix.S_IFREG {
			giveTo(t, path, 0, fsGroup)
			_ = os.Chmod(path, 0o640)
		}
	}
	giveTo(t, hidden, child.UID, 0)
	_ = os.Chmod(filepath.Join(outside, "shadow"), 0o644)
	if r := (Tree{Path: tree, ReadOnly: true}).Own(t.Context(), child, FixAlways, nil); r.Looked != planted+2 || r.Wrong+r.Failed > 0 {
		t.Errorf("by group: %+v", r)
	}
}

func TestReadOnlyTreeWhoseTopIsClosed(t *testing.T) {
	needRoot(t)
	tree, _ := plantTree(t)
	if err := os.Chmod(tree, 0o700); err != nil {
		t.Fatal(err)
	}
	r := Tree{Path: tree, For: "certificates", ReadOnly: true}.Own(t.Context(), child, FixWrong, nil)
	if r.Failed != 1 || r.GaveUp || len(r.First) != 1 || !errors.Is(r.First[0], unix.EACCES) {
		t.Errorf("%+v", r)
	}
}

func TestProgressIsToldEveryTwoSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin, done := time.Now(), make(chan struct{})
		time.AfterFunc(5*time.Second, func() { close(done) })
		var at []time.Duration
		(&owning{}).await(t.Context(), done, time.Hour, newWalk(1, nil, nil), func() { at = append(at, time.Since(begin)) })
		if len(at) != 2 || at[0] != 2*time.Second || at[1] != 4*time.Second {
			t.Errorf("told at %v", at)
		}
	})
}

func TestOwnDoesNotWaitForASystemCallThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		(&owning{}).await(ctx, nil, time.Hour, newWalk(1, nil, nil), func() {})
		if took := time.Since(begin); took != time.Second+patience {
			t.Errorf("took %v", took)
		}
	})
}
