package prepare

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ak-init/testdata/hang"
)

// brief is a bound for tests, enough for what answers at all.
const brief = 200 * time.Millisecond

func TestWithin(t *testing.T) {
	if got, err := Within(time.Hour, "x", func() (int, error) { return 7, os.ErrExist }); got != 7 || !errors.Is(err, os.ErrExist) {
		t.Errorf("got %d, %v", got, err)
	}
	release := make(chan struct{})
	defer close(release)
	got, err := Within(time.Millisecond, "the disk", func() (int, error) { <-release; return 7, nil })
	if got != 0 || !errors.Is(err, ErrHung) || err.Error() != "the disk does not answer within 1ms" {
		t.Errorf("got %d, %v", got, err)
	}
}

func BenchmarkWithin(b *testing.B) {
	for b.Loop() {
		_, _ = Within(Bound, "x", func() (int, error) { return 0, nil })
	}
}

// hungDir is a directory that does not answer.
func hungDir(t *testing.T) string {
	t.Helper()
	dir := openDir(t)
	hang.Mount(t, dir)
	return dir
}

// ends wants fn to end within a few bounds.
func ends(t *testing.T, what string, fn func()) {
	t.Helper()
	begin := time.Now()
	fn()
	if took := time.Since(begin); took < brief || took > 10*brief {
		t.Errorf("%s: took %s, with a bound of %s", what, took, brief)
	}
}

func TestHungPathsEndAfterTheBound(t *testing.T) {
	dir := hungDir(t)
	want := "it does not answer within 200ms; it lies on what is mounted at " + dir
	hangs := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, ErrHung) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "(fuse nowhere:/export)") {
			t.Errorf("%s: %v, want %q", what, err, want)
		}
	}
	path := dir + "/x"
	ends(t, "ReadSmall", func() {
		_, err := NewReader(brief).Read(path)
		hangs("ReadSmall", err)
	})
	for _, id := range []Identity{Self(), nobody} {
		ends(t, "LookAt", func() { hangs("LookAt", NewReader(brief).LookAt(path, "a test", id)) })
		ends(t, "MakeAll", func() {
			for _, out := range MakeAll(brief, []Dir{{Path: path}, {Path: dir + "/y"}, {Path: path + "/below"}}, id) {
				hangs("MakeAll", out.Fault)
			}
		})
		ends(t, "LookAll", func() { hangs("LookAll", LookAll(brief, []Dir{{Path: path}}, id)[0].Fault) })
	}
	ends(t, "Room", func() {
		_, err := roomWithin(brief, path)
		hangs("Room", err)
	})
	ends(t, "MakeShared", func() { hangs("MakeShared", makeShared(brief, path).Fault) })
	ends(t, "Executable", func() {
		_, err := NewReader(brief).Executable("python", path)
		hangs("Executable", err)
	})
	ends(t, "Exists and Glob", func() {
		r := NewReader(brief)
		if r.Exists(path) || len(r.Glob(dir+"/*.yml")) > 0 || len(r.Faults()) != 1 {
			t.Errorf("faults %v, want one", r.Faults())
		}
		hangs("Exists", r.Faults()[0])
	})
}

// What lies beside a mount that hangs answers, and a link there is seen through.
func TestReaderGoesOnBesideAHungMount(t *testing.T) {
	dir := hungDir(t)
	beside := openDir(t)
	if err := errors.Join(os.WriteFile(beside+"/file", []byte("x"), 0o644), os.Symlink(dir, beside+"/link"),
		os.WriteFile(beside+"/python", nil, 0o755)); err != nil {
		t.Fatal(err)
	}
	r := NewReader(brief)
	ends(t, "all of it", func() {
		_, err := r.Read(beside + "/link/settings")
		if want := "it lies on what is mounted at " + dir; !errors.Is(err, ErrHung) || !strings.Contains(err.Error(), want) {
			t.Errorf("through the link: %v, want %q", err, want)
		}
		if _, err := r.Read(dir + "/more"); !errors.Is(err, ErrHung) {
			t.Errorf("the mount is asked again: %v", err)
		}
		if raw, err := r.Read(beside + "/file"); string(raw) != "x" {
			t.Errorf("a file beside it: %q, %v", raw, err)
		}
		if got, err := r.Executable("python", dir+"/bin:"+beside); got != filepath.Join(beside, "python") {
			t.Errorf("a program behind it in PATH: %s, %v", got, err)
		}
	})
}

// Settings are listed with the children's rights, and what hung then is told with the rest.
func TestReaderForSomebodyTellsTheSameFaults(t *testing.T) {
	dir := hungDir(t)
	r, err := Patiently(brief, func(r *Reader) *Reader {
		r.For(nobody).Glob(dir + "/*.yml")
		return r
	})
	if faults := r.Faults(); err != nil || len(faults) != 1 || !strings.Contains(faults[0].Error(), "cannot list "+dir) {
		t.Errorf("faults %v, want one", faults)
	}
}

func TestMakeAllOrdersParentsFirst(t *testing.T) {
	dirs := []Dir{{Path: "/t/a/m"}, {Path: "/t"}, {Path: "/t/a"}, {Path: "/tx"}, {Path: "/t"}, {Path: "/"}}
	for i, want := range []int{2, 5, 4, 5, 1, -1} {
		if got := above(dirs, i); got != want {
			t.Errorf("%s comes after %d, want %d", dirs[i].Path, got, want)
		}
	}
	base := openDir(t)
	list := []Dir{{Path: base + "/a/b/c"}, {Path: base + "/a", Mode: 0o700}, {Path: base + "/d/e"}, {Path: base + "/d/f"}, {Path: base + "/a/b", Mode: 0o750}}
	for i := range list {
		list[i].Mode |= 0o700
	}
	for i, out := range MakeAll(Bound, list, Self()) {
		if out.Fault != nil {
			t.Errorf("%s: %v", list[i].Path, out.Fault)
		}
	}
	for path, mode := range map[string]os.FileMode{"/a": 0o700, "/a/b": 0o750, "/a/b/c": 0o700} {
		if _, _, got := owner(t, base+path); got.Perm() != mode {
			t.Errorf("%s has mode %v, want %v", path, got, mode)
		}
	}
}

// A look that was given up ends at last. What it belongs to must not go on beside what runs
// in its place.
func TestPatientlyEndsWhatItLeftBehind(t *testing.T) {
	release, ended := make(chan struct{}), make(chan struct{})
	first, wentOn := true, make(chan struct{}, 1)
	got, err := Patiently(brief, func(r *Reader) string {
		if !first {
			return "anew"
		}
		first = false
		defer close(ended)
		_, _ = look(r, Error{Op: "look at", Path: "/x"}, func() (int, error) { <-release; return 0, nil })
		wentOn <- struct{}{}
		return "late"
	})
	if got != "anew" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	close(release)
	<-ended
	if len(wentOn) > 0 {
		t.Error("what was left behind went on")
	}
}

func TestPatientlyBoundsWhatIsNoLook(t *testing.T) {
	release, ended := make(chan struct{}), make(chan struct{})
	looked := make(chan struct{}, 1)
	_, err := Patiently(brief/4, func(r *Reader) int {
		defer close(ended)
		<-release
		r.Exists("/")
		looked <- struct{}{}
		return 1
	})
	if !errors.Is(err, ErrHung) || !strings.Contains(err.Error(), "within 200ms") {
		t.Errorf("%v, want that it does not answer", err)
	}
	close(release)
	<-ended
	if len(looked) > 0 {
		t.Error("what was left behind went on")
	}
}

func TestPatientlyPassesOverAHungMount(t *testing.T) {
	dir := hungDir(t)
	ends(t, "all of it", func() {
		faults, err := Patiently(brief, func(r *Reader) int {
			r.Exists(dir + "/x")
			_, _ = r.Socket(dir+"/docker.sock", nobody)
			return len(r.Faults())
		})
		if faults != 1 || err != nil {
			t.Errorf("%d faults, %v, want one", faults, err)
		}
	})
}

func TestReaderForAnotherSharesWhatIsMet(t *testing.T) {
	dir := hungDir(t)
	r := NewReader(brief)
	ends(t, "both", func() {
		if got := r.For(nobody).Glob(dir + "/*.yml"); len(got) > 0 || len(r.Faults()) != 1 {
			t.Errorf("%v, faults %v, want one", got, r.Faults())
		}
		if r.Exists(dir + "/x") {
			t.Error("it exists")
		}
	})
}

// Root without its capabilities is like any other user.
func TestReaderReadsWhatOnlyTheOtherCan(t *testing.T) {
	needRoot(t)
	other := Identity{UID: 4242, GID: 4242, Groups: []int{4242}}
	path := openDir(t) + "/key"
	if err := errors.Join(os.WriteFile(path, []byte("x"), 0o600), os.Chown(path, other.UID, other.GID)); err != nil {
		t.Fatal(err)
	}
	err := As(nobody, func() error { // which this thread is from here
		r := &Reader{met: &met{bound: brief, now: newAttended()}}
		if _, err := r.Read(path); !errors.Is(err, os.ErrPermission) {
			return fmt.Errorf("for ourselves: %w, want no permission", err)
		}
		raw, err := r.For(other).Read(path)
		if string(raw) != "x" {
			return fmt.Errorf("for the other: %q, %w", raw, err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// A mount below that hangs costs one bound, and is named.
func TestOwnGivesUpOnWhatHangs(t *testing.T) {
	needRoot(t)
	tree := openDir(t)
	below := tree + "/media/nfs"
	if err := os.MkdirAll(below, 0o755); err != nil {
		t.Fatal(err)
	}
	hang.Mount(t, below)
	for path, at := range map[string]string{tree: below, below: below} {
		ends(t, path, func() {
			r := Tree{Path: path, For: "uploads"}.own(t.Context(), brief, nobody, FixNever, nil)
			if want := "(uploads): it does not answer within 200ms"; !r.GaveUp || len(r.First) != 1 ||
				!errors.Is(r.First[0], ErrHung) || !strings.Contains(r.First[0].Error(), want) || !strings.Contains(r.First[0].Error(), at) {
				t.Errorf("%s: %+v", path, r)
			}
		})
	}
}
