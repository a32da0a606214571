package main

import (
	"archive/tar"
	"bytes"
	"errors"
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
	"ak-init/testdata/standin/layout"
)

// docker is a client and an image name of this test's own.
type docker struct {
	t     *testing.T
	image string
}

// newDocker needs a daemon, whose address is in DOCKER_HOST.
func newDocker(t *testing.T) docker {
	t.Helper()
	d := docker{t, "ak-init-test-" + strings.ToLower(filepath.Base(t.TempDir())) + "-" + strings.ToLower(t.Name())}
	out, err := exec.CommandContext(t.Context(), "docker", "version").CombinedOutput()
	bed.Need(t, "docker", err == nil, "no Docker daemon answers: "+strings.TrimSpace(string(out)))
	return d
}

// in is the same for a subtest.
func (d docker) in(t *testing.T) docker {
	t.Helper()
	return docker{t, d.image}
}

// run runs docker and gives its stdout; on failure the test ends.
func (d docker) run(words ...string) string {
	d.t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.Command("docker", words...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	// The classic builder: it needs nothing beside the daemon.
	cmd.Env = append(os.Environ(), "DOCKER_BUILDKIT=0")
	if err := cmd.Run(); err != nil {
		d.t.Fatalf("docker %s: %v\n%s%s", strings.Join(words, " "), err, stdout.String(), stderr.String())
	}
	return strings.TrimSpace(stdout.String())
}

// imageFrom makes an image of a folder, without a registry.
func (d docker) imageFrom(dir, name string, changes ...string) {
	d.t.Helper()
	pack := exec.Command("tar", "-C", dir, "--owner=0", "--group=0", "--numeric-owner", "-c", ".")
	words := []string{"import"}
	for _, c := range changes {
		words = append(words, "--change", c)
	}
	load := exec.Command("docker", append(words, "-", name)...)
	pipe, err := pack.StdoutPipe()
	if err != nil {
		d.t.Fatal(err)
	}
	load.Stdin = pipe
	if err := errors.Join(pack.Start(), load.Run(), pack.Wait()); err != nil {
		d.t.Fatalf("image %s: %v", name, err)
	}
	d.t.Cleanup(func() { d.run("rmi", "-f", name) })
}

// build builds a target of the Containerfile. What stands for the golang image is this
// machine's own Go with the modules it has, since no registry is asked: a stand-in.
func (d docker) build(target, base string) {
	d.t.Helper()
	d.run("build", "--network", "none", "-f", "Containerfile", "--target", target, "-t", d.image,
		"--build-arg", "GO_IMAGE="+d.image+"-go", "--build-arg", "AUTHENTIK_IMAGE="+base, ".")
	d.t.Cleanup(func() { d.run("rmi", "-f", d.image) })
}

// goImage makes that stand-in: GOROOT, and a module cache of what go.mod needs.
func (d docker) goImage() {
	d.t.Helper()
	dir := d.t.TempDir()
	goEnv := func(name string) string {
		out, err := exec.Command("go", "env", name).Output()
		if err != nil {
			d.t.Fatal(err)
		}
		return strings.TrimSpace(string(out))
	}
	if err := errors.Join(
		os.MkdirAll(filepath.Join(dir, "usr/local"), 0o755),
		os.Mkdir(filepath.Join(dir, "tmp"), 0o777),
		os.Chmod(dir, 0o755),
	); err != nil {
		d.t.Fatal(err)
	}
	download := exec.Command("go", "mod", "download")
	download.Env = append(os.Environ(), "GOMODCACHE="+filepath.Join(dir, "go/pkg/mod"), "GOFLAGS=-modcacherw",
		"GOPROXY=file://"+filepath.Join(goEnv("GOMODCACHE"), "cache/download"), "GONOSUMDB=*")
	if out, err := download.CombinedOutput(); err != nil {
		d.t.Fatalf("go mod download: %v\n%s", err, out)
	}
	copyTree := exec.Command("cp", "-a", goEnv("GOROOT"), filepath.Join(dir, "usr/local/go"))
	if out, err := copyTree.CombinedOutput(); err != nil {
		d.t.Fatalf("copy GOROOT: %v\n%s", err, out)
	}
	d.imageFrom(dir, d.image+"-go", "ENV PATH=/usr/local/go/bin GOPATH=/go GOPROXY=off GONOSUMDB=* GOCACHE=/tmp/cache HOME=/tmp GOTOOLCHAIN=local")
}

// The build knows each room by its name, and a new one has to be named.
func TestContainerfileCopiesEveryRoom(t *testing.T) {
	containerfile, err1 := os.ReadFile("Containerfile")
	ignored, err2 := os.ReadFile(".dockerignore")
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{.ImportPath}}", ".", "./cmd/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for path := range strings.FieldsSeq(string(out)) {
		name, ours := strings.CutPrefix(path, "ak-init/")
		room, _, _ := strings.Cut(name, "/")
		if ours && !strings.Contains(string(containerfile), "\nCOPY "+room+" "+room+"\n") {
			t.Errorf("%s is not copied", room)
		}
		if ours && !strings.Contains(string(ignored), "\n!"+room) {
			t.Errorf("%s is ignored", room)
		}
	}
}

// TestContainer is the whole of it: the Containerfile on top of an image that holds
// the stand-in alone, read-only, as a uid without a name.
func TestContainer(t *testing.T) {
	d := newDocker(t)
	d.goImage()
	standin, err := standIn()
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	if err := errors.Join(
		layout.Image(root, standin), os.Chmod(root, 0o755),
		os.MkdirAll(root+"/etc", 0o755), os.WriteFile(root+"/etc/passwd", []byte("root:x:0:0::/:\n"), 0o644), //nolint:gosec // all read it
		os.WriteFile(root+"/etc/group", []byte("root:x:0:\n"), 0o644), //nolint:gosec // BuildKit does
	); err != nil {
		t.Fatal(err)
	}
	base := d.image + "-authentik"
	d.imageFrom(root, base, "ENV AK_INIT_WAIT_DATABASE=0 TMPDIR=/dev/shm/ AUTHENTIK_SECRET_KEY=canary PATH=/lifecycle:/ak-root/.venv/bin:/usr/bin:/bin", "WORKDIR /")
	d.build("authentik", base)

	t.Run("README's commands", func(t *testing.T) { d.in(t).readme(base) })
	t.Run("README's table of checks", func(t *testing.T) { d.in(t).checks() })
	t.Run("the default target holds the binaries alone, and installs them", func(t *testing.T) { d.in(t).scratch(base) })
	for _, tmpfs := range []string{"/tmp", "/dev/shm"} {
		t.Run("server, read-only, uid 65534, writable "+tmpfs, func(t *testing.T) { d.in(t).serve(tmpfs) })
	}
	t.Run("starting, healthy, unhealthy, healthy", func(t *testing.T) { d.in(t).healthTurns() })
	t.Run("nothing writable", func(t *testing.T) {
		out := d.in(t).refused("73", "--read-only", "--user", "65534:65534", "--ipc", "none")
		if !strings.Contains(out, "no directory can be TMPDIR") {
			t.Errorf("it says %s", out)
		}
	})
	t.Run("both services under one init", func(t *testing.T) { d.in(t).both() })
	t.Run("out of memory is said", func(t *testing.T) { d.in(t).outOfMemory() })
	t.Run("/tmp missing is made", func(t *testing.T) {
		d := d.in(t)
		name := d.start("--ipc", "none", "--user", "0", "-e", "TMPDIR=/tmp")
		d.awaitHealth(name, "healthy")
		if out := d.run("diff", name); !strings.Contains(out, "A /tmp") {
			t.Errorf("changed in the container: %s", out)
		}
	})
}

// readme runs the README's docker commands word for word. What they name must not be
// there yet, so that nobody's own images and containers are touched.
func (d docker) readme(base string) {
	d.t.Helper()
	for name, image := range map[string]string{"golang:1.26": d.image + "-go", "authentik:latest": base} {
		if d.run("images", "-q", name) != "" || d.run("images", "-q", "authentik-ak-init") != "" || d.run("ps", "-aq", "--filter", "name=^authentik$") != "" {
			d.t.Skip("this daemon has an image or a container of that name already")
		}
		d.run("tag", image, name)
		d.t.Cleanup(func() { d.run("rmi", name) })
	}
	for _, command := range commands(d.t) {
		words := strings.Fields(command)
		if words[0] != "docker" {
			continue
		}
		switch words[1] {
		case "exec":
			d.await("ready", func() bool { return exec.Command(words[0], words[1:]...).Run() == nil })
		case "run":
			d.t.Cleanup(func() { d.run("rm", "-f", "authentik") })
		case "build":
			d.t.Cleanup(func() { d.run("rmi", "-f", "authentik-ak-init") })
		}
		d.run(words[1:]...)
	}
	if code := d.run("inspect", "-f", "{{.State.ExitCode}}", "authentik"); code != "0" {
		d.t.Errorf("exit code %s\n%s", code, d.logs("authentik"))
	}
}

// checks wants each row of README's example in a real one. How many others are ok, and what
// PostgreSQL adds to that, is this container's own.
func (d docker) checks() {
	d.t.Helper()
	_, block, found := strings.Cut(readme(d.t), "\n$ ak-init check worker\n")
	rows, _, ends := strings.Cut(block, "\nworker would not start")
	if !found || !ends {
		d.t.Fatal("README has no such example any more")
	}
	name := d.run("create", "--network", "none", "--user", "1000:1000", "-e", "AUTHENTIK_EMAIL__PASSWORD=file:///run/secrets/mail",
		"-e", "AUTHENTIK_POSTGRESQL_HOST=db", d.image, "check", "worker")
	d.t.Cleanup(func() { d.run("rm", name) })
	out, _ := exec.Command("docker", "start", "--attach", name).Output() // it would not start
	flat := func(text string) string { return strings.Join(strings.Fields(text), " ") }
	for row := range strings.Lines(rows) {
		if !strings.Contains(flat(string(out)), flat(row)) {
			d.t.Errorf("no %q in\n%s", flat(row), out)
		}
	}
}

// serve starts a server and stops it.
func (d docker) serve(tmpfs string) {
	d.t.Helper()
	name := d.start("--read-only", "--user", "65534:65534", "--tmpfs", tmpfs, "-e", "TMPDIR="+tmpfs)
	d.awaitHealth(name, "healthy")
	begin := time.Now()
	d.run("stop", "-t", "20", name)
	if took := time.Since(begin); took > time.Second {
		d.t.Errorf("docker stop took %s, want at most a second", took)
	}
	if code := d.run("inspect", "-f", "{{.State.ExitCode}}", name); code != "0" {
		d.t.Errorf("exit code %s, want the server's 0\n%s", code, d.logs(name))
	}
}

// threshold is for how long a service in a container may be ill: long enough to be told
// from no time at all.
const threshold = 10 * time.Second

// healthTurns follows HEALTHCHECK through a slow start and a hang.
func (d docker) healthTurns() {
	d.t.Helper()
	name := d.start("--read-only", "--user", "65534:65534", "--tmpfs", "/tmp", "-e", "TMPDIR=/tmp", "-e", "STANDIN_GUNICORN_DELAY=4s",
		"-e", "AK_INIT_LIVE_THRESHOLD="+threshold.String(),
		"--health-start-period", "60s", "--health-retries", "2")
	d.await("a check that fails in the start", func() bool {
		return strings.Contains(d.run("inspect", "-f", "{{json .State.Health.Log}}", name), `"ExitCode":1`)
	})
	d.awaitHealth(name, "starting")
	c := container{t: d.t, run: d.run, name: name, top: []string{"-eo", "pid,args"}, await: func(want string) { d.awaitHealth(name, want) }}
	c.healthTurns()
}

// container is one that an engine checks.
type container struct {
	t *testing.T
	// run runs the engine's client.
	run  func(words ...string) string
	name string
	// top has the host's pids and command lines listed.
	top []string
	// await waits until a check has had this outcome.
	await func(want string)
}

// healthTurns follows the health check through a hang, and stops the container.
func (c container) healthTurns() {
	c.t.Helper()
	c.await("healthy")
	server, hung := c.server(), time.Now()
	c.signal(server, syscall.SIGSTOP)
	c.await("unhealthy")
	if took := time.Since(hung); took < threshold-5*time.Second {
		c.t.Errorf("unhealthy after %s, before the threshold of %s", took, threshold)
	}
	if said := c.run("inspect", "-f", "{{json .State.Health.Log}}", c.name); !strings.Contains(said, "stopped, as by SIGSTOP") {
		c.t.Errorf("the check says %s", said)
	}
	c.signal(server, syscall.SIGCONT)
	c.await("healthy")
	c.t.Logf("unhealthy, and healthy again, %s after the hang", time.Since(hung).Round(time.Second))
	c.run("stop", "-t", "20", c.name)
	if code := c.run("inspect", "-f", "{{.State.ExitCode}}", c.name); code != "0" {
		c.t.Errorf("exit code %s, want the server's 0\n%s", code, c.run("logs", c.name))
	}
}

// server is the host's pid of authentik's server.
func (c container) server() int {
	c.t.Helper()
	for line := range strings.Lines(c.run(append([]string{"top", c.name}, c.top...)...)) {
		if words := strings.Fields(line); len(words) > 1 && filepath.Base(words[1]) == "authentik" {
			return number(c.t, words[0])
		}
	}
	c.t.Fatalf("no server runs in %s", c.name)
	return 0
}

func (c container) signal(pid int, sig syscall.Signal) {
	c.t.Helper()
	if err := syscall.Kill(pid, sig); err != nil {
		c.t.Fatal(err)
	}
}

// both starts server and worker in one container and stops them.
func (d docker) both() {
	d.t.Helper()
	name := d.run("run", "-d", "--network", "none", "--read-only", "--user", "65534:65534", "--tmpfs", "/tmp", "-e", "TMPDIR=/tmp",
		"--health-interval", "1s", "--health-start-period", "0s", d.image, "all")
	d.t.Cleanup(func() { d.run("rm", "-f", name) })
	d.awaitHealth(name, "healthy")
	if out := d.run("exec", name, "/ak-init", "status"); !strings.Contains(out, "ak-init "+version+" all, pid 1, ") || !strings.Contains(out, "\nworker   ready") {
		d.t.Errorf("status says\n%s", out)
	}
	d.run("stop", "-t", "20", name)
	if code := d.run("inspect", "-f", "{{.State.ExitCode}}", name); code != "0" {
		d.t.Errorf("exit code %s\n%s", code, d.logs(name))
	}
}

// outOfMemory starts a server that takes more than the container may have.
func (d docker) outOfMemory() {
	d.t.Helper()
	name := d.start("--memory", "100m", "--user", "0", "-e", "STANDIN_SERVER_HOG=1")
	code := d.run("wait", name)
	if d.run("inspect", "-f", "{{.State.OOMKilled}}", name) != "true" {
		d.t.Skip("this daemon limits no memory")
	}
	if out := d.logs(name); code != "137" || !strings.Contains(out, `"signal":"SIGKILL"`) || !strings.Contains(out, `"why":"out of memory"`) {
		d.t.Errorf("exit code %s, and it says\n%s", code, out)
	}
}

// start runs a server with its own network, so that ports are its own.
func (d docker) start(options ...string) string {
	d.t.Helper()
	words := append([]string{"run", "-d", "--network", "none", "--health-interval", "1s", "--health-start-period", "0s"}, options...)
	name := d.run(append(words, d.image, "server")...)
	d.t.Cleanup(func() { d.run("rm", "-f", name) })
	return name
}

// refused runs a server that must not start, and gives what it says.
func (d docker) refused(code string, options ...string) string {
	d.t.Helper()
	name := d.start(options...)
	if got := d.run("wait", name); got != code {
		d.t.Errorf("exit code %s, want %s", got, code)
	}
	return d.logs(name)
}

func (d docker) logs(name string) string {
	out, err := exec.Command("docker", "logs", name).CombinedOutput()
	if err != nil {
		d.t.Fatal(err)
	}
	return string(out)
}

func (d docker) awaitHealth(name, want string) {
	d.t.Helper()
	d.await("the container's "+want, func() bool {
		got := d.run("inspect", "-f", "{{.State.Status}} {{.State.Health.Status}}", name)
		if !strings.HasPrefix(got, "running") {
			d.t.Fatalf("the container is %s\n%s", got, d.logs(name))
		}
		return got == "running "+want
	})
}

// await looks until something is so.
func (d docker) await(what string, so func() bool) {
	d.t.Helper()
	(&scene{t: d.t}).await(what, so)
}

// scratch builds the Containerfile's default target, wants the binaries alone in it, and installs
// them from there as the README does.
func (d docker) scratch(base string) {
	d.t.Helper()
	const image = "ak-init" // which the README calls it
	if d.run("images", "-q", image) != "" {
		d.t.Skip("this daemon has an image of that name already")
	}
	d.run("build", "--network", "none", "-f", "Containerfile", "-t", image,
		"--build-arg", "GO_IMAGE="+d.image+"-go", "--build-arg", "AUTHENTIK_IMAGE=scratch", ".")
	d.t.Cleanup(func() { d.run("rmi", "-f", image) })
	if out := d.run("run", "--rm", "--network", "none", image, "version"); !strings.HasPrefix(out, "ak-init ") {
		d.t.Errorf("it says %q", out)
	}
	name := d.run("create", image)
	d.t.Cleanup(func() { d.run("rm", name) })
	all := d.sizeIn(name, "/ak-init") + d.sizeIn(name, "/ak-init-database") + d.sizeIn(name, "/ak-init-http")
	if size := d.run("image", "inspect", "-f", "{{.Size}}", image); size != strconv.FormatInt(all, 10) {
		d.t.Errorf("the image holds %s bytes, more than the binaries", size)
	}
	d.t.Run("into an image", func(t *testing.T) { docker{t, d.image + "-installed"}.installed(base) })
	d.t.Run("onto a volume", func(t *testing.T) { d.in(t).onVolume(image, base) })
}

// installed builds the README's second Containerfile on top of an image.
func (d docker) installed(base string) {
	d.t.Helper()
	block := regexp.MustCompile("(?s)```dockerfile\n(USER 0\nRUN .*?)```").FindStringSubmatch(readme(d.t))
	if block == nil {
		d.t.Fatal("the README shows no Containerfile that installs")
	}
	dir := d.t.TempDir()
	if err := os.WriteFile(dir+"/Dockerfile", []byte("FROM "+base+"\n"+block[1]), 0o600); err != nil {
		d.t.Fatal(err)
	}
	d.buildKit("build", "--network", "none", "-t", d.image, dir)
	d.t.Cleanup(func() { d.run("rmi", "-f", d.image) })
	d.served("/lifecycle/ak", "--user", "65534:65534", d.image, "server")
}

// buildKit runs docker with the builder that RUN --mount needs: clients from 23 on have it in a
// plugin, earlier ones, as Debian's beside them, in themselves.
func (d docker) buildKit(words ...string) {
	d.t.Helper()
	var said []byte
	for _, client := range []string{"docker", "/usr/bin/docker"} {
		cmd := exec.Command(client, words...)
		cmd.Env = append(os.Environ(), "DOCKER_BUILDKIT=1")
		out, err := cmd.CombinedOutput()
		if err == nil {
			return
		}
		if said = out; !bytes.Contains(out, []byte("buildx component is missing")) {
			d.t.Fatalf("%s %s: %v\n%s", client, strings.Join(words, " "), err, out)
		}
	}
	d.t.Skipf("no client here has BuildKit: %s", said)
}

// onVolume does what the README's init container does, and its container behind it.
func (d docker) onVolume(image, base string) {
	d.t.Helper()
	volume := d.run("volume", "create")
	d.t.Cleanup(func() { d.run("volume", "rm", volume) })
	d.run("run", "--rm", "--network", "none", "-v", volume+":/to", image, "install", "/to")
	d.served("/ak-init/ak-init", "--user", "65534:65534", "-v", volume+":/ak-init:ro", "--entrypoint", "/ak-init/ak-init", base, "server")
}

// served runs a container until it is ready by its own word, and stops it.
func (d docker) served(program string, words ...string) {
	d.t.Helper()
	name := d.run(append([]string{"run", "-d", "--network", "none", "--read-only", "--tmpfs", "/tmp", "-e", "TMPDIR=/tmp"}, words...)...)
	d.t.Cleanup(func() { d.run("rm", "-f", name) })
	d.await("ready", func() bool {
		return exec.Command("docker", "exec", name, program, "healthcheck", "--ready").Run() == nil
	})
	d.run("stop", "-t", "20", name)
	if code := d.run("inspect", "-f", "{{.State.ExitCode}}", name); code != "0" {
		d.t.Errorf("exit code %s\n%s", code, d.logs(name))
	}
}

// sizeIn is the size of a file in a container, by docker cp's tar header.
func (d docker) sizeIn(name, path string) int64 {
	d.t.Helper()
	out, err := exec.Command("docker", "cp", name+":"+path, "-").Output()
	if err != nil {
		d.t.Fatal(err)
	}
	header, err := tar.NewReader(bytes.NewReader(out)).Next()
	if err != nil {
		d.t.Fatal(err)
	}
	return header.Size
}
