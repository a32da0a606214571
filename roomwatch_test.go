package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestTempDirThatFillsUp is a real tmpfs of the size that Docker gives to /dev/shm.
func TestTempDirThatFillsUp(t *testing.T) {
	s := asRoot(t)
	if err := syscall.Mount("tmpfs", s.tmpdir, "tmpfs", 0, "size=64m,mode=700"); err != nil {
		t.Skip("no file system can be mounted here:", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(s.tmpdir, syscall.MNT_DETACH) })
	r := s.start("server")
	s.awaitHealth(0, "--started")
	const says = "TMPDIR is nearly full"
	if strings.Contains(r.logs.String(), says) {
		t.Fatal("it says so while there is room")
	}
	s.must(os.WriteFile(filepath.Join(s.tmpdir, "fill"), bytes.Repeat([]byte{1}, 55<<20), 0o600))
	// It looked when it was first asked, and looks again in a minute: another ak-init asks at once.
	r.stop()
	again := s.start("server")
	s.await("the warning", func() bool {
		s.health()
		return strings.Contains(again.logs.String(), says)
	})
	again.stop()
	if n := strings.Count(again.logs.String(), says); n != 1 {
		t.Errorf("it says so %d times", n)
	}
}
