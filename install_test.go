package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What stands beside ak-init is installed with it, and found there by who is called as ak.
func TestInstallTakesWhatStandsBeside(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.addProgram(akInitDatabase)
	dir := filepath.Join(s.dir, "volume")
	s.must(os.Mkdir(dir, 0o777))
	r := s.start("install", dir)
	if code := r.exitCode(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	want := strings.ReplaceAll("DIR/ak-init-database installed\nDIR/ak-init installed\nDIR/ak -> ak-init installed\n", "DIR", dir)
	if got := r.logs.String(); got != want {
		t.Errorf("it says %q, want %q", got, want)
	}
	s.must(os.Remove(filepath.Join(s.dir, "ak-init-database"))) // only the other one is left
	s.env = append(s.env, "AK_INIT_WAIT_DATABASE=1s", "AK_INIT_USER="+uid())
	cmd := exec.Command(filepath.Join(dir, "ak-init"), "server", "--dry-run")
	cmd.Env = s.env
	if out, err := cmd.Output(); err != nil || !strings.Contains(string(out), "("+dir+"/ak-init-database") {
		t.Errorf("%v:\n%s", err, out)
	}
}
