package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ak-init/testdata/standin/layout"
)

// newNixScene is a scene in a Nix image: nothing below /, all by PATH, and no --root.
func newNixScene(t *testing.T) (*scene, layout.Store) {
	t.Helper()
	s := newScene(t)
	store := s.layNix("/n")
	s.env = slices.DeleteFunc(s.env, func(e string) bool { return strings.HasPrefix(e, "AK_INIT_ROOT=") })
	// The defaults are /certs and /blueprints, which are the machine's own.
	s.env = append(s.env, "PATH="+store.Django+"/bin:"+store.ServerBin, "AK_INIT_USER="+uid(),
		"AUTHENTIK_BLUEPRINTS_DIR="+s.dir+"/blueprints", "AUTHENTIK_CERT_DISCOVERY_DIR="+s.dir+"/certs",
		"AUTHENTIK_STORAGE__FILE__PATH="+s.dir+"/data")
	s.must(os.Remove(s.root+"/manage.py"), os.Mkdir(s.dir+"/data", 0o755)) // the working directory is no authentik
	return s, store
}

func (s *scene) layNix(dir string) layout.Store {
	s.t.Helper()
	standin, err := standIn()
	s.must(err)
	store, err := layout.Nix(s.dir+dir, standin)
	s.must(err)
	return store
}

func TestNixLayout(t *testing.T) {
	t.Parallel()
	s, store := newNixScene(t)
	for role, argv0 := range map[string]string{"server": "authentik", "worker": "python"} {
		r := s.start(role)
		s.awaitHealth(0, "--started")
		got := s.starts(role)[0]
		if got.Cwd != store.Django || got.Env["VIRTUAL_ENV"] != store.Django || got.Argv[0] != argv0 {
			t.Errorf("%s runs %q in %s with VIRTUAL_ENV=%s", role, got.Argv, got.Cwd, got.Env["VIRTUAL_ENV"])
		}
		r.stop()
	}
}

// A directory that holds a user's own blueprint gets the image's beside it, and those of
// the next image in their place.
func TestBlueprintsOfANixImageAreCopied(t *testing.T) {
	t.Parallel()
	s, store := newNixScene(t)
	dir := s.dir + "/blueprints"
	s.must(os.MkdirAll(dir+"/custom", 0o755), os.WriteFile(dir+"/custom/mine.yaml", []byte("mine\n"), 0o644))
	holds := func(name, want string) {
		t.Helper()
		if raw, err := os.ReadFile(dir + "/" + name); err != nil || string(raw) != want {
			t.Errorf("%s holds %q, %v; want %q", name, raw, err, want)
		}
	}
	run := func() *running {
		t.Helper()
		r := s.start("worker")
		s.awaitHealth(0, "--started")
		r.stop()
		return r
	}
	first := run()
	if line := first.line("built-in blueprints copied"); line["path"] != dir || line["written"] != 2.0 || line["removed"] != 0.0 {
		t.Errorf("it says %v", line)
	}
	const builtIn = "version: 1\nentries: []\n"
	holds("system/bootstrap.yaml", builtIn)
	holds("default/flow-oobe.yaml", builtIn)
	holds("custom/mine.yaml", "mine\n")

	before := s.timesOf(dir)
	if second := run(); second.lines("blueprint") != nil {
		t.Error("it speaks of blueprints at the second start")
	}
	for path, times := range s.timesOf(dir) {
		if before[path] != times {
			t.Errorf("the second start changed %s", path)
		}
	}

	// The next image: one changed, one gone, one new. The old store is no more.
	next := s.layNix("/m")
	const newer = "version: 1\nentries: [newer]\n"
	s.must(os.WriteFile(next.Django+"/blueprints/system/bootstrap.yaml", []byte(newer), 0o644),
		os.Rename(next.Django+"/blueprints/default/flow-oobe.yaml", next.Django+"/blueprints/default/flow-new.yaml"),
		os.RemoveAll(store.Django))
	s.env = append(s.env, "PATH="+next.Django+"/bin:"+next.ServerBin)
	third := run()
	if line := third.line("built-in blueprints copied"); line["written"] != 2.0 || line["removed"] != 1.0 {
		t.Errorf("it says %v", line)
	}
	holds("system/bootstrap.yaml", newer)
	holds("default/flow-new.yaml", builtIn)
	holds("custom/mine.yaml", "mine\n")
	if exists(dir + "/default/flow-oobe.yaml") {
		t.Error("a blueprint that the next image has no more is still there")
	}
}

// Nothing in a store can be written, by its modes or by its mount.
func TestReadOnlyStoreStarts(t *testing.T) {
	t.Parallel()
	s, store := newNixScene(t)
	asNobody(t, s)
	s.env = append(s.env, "AK_INIT_USER=")
	s.must(os.Chown(s.dir+"/data", 65534, 65534), os.Mkdir(s.dir+"/blueprints", 0o755), os.Chown(s.dir+"/blueprints", 65534, 65534))
	top := filepath.Dir(store.Django)
	if out, err := exec.Command("chmod", "-R", "a-w", top).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	if err := unix.Mount(top, top, "", unix.MS_BIND, ""); err != nil {
		t.Logf("by its modes alone: cannot mount here: %v", err)
	} else {
		t.Cleanup(func() { _ = unix.Unmount(top, unix.MNT_DETACH) })
		s.must(unix.Mount("", top, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	}
	for _, role := range []string{"server", "worker"} {
		r := s.start(role, "--strict")
		s.awaitHealth(0, "--started")
		if got := s.starts(role)[0]; got.UID != 65534 {
			t.Errorf("%s runs as %d", role, got.UID)
		}
		r.stop()
	}
}

// Uploads that lie in the store by default: said, and no reason not to start.
func TestUploadsInAReadOnlyStoreAreAWarning(t *testing.T) {
	t.Parallel()
	s, store := newNixScene(t)
	asNobody(t, s)
	s.env = append(s.env, "AK_INIT_USER=", "AUTHENTIK_STORAGE__FILE__PATH=")
	r := s.start("server")
	s.awaitHealth(0, "--started")
	r.says("cannot make "+store.Django+"/data (uploads): permission denied", `"level":"warning"`, "AUTHENTIK_STORAGE__FILE__PATH")
	r.stop()
}

// An image without /tmp, as one that is built from nothing: programs that know no TMPDIR
// want it.
func TestMissingTmpIsMade(t *testing.T) {
	s := asRoot(t)
	s.env = append(s.env, "AK_INIT_USER=0")
	// The machine's own root, mount by mount, but for /tmp.
	s.wrap = []string{"unshare", "-m", "sh", "-c", `set -e
		mount -t tmpfs none "$0" && cd "$0"
		for d in /*; do
			if [ -h "$d" ]; then cp -P "$d" .
			elif [ -d "$d" ] && [ "$d" != /tmp ]; then mkdir ".$d"; mount --rbind "$d" ".$d"
			fi
		done
		exec /usr/sbin/chroot . "$@"`, s.root + "/media"}
	if out, err := exec.Command(s.wrap[0], append(slices.Clone(s.wrap[1:]), "true")...).CombinedOutput(); err != nil {
		t.Skipf("no root of its own here: %v %s", err, out)
	}
	r := s.start("worker")
	s.await("the worker", func() bool { return len(s.starts("worker")) > 0 })
	info, err := os.Stat("/proc/" + procStatus(t, s.starts("worker")[0].PID, "Pid") + "/root/tmp")
	if err != nil || info.Mode() != os.ModeDir|os.ModeSticky|0o777 {
		t.Errorf("/tmp: %v, %v", info, err)
	}
	s.awaitPIDFile() // from then on it hears TERM
	r.stop()
	r.says("directory made", `"path":"/tmp"`)
}
