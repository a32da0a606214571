package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Who asks for a name that somebody else has been asking for waits where no signal ends it
// (fs/dcache.c, d_alloc_parallel, Linux 6.18): a check that hears of TERM leaves him behind.
func TestWhoCannotBeKilledIsLeftBehind(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	name := hungDir(s) + "/password"
	first := exec.Command("cat", name)
	s.must(first.Start())
	t.Cleanup(func() { _, _ = first.Process.Kill(), first.Wait() })
	s.await("who asks first", func() bool { return waitsForFUSE(first.Process.Pid) })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd := exec.CommandContext(ctx, "cat", name)
	left := make(chan error)
	go func() {
		_, _, err := outputOf(ctx, cmd)
		left <- err
	}()
	s.await("who cannot be killed", func() bool {
		all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, file := range all {
			line, _ := os.ReadFile(file)
			where, _ := os.ReadFile(filepath.Dir(file) + "/wchan")
			if string(line) == "cat\x00"+name+"\x00" && strings.Contains(string(where), "d_alloc_parallel") {
				return true
			}
		}
		return false
	})
	cancel()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
