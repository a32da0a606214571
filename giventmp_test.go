package main

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A TMPDIR that somebody made for this authentik, as --tmpfs /run/ak:mode=0755 does, is root's.
func TestTempDirOfRootsIsGivenToTheChildren(t *testing.T) {
	worker := func(t *testing.T) *scene {
		t.Helper()
		s := asRoot(t)
		s.must(os.Chown(s.root+"/data", 4711, 4711), os.Chown(s.root+"/media", 4711, 4711), os.Chmod(s.tmpdir, 0o755))
		return s
	}
	// starts the worker and gives the owner of TMPDIR, and where the worker has its own.
	starts := func(s *scene, words ...string) (r *running, uid uint32, tmpdir string) {
		s.t.Helper()
		r = s.start(append([]string{"worker", "--user", "4711"}, words...)...)
		s.awaitHealth(0, "--started", "--tmpdir", s.tmpdir)
		var st unix.Stat_t
		s.must(unix.Stat(s.tmpdir, &st))
		return r, st.Uid, s.starts("worker")[0].Env["TMPDIR"]
	}
	t.Run("a mount", func(t *testing.T) {
		s := worker(t)
		s.ownTempDir("mode=0755")
		check := s.start("check", "worker", "--user", "4711")
		if code := check.exitCode(); code != 0 {
			t.Errorf("check gives %d", code)
		}
		check.says(s.tmpdir+" (TMPDIR) belongs to somebody else, and will be given to the children", "directories", "ok")
		r, uid, tmpdir := starts(s)
		r.says("directory given to the children", s.tmpdir)
		r.stop()
		if uid != 4711 || tmpdir != s.tmpdir {
			t.Errorf("it belongs to %d, and the worker's TMPDIR is %s", uid, tmpdir)
		}
		if said := r.logs.String(); strings.Contains(said, `"check":"tmpdir"`) {
			t.Errorf("it complains:\n%s", said)
		}
	})
	t.Run("a directory by a flag", func(t *testing.T) {
		s := worker(t)
		r, uid, tmpdir := starts(s, "--tmpdir", s.tmpdir)
		r.stop()
		if uid != 4711 || tmpdir != s.tmpdir {
			t.Errorf("it belongs to %d, and the worker's TMPDIR is %s", uid, tmpdir)
		}
	})
	t.Run("but not one that is in use", func(t *testing.T) {
		s := worker(t)
		s.write(s.tmpdir, "mine.txt")
		r := s.start("worker", "--user", "4711", "--tmpdir", s.tmpdir)
		if code := r.exitCode(); code != exitCannotWrite {
			t.Errorf("exit code %d, want %d", code, exitCannotWrite)
		}
		r.says("cannot write to "+s.tmpdir+" (--tmpdir): permission denied", "chown it to 4711:4711")
		info, err := os.Stat(s.tmpdir)
		s.must(err)
		if st, ok := info.Sys().(*syscall.Stat_t); !ok || st.Uid != 0 {
			t.Error("it has been given away")
		}
	})
}
