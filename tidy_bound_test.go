package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ak-init/prepare"
	"ak-init/testdata/bed"
)

// ownTempDir mounts a tmpfs as the scene's TMPDIR.
func (s *scene) ownTempDir(options string) {
	s.t.Helper()
	bed.Need(s.t, "root", os.Geteuid() == 0, "needs root: it mounts a file system")
	if err := unix.Mount("tmpfs", s.tmpdir, "tmpfs", 0, options); err != nil {
		s.t.Skipf("cannot mount a tmpfs here: %v", err)
	}
	s.t.Cleanup(func() { _ = unix.Unmount(s.tmpdir, unix.MNT_DETACH) })
}

// A TMPDIR that an earlier run filled with its metric files is made room in, and taken.
func TestTempDirFullOfLeftovers(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.ownTempDir("size=4m,mode=0700")
	metrics := s.tmpdir + "/authentik_prometheus_tmp"
	s.must(os.Mkdir(metrics, 0o700))
	full := false
	for i := 0; !full; i++ {
		err := os.WriteFile(fmt.Sprintf("%s/counter_%d.db", metrics, 100000+i), make([]byte, 64<<10), 0o600)
		if full = errors.Is(err, unix.ENOSPC); err != nil && !full {
			t.Fatal(err)
		}
	}
	r := s.start("server", "--tmpdir", s.tmpdir)
	s.awaitHealth(exitHealthy, "--started") // live it is before, too
	if files, _ := filepath.Glob(metrics + "/counter_1?????.db"); len(files) > 0 {
		t.Errorf("left %v", files)
	}
	r.awaitText(s, "removed what an earlier run left") // the log has a goroutine of its own
	r.stop()
	s.nothingLeft()
}

// A file system can have room and no inode left: not even for the directory that is our claim.
func TestTempDirWithoutInodesButLeftovers(t *testing.T) {
	t.Parallel()
	for name, free := range map[string]int{"none left": 0, "too few for a start": 3} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			s.ownTempDir("size=4m,nr_inodes=64,mode=0700")
			metrics := s.tmpdir + metricsOfScene
			s.must(os.Mkdir(metrics, 0o700))
			for left := 64; left > free; {
				s.must(os.WriteFile(fmt.Sprintf("%s/counter_%d.db", metrics, 100000+left), nil, 0o600))
				var st unix.Statfs_t
				s.must(unix.Statfs(s.tmpdir, &st))
				left = int(st.Ffree)
			}
			r := s.start("server", "--tmpdir", s.tmpdir)
			s.awaitHealth(exitHealthy, "--started") // live it is before, too
			if files, _ := filepath.Glob(metrics + "/counter_1?????.db"); len(files) > 0 {
				t.Errorf("left %v", files)
			}
			r.stop()
			r.says("removed what an earlier run left")
			s.nothingLeft()
		})
	}
}

// Whoever else runs in a TMPDIR without inodes keeps his files, and the start is refused.
func TestTempDirWithoutInodesOfAnother(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.ownTempDir("nr_inodes=20,mode=0700")
	claim, err := prepare.Take(runtimeDir(s.tmpdir, os.Getuid(), "worker"))
	s.must(err, os.Mkdir(s.tmpdir+metricsOfScene, 0o700))
	defer claim.Release()
	made := 0
	for ; err == nil; made++ {
		err = os.WriteFile(fmt.Sprintf("%s/counter_%d.db", s.tmpdir+metricsOfScene, made), nil, 0o600)
	}
	r := s.start("server", "--tmpdir", s.tmpdir)
	if code := r.exitCode(); code != exitCannotWrite {
		t.Errorf("exit code %d, want %d", code, exitCannotWrite)
	}
	r.says("no inodes left, or as good as", s.tmpdir)
	if files, _ := filepath.Glob(s.tmpdir + metricsOfScene + "/counter_*.db"); len(files) != made-1 {
		t.Errorf("%d files are left of %d", len(files), made-1)
	}
}

func TestOthersInATempDir(t *testing.T) {
	t.Parallel()
	tmpdir := filepath.Join(t.TempDir(), "a[b]*c")
	own, other := runtimeDir(tmpdir, 0, "server"), runtimeDir(tmpdir, 0, "worker")
	if err := errors.Join(os.Mkdir(tmpdir, 0o700), os.Mkdir(own, 0o700)); err != nil {
		t.Fatal(err)
	}
	if othersIn(tmpdir, own) {
		t.Error("our own is another's")
	}
	claim, err := prepare.Take(other)
	if err != nil {
		t.Fatal(err)
	}
	if !othersIn(tmpdir, own) {
		t.Error("the other is not seen")
	}
	claim.Release()
	if othersIn(tmpdir, own) {
		t.Error("one that has ended is seen")
	}
}

// What hangs is a line, and holds nobody up for much longer than its bound.
func TestTidyingEndsWhereAMountHangs(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	dir := hungDir(s)
	for name, tt := range map[string]struct {
		do   func(*prepared)
		says string
	}{
		"sweep": {func(r *prepared) {
			r.sweep(plan{TempDir: tempDir{Path: s.tmpdir}, Leftovers: []prepare.Stale{{Dir: s.tmpdir, Metrics: dir + "/m"}}})
		}, "cannot look for what an earlier run left: "},
		"mirror": {func(r *prepared) {
			r.mirror(plan{Identity: prepare.Self(), Blueprints: &prepare.Mirror{From: s.root, Into: dir + "/b", For: "built-in blueprints"}})
		}, "it lies on what is mounted at " + dir},
		"mode file": {func(r *prepared) {
			r.writeModeFile(servicePlan{ModeFile: dir + "/authentik-mode"})
		}, "cannot write " + dir + "/authentik-mode: "},
		"pid file": {func(r *prepared) {
			r.removeStalePIDFile(servicePlan{StalePIDFile: dir + "/authentik.pid"})
		}, "cannot remove the pid file of an earlier run: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			begin, r := time.Now(), &prepared{modeFiles: map[string]string{}}
			tt.do(r)
			if took := time.Since(begin); took > 15*time.Second {
				t.Errorf("took %s", took)
			}
			if len(r.findings) != 1 || !strings.Contains(r.findings[0].Found, tt.says) || !strings.Contains(r.findings[0].Found, "does not answer within") {
				t.Errorf("says %+v, want %q", r.findings, tt.says)
			}
		})
	}
}
