package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ak-init/testdata/bed"
	"ak-init/testdata/image"
)

// podman is a store of this test's own.
type podman struct {
	t    *testing.T
	dir  string
	name string // the container's
}

const (
	podmanImage = "localhost/ak-init:test"
	// Podman's own are above what it may raise in a container.
	nofile, nproc = "--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"
)

// newPodman needs podman and runc, and root.
func newPodman(t *testing.T) podman {
	t.Helper()
	_, err := exec.LookPath("podman")
	bed.Need(t, "podman", err == nil, "podman is missing")
	bed.Need(t, "podman", os.Geteuid() == 0, "podman is tried as root")
	dir, err := os.MkdirTemp("/var/tmp", "ak-p-") //nolint:usetesting // t.TempDir is too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	p := podman{t: t, dir: dir}
	t.Cleanup(func() {
		p.run("rmi", "-af")
		_ = exec.Command("umount", "-l", dir+"/root/overlay").Run()                // podman leaves it
		for _, cgroup := range []string{"libpod_parent/conmon", "libpod_parent"} { // in use where they cannot be removed
			for _, pattern := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/*/"} {
				all, _ := filepath.Glob(pattern + cgroup)
				for _, path := range all {
					_ = syscall.Rmdir(path)
				}
			}
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	file := filepath.Join(dir, "image.tar")
	if err := image.Write(file, podmanImage, imageRoot(t), image.Config{
		Entrypoint: []string{"/ak-init"}, Cmd: []string{"server"}, WorkingDir: "/",
		Env: []string{"PATH=/ak-root/.venv/bin:/bin", "TMPDIR=/tmp", "AUTHENTIK_SECRET_KEY=canary", "AK_INIT_WAIT_DATABASE=0"},
		Healthcheck: &image.Healthcheck{
			Test: []string{"CMD", "/ak-init", "healthcheck", "--started"}, Interval: int64(time.Hour), Timeout: int64(3 * time.Second), Retries: 2,
		},
	}); err != nil {
		t.Fatal(err)
	}
	p.run("load", "-i", file)
	out, err := p.command("run", "--rm", "--pull", "never", "--network", "none", nofile, nproc, podmanImage, "version").CombinedOutput()
	bed.Need(t, "podman", err == nil, "podman runs nothing here: "+string(out))
	return p
}

// command is podman without what a container of its own may not have: systemd's cgroups and
// events, and crun, which refuses cgroups of both versions.
func (p podman) command(words ...string) *exec.Cmd {
	return exec.Command("podman", append([]string{
		"--root", p.dir + "/root", "--runroot", p.dir + "/run", "--tmpdir", p.dir + "/tmp",
		"--events-backend", "file", "--cgroup-manager", "cgroupfs", "--runtime", "runc",
	}, words...)...)
}

// run runs podman and gives its stdout; on failure the test ends.
func (p podman) run(words ...string) string {
	p.t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := p.command(words...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		p.t.Fatalf("podman %s: %v\n%s%s", strings.Join(words, " "), err, stdout.String(), stderr.String())
	}
	return strings.TrimSpace(stdout.String())
}

// check is one health check, with its exit code and the status that follows. Nobody else
// checks: podman leaves that to timers of systemd.
func (p podman) check() (code int, status string) {
	p.t.Helper()
	cmd := p.command("healthcheck", "run", p.name)
	_ = cmd.Run() // its code says all
	return cmd.ProcessState.ExitCode(), p.run("inspect", "-f", "{{.State.Health.Status}}", p.name)
}

func (p podman) await(want string) {
	p.t.Helper()
	(&scene{t: p.t}).await("the container's "+want, func() bool { _, status := p.check(); return status == want })
}

func TestPodman(t *testing.T) {
	p := newPodman(t)
	for name, words := range map[string][]string{"as PID 1": nil, "behind podman's init": {"--init"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := p
			p.t = t
			p.healthTurns(words...)
		})
	}
}

// healthTurns follows the health check through a slow start and a hang.
func (p podman) healthTurns(words ...string) {
	p.t.Helper()
	words = append([]string{
		"run", "-d", "--pull", "never", nofile, nproc,
		"--network", "none", "--read-only", "--read-only-tmpfs=false", "--tmpfs", "/tmp", "--user", "65534:65534", "--health-start-period", "60s",
		"-e", "STANDIN_GUNICORN_DELAY=3s", "-e", "AK_INIT_LIVE_THRESHOLD=" + threshold.String(),
	}, words...)
	p.name = p.run(append(words, podmanImage, "server")...)
	p.t.Cleanup(func() { p.run("rm", "-f", p.name) })
	if code, status := p.check(); code != 1 || status != "starting" {
		p.t.Errorf("in the start: %d, %s", code, status)
	}
	c := container{t: p.t, run: p.run, name: p.name, top: []string{"hpid", "args"}, await: p.await}
	c.await("healthy")
	if said := p.run("exec", p.name, "/ak-init", "status"); strings.Contains(said, "pid 1,") == strings.Contains(strings.Join(words, " "), "--init") {
		p.t.Errorf("status says\n%s", said)
	}
	c.healthTurns()
}
