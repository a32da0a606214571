package prepare

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// rootsDir is a directory on whose way only root can change anything; /var/tmp is none.
func rootsDir(t *testing.T) string {
	t.Helper()
	needRoot(t)
	dir, err := os.MkdirTemp("/run", "ak-init-test-") //nolint:usetesting // t.TempDir lies in /tmp
	if err != nil {
		t.Skipf("cannot write to /run: %v", err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// theirs is a directory in dir that the children own, with links in it to where.
func theirs(t *testing.T, dir, where string, links ...string) string {
	t.Helper()
	path := filepath.Join(dir, "theirs")
	err := errors.Join(os.Mkdir(path, 0o755), os.Chown(path, nobody.UID, nobody.GID))
	for _, link := range links {
		err = errors.Join(err, os.Symlink(where, filepath.Join(path, link)))
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// closedDir is a directory for root alone.
func closedDir(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "closed")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRootIsNotLedByTheChildrensLinks(t *testing.T) {
	base := rootsDir(t)
	closed := closedDir(t, base)
	tmp := theirs(t, base, closed, "authentik-worker")
	worker := tmp + "/authentik-worker"
	metrics := worker + "/authentik_prometheus_tmp"
	dirs := []Dir{{Path: worker, Mode: 0o700, Required: true}, {Path: metrics, Mode: 0o700, Required: true}}
	for i, out := range MakeAll(Bound, dirs, nobody) {
		if out.Fault == nil || out.Warning || out.Given || len(out.Made) > 0 {
			t.Errorf("%s: %+v", dirs[i].Path, out)
		}
	}
	for name, out := range map[string]Outcome{"made": dirs[1].Make(nobody), "looked at": dirs[1].Look(nobody)} {
		if out.Fault == nil || len(out.Made) > 0 {
			t.Errorf("alone, %s: %+v", name, out)
		}
	}
	if err := WriteFile(worker+"/authentik-mode", "worker\n", 0o644); !errors.Is(err, errLed) {
		t.Errorf("a file: %v", err)
	}
	if left, _ := os.ReadDir(closed); len(left) > 0 {
		t.Errorf("made %v in root's directory", left)
	}
	pid := closed + "/authentik.pid"
	if err := os.WriteFile(pid, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Remove(worker + "/authentik.pid"); !errors.Is(err, errLed) {
		t.Errorf("removing: %v", err)
	}
	if r := own(t, worker, FixWrong); r.Failed != 1 || !strings.Contains(r.First[0].Error(), "not only root's to change; it is a link to "+closed) {
		t.Errorf("owning: %+v", r)
	}
	for _, path := range []string{pid, closed} {
		if uid, _, _ := owner(t, path); uid != 0 {
			t.Errorf("%s belongs to %d now", path, uid)
		}
	}
}

// An administrator who moved /data, and images where /var/run is a link, mean it.
func TestRootsOwnLinksAreFollowed(t *testing.T) {
	base := rootsDir(t)
	srv := filepath.Join(base, "srv")
	data, loop := filepath.Join(base, "data"), filepath.Join(base, "loop")
	if err := errors.Join(os.Mkdir(srv, 0o755), os.Symlink("../"+filepath.Base(base)+"/srv", data), os.Symlink("loop", loop)); err != nil {
		t.Fatal(err)
	}
	if out := (Dir{Path: data + "/media/x", Mode: 0o750, Required: true}).Make(nobody); out.Fault != nil || len(out.Made) != 2 {
		t.Errorf("%+v", out)
	}
	if uid, _, mode := owner(t, srv+"/media/x"); uid != nobody.UID || mode.Perm() != 0o750 {
		t.Errorf("it belongs to %d, mode %v", uid, mode)
	}
	if err := WriteFile(data+"/file", "x", 0o640); err != nil {
		t.Error(err)
	}
	if r := own(t, data, FixWrong); r.Looked != 4 || r.Failed > 0 || r.Changed != 4 {
		t.Errorf("owning: %+v", r)
	}
	if err := errors.Join(Remove(data+"/file"), Remove(data+"/media/x")); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(srv + "/media"); len(left) > 0 {
		t.Errorf("left %v", left)
	}
	if _, err := goAlong(loop + "/x"); !errors.Is(err, unix.ELOOP) {
		t.Errorf("a loop: %v", err)
	}
}

// A directory that cannot be used may have a mount in it that can.
func TestWhatWorksBelowAFaultIsTaken(t *testing.T) {
	base := rootsDir(t)
	if err := unix.Mount("tmpfs", base, "tmpfs", 0, "mode=0755"); err != nil {
		t.Skipf("cannot mount a tmpfs here: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(base, unix.MNT_DETACH) })
	below := theirs(t, base, "")
	if err := unix.Mount("tmpfs", below, "tmpfs", 0, "mode=1777"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(below, unix.MNT_DETACH) })
	if err := unix.Mount("", base, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	outcomes := MakeAll(Bound, []Dir{{Path: base}, {Path: below, Required: true}, {Path: base + "/new", Required: true}}, nobody)
	if outcomes[0].Fault == nil || outcomes[1].Fault != nil || !errors.Is(outcomes[2].Fault, errBelow) || outcomes[2].Warning {
		t.Errorf("%+v", outcomes)
	}
}
