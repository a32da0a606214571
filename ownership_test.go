package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ak-init/testdata/hang"
)

// ownership is a scene in which root gives its worker's place to 4711:4712, with uploads that
// were made by root, as by an image of before.
func ownership(t *testing.T) *scene {
	t.Helper()
	s := asRoot(t)
	s.giveAll(4711, 4712)
	deep := s.root + "/data/icons/a/b"
	s.write(deep, "logo.png", "banner.png")
	s.must(os.WriteFile(s.dir+"/outside", nil, 0o644), os.Symlink(s.dir+"/outside", deep+"/link"))
	s.write(s.root+"/data", "right.txt")
	s.must(os.Chown(s.root+"/data/right.txt", 4711, 4712))
	return s
}

// wrongInScene is what of the uploads is not the children's: three directories, two files
// and a link. All are nine with the top, right.txt and the image's link media.
const (
	wrongInScene = 7
	allInScene   = 9
)

func (s *scene) stat(path string) unix.Stat_t {
	s.t.Helper()
	var st unix.Stat_t
	s.must(unix.Lstat(path, &st))
	return st
}

// owned wants an owner, of the name itself.
func (s *scene) owned(path string, uid, gid uint32) {
	s.t.Helper()
	if st := s.stat(path); st.Uid != uid || st.Gid != gid {
		s.t.Errorf("%s belongs to %d:%d, want %d:%d", path, st.Uid, st.Gid, uid, gid)
	}
}

func TestUploadsOfRootAreGivenToTheWorker(t *testing.T) {
	s := ownership(t)
	before := s.stat(s.root + "/data/right.txt")
	r := s.start("worker", "--user", "4711:4712")
	s.awaitHealth(0, "--started")
	for _, name := range []string{"icons", "icons/a", "icons/a/b", "icons/a/b/logo.png", "icons/a/b/banner.png", "icons/a/b/link"} {
		s.owned(s.root+"/data/"+name, 4711, 4712)
	}
	s.owned(s.dir+"/outside", 0, 0)
	if after := s.stat(s.root + "/data/right.txt"); after.Ctim != before.Ctim {
		t.Error("a file that was right was written to")
	}
	line := r.line("ownership put right")
	if line["path"] != s.root+"/data" || line["looked"] != float64(allInScene) || line["changed"] != float64(wrongInScene) {
		t.Errorf("it says %v; want %d of %d", line, wrongInScene, allInScene)
	}
	r.stop()

	// At the second start nothing is wrong.
	r = s.start("worker", "--user", "4711:4712")
	s.awaitHealth(0, "--started")
	r.stop()
	if strings.Contains(r.logs.String(), "ownership") {
		t.Error("it speaks of ownership again")
	}
}

func TestFixOwnership(t *testing.T) {
	t.Run("never changes nothing and counts", func(t *testing.T) {
		s := ownership(t)
		before := s.timesOf(s.root + "/data")
		r := s.start("worker", "--user", "4711:4712", "--fix-ownership", "never")
		s.awaitHealth(0, "--started")
		r.says("/data (uploads): 7 of 9 entries belong to somebody else than the children, uid 4711, gid 4712", `"level":"warning"`, "leave out --fix-ownership never")
		for path, times := range s.timesOf(s.root + "/data") {
			if before[path] != times {
				t.Errorf("%s was changed", path)
			}
		}
		r.stop()
	})
	t.Run("never gives no directory away either", func(t *testing.T) {
		s := ownership(t)
		s.must(os.Lchown(s.root+"/data", 0, 0))
		for _, command := range []string{"check", "worker"} {
			words := []string{command, "--user", "4711:4712", "--fix-ownership", "never"}
			if command == "check" {
				words = slices.Insert(words, 1, "worker")
			}
			r := s.start(words...)
			if code := r.exitCode(); code != exitCannotWrite {
				t.Errorf("%s: exit code %d, want %d", command, code, exitCannotWrite)
			}
			if want := "cannot write to " + s.root + "/data (uploads): permission denied; it is owned by 0:0"; !strings.Contains(r.logs.String(), want) {
				t.Errorf("%s does not say %q", command, want)
			}
			s.owned(s.root+"/data", 0, 0)
		}
	})
	t.Run("never is an error where a warning is", func(t *testing.T) {
		s := ownership(t)
		r := s.start("worker", "--user", "4711:4712", "--fix-ownership", "never", "--strict")
		if code := r.exitCode(); code != exitConfig {
			t.Errorf("exit code %d, want %d", code, exitConfig)
		}
		if started := s.starts("worker"); len(started) > 0 {
			t.Errorf("started %v", started)
		}
	})
	t.Run("always writes to what is right as well", func(t *testing.T) {
		s := ownership(t)
		before := s.stat(s.root + "/data/right.txt")
		r := s.start("worker", "--user", "4711:4712", "--fix-ownership", "always")
		s.awaitHealth(0, "--started")
		if after := s.stat(s.root + "/data/right.txt"); after.Ctim == before.Ctim {
			t.Error("a file that was right was not written to")
		}
		r.says("ownership put right", `"path":"`+s.root+`/data"`, `"looked":9`, `"changed":9`)
		r.stop()
	})
}

// Certificates may be shared with other containers: they stay whose they are.
func TestCertificatesStayWhoseTheyAre(t *testing.T) {
	s := asRoot(t)
	s.giveAll(4711, 4712)
	certs := s.dir + "/certs"
	s.write(certs+"/example.com", "fullchain.pem", "privkey.pem")
	s.must(os.Chmod(certs+"/example.com/privkey.pem", 0o600))
	before := s.timesOf(certs)
	s.env = append(s.env, "AUTHENTIK_CERT_DISCOVERY_DIR="+certs)
	r := s.start("worker", "--user", "4711:4712")
	s.awaitHealth(0, "--started")
	r.says("cannot read "+certs+"/example.com/privkey.pem (certificates): permission denied; it is owned by 0:0, mode 0600; we are uid 4711, gid 4712",
		`"level":"warning"`, "let uid 4711, gid 4712 read it, by its group or its mode")
	if n := len(r.lines(`"check":"ownership"`)); n != 1 {
		t.Errorf("%d lines of ownership, want one", n)
	}
	for path, times := range s.timesOf(certs) {
		if before[path] != times {
			t.Errorf("%s was changed", path)
		}
	}
	r.stop()
}

// So do blueprints and templates, which the worker reads alone.
func TestWhatTheWorkerCannotReadIsTold(t *testing.T) {
	s := asRoot(t)
	s.giveAll(4711, 4712)
	blueprints, templates := s.dir+"/blueprints", s.dir+"/templates"
	s.write(blueprints+"/system", "bootstrap.yaml")
	s.write(templates, "mail.html")
	s.must(os.Chmod(blueprints, 0o700), os.Chmod(templates+"/mail.html", 0o600))
	s.env = append(s.env, "AUTHENTIK_BLUEPRINTS_DIR="+blueprints, "AUTHENTIK_EMAIL__TEMPLATE_DIR="+templates)
	for _, words := range [][]string{{"check", "worker"}, {"worker"}} {
		r := s.start(append(words, "--user", "4711:4712")...)
		if words[0] == "worker" {
			s.awaitHealth(0, "--started")
			r.stop()
		}
		<-r.ended
		for _, want := range []string{
			"cannot read " + blueprints + " (blueprints): permission denied; it is owned by 0:0, mode 0700; we are uid 4711, gid 4712",
			"cannot read " + templates + "/mail.html (templates): permission denied; it is owned by 0:0, mode 0600; we are uid 4711, gid 4712",
		} {
			if !strings.Contains(r.logs.String(), want) {
				t.Errorf("%v does not say %q", words, want)
			}
		}
	}
}

// A volume that is mounted read-only: uploads fail, and all else works.
func TestReadOnlyUploadsAreAWarning(t *testing.T) {
	s := ownership(t)
	data := s.root + "/data"
	if err := unix.Mount(data, data, "", unix.MS_BIND, ""); err != nil {
		t.Skipf("cannot mount here: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(data, unix.MNT_DETACH) })
	s.must(unix.Mount("", data, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	r := s.start("worker", "--user", "4711:4712")
	s.awaitHealth(0, "--started")
	r.says("cannot write to "+data+" (uploads): read-only file system", `"level":"warning"`, `"check":"directories"`)
	r.says("cannot give away "+data, "the file system is read-only: chown it to 4711:4712 where it is mounted writable", `"level":"warning"`)
	s.owned(data+"/icons", 0, 0)
	r.stop()
}

// A tree on a file server that is gone does not keep a stop waiting, and nothing is started
// on the way out.
func TestStopWhileOwnershipIsLookedAt(t *testing.T) {
	s := ownership(t)
	dir := filepath.Join(s.root, "data", "hung")
	s.must(os.Mkdir(dir, 0o755))
	hang.Mount(t, dir)
	r := s.start("worker", "--user", "4711:4712")
	s.await("the wait", func() bool { return waitsForFUSE(r.Process.Pid) })
	begin := time.Now()
	r.signal(syscall.SIGTERM)
	r.exitCode()
	if took := time.Since(begin); took > 6*time.Second {
		t.Errorf("it ended after %s", took)
	}
	if started := s.starts("worker"); len(started) > 0 {
		t.Errorf("started %v", started)
	}
	if n := len(r.lines(`"event":"child started"`)); n > 0 {
		t.Errorf("%d children were started", n)
	}
	if r.lines("look for a file server that hangs") != nil {
		t.Error("who stopped it is told to look for a file server")
	}
	s.nothingLeft()
}
