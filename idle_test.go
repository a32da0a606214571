package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"ak-init/testdata/bed"
)

// releaseBuild builds ak-init as the Containerfile does.
func releaseBuild(t *testing.T, out string) {
	t.Helper()
	raw, err := os.ReadFile("Containerfile")
	if err != nil {
		t.Fatal(err)
	}
	run := regexp.MustCompile(`(?m)^RUN (\["go", "build", .*\])$`).FindSubmatch(raw)
	if run == nil {
		t.Fatal("the Containerfile has no line that builds")
	}
	var words []string
	if err := json.Unmarshal(run[1], &words); err != nil {
		t.Fatal(err)
	}
	for i, w := range words {
		if w == "/ak-init" {
			words[i] = out
		}
	}
	cmd := exec.CommandContext(t.Context(), words[0], words[1:]...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%q: %v\n%s", words, err, said)
	}
}

// release has the scene run ak-init as it is released.
func (s *scene) release() {
	s.t.Helper()
	releaseBuild(s.t, s.dir+"/release")
	s.must(os.Remove(s.akInit), os.Rename(s.dir+"/release", s.akInit))
}

// switches sums the context switches of all threads (proc_pid_status(5)).
func switches(t *testing.T, pid int) int {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(files) == 0 {
		t.Fatalf("no threads of %d: %v", pid, err)
	}
	sum := 0
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, count := range regexp.MustCompile(`ctxt_switches:\s+(\d+)`).FindAllSubmatch(raw, -1) {
			n, _ := strconv.Atoi(string(count[1]))
			sum += n
		}
	}
	return sum
}

// pss is a process's share of memory in KiB (proc_pid_smaps_rollup(5)).
func pss(t *testing.T, pid int) int {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^Pss:\s+(\d+) kB`).FindSubmatch(raw)
	if found == nil {
		t.Fatalf("no Pss in %s", raw)
	}
	n, _ := strconv.Atoi(string(found[1]))
	return n
}

// An ak-init that nobody asks anything, with a server that runs, is not scheduled at all
// for a minute, and takes no more than 6 MB; nor is its guard.
func TestIdle(t *testing.T) {
	t.Parallel()
	bed.Need(t, "idle", os.Getenv("AK_IDLE") != "", "it takes two minutes: AK_IDLE=1 runs it")
	s := newScene(t)
	s.release()
	r := s.start("server")
	s.awaitHealth(0, "--started")
	guard := guardOf(t, r.Process.Pid)
	pids := []int{r.Process.Pid, guard}
	// A sleep that Go's runtime began before it was told to keep quiet lasts up to 60 s.
	wait(t, 65*time.Second)
	before := []int{switches(t, pids[0]), switches(t, pids[1])}
	wait(t, 60*time.Second)
	for i, name := range []string{"ak-init", "its guard"} {
		if n := switches(t, pids[i]) - before[i]; n != 0 {
			t.Errorf("%s was switched to and from %d times in 60 s, want 0", name, n)
		}
		t.Logf("%s: Pss %d KiB", name, pss(t, pids[i]))
	}
	if got := pss(t, pids[0]); got > 6000 {
		t.Errorf("Pss %d KiB, want at most 6000", got)
	}
	r.signal(syscall.SIGTERM)
	if code := r.exitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// wait is for time that has to pass, which is what an idle process is measured by.
func wait(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
		t.Fatal("the test is over")
	}
}

// guardOf finds the guard of an ak-init.
func guardOf(t *testing.T, pid int) int {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		raw, _ := os.ReadFile(file)
		for word := range strings.FieldsSeq(string(raw)) {
			if line, _ := os.ReadFile("/proc/" + word + "/cmdline"); strings.HasPrefix(string(line), "ak-init-guard") {
				n, _ := strconv.Atoi(word)
				return n
			}
		}
	}
	t.Fatal("it has no guard")
	return 0
}
