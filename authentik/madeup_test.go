package authentik_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"ak-init/testdata/standin/layout"
)

// built are the programs of these tests.
type built struct{ akInit, recorder string }

func build(t *testing.T) built {
	t.Helper()
	dir := scratch(t)
	b := built{dir + "/ak-init", dir + "/recorder"}
	for out, source := range map[string]string{b.akInit: "ak-init", b.recorder: "./testdata/recorder"} {
		cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, source)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if said, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go build: %v\n%s", err, said)
		}
	}
	return b
}

// scratch is a directory that every user can reach, with a short name, for sockets.
func scratch(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "ak-") //nolint:usetesting // see above
	if err := errors.Join(err, os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// place is a made-up authentik, and who starts it there: the official image, with recorders for
// all that its script runs.
type place struct {
	// dir holds the root, and what is nobody's in there.
	dir string
	// own: the root is the file system's, for those who are started there.
	own      bool
	uid, gid int
	groups   []int
	// venv is the image's virtual environment, in the root.
	venv string
}

// Who authentik is in a root of its own, and who a user is that root plays.
const (
	authentikID = 1000
	nobodyID    = 65534
)

func newPlace(t *testing.T, r row, release string, root bool) place {
	t.Helper()
	p := place{dir: scratch(t), own: root || r.OwnRoot, uid: os.Getuid(), gid: os.Getgid(), venv: "ak-root/.venv"}
	if among("- 2025.3", release) {
		p.venv = "ak-root/venv" // Dockerfile, 2025.2
	}
	if p.uid == 0 && !root {
		p.uid, p.gid = nobodyID, nobodyID
	}
	p.groups = []int{p.gid}
	if os.Getuid() != 0 {
		p.groups, _ = os.Getgroups()
		slices.Sort(p.groups)
	}
	return p
}

func (p place) who() string { return who(p.uid, p.gid, p.groups) }

func who(uid, gid int, groups []int) string {
	return fmt.Sprintf("uid %d gid %d groups %s", uid, gid, strings.Trim(fmt.Sprint(groups), "[]"))
}

// root and tmpdir are how they are called from within.
func (p place) root() string {
	if p.own {
		return ""
	}
	return p.dir + "/root"
}

func (p place) tmpdir() string {
	if p.own {
		return "/dev/shm"
	}
	return p.dir + "/root/tmpdir"
}

func (p place) record() string { return p.root() + "/record" }

// from gives a path within as it is called from without.
func (p place) from(within string) string {
	if p.own {
		return p.dir + "/root" + within
	}
	return within
}

func (p place) expand(text string) string {
	return strings.NewReplacer("{root}", p.root(), "{venv}", p.root()+"/"+p.venv, "{tmpdir}", p.tmpdir()).Replace(text)
}

// contract is the other way round, for printing.
func (p place) contract(text string) string {
	text = strings.NewReplacer(p.tmpdir(), "{tmpdir}", p.root()+"/"+p.venv, "{venv}").Replace(text)
	if !p.own {
		text = strings.ReplaceAll(text, p.root(), "{root}")
	}
	return text
}

// environment is what ak is started with: what the image sets, and what the recorders need.
func (p place) environment(r row) map[string]string {
	h := fnv.New32()
	_, _ = h.Write([]byte(p.dir))
	host := fmt.Sprintf("127.%d.%d.%d", h.Sum32()>>24, h.Sum32()>>16&255, 1+h.Sum32()&127) // so that places do not meet
	env := map[string]string{}
	p.set(r, env, []string{
		"PATH={root}/lifecycle:{venv}/bin:{root}/bin:{root}/tools",
		"TMPDIR={tmpdir}", "HOME={root}/home", "VENV_PATH={venv}", "PYTHONDONTWRITEBYTECODE=1", "PYTHONUNBUFFERED=1",
		"AUTHENTIK_SECRET_KEY=x", "AUTHENTIK_LISTEN__HTTP=" + host + ":9000", "AUTHENTIK_LISTEN__HTTPS=" + host + ":9443",
		"AUTHENTIK_LISTEN__METRICS=" + host + ":9300",
		"AK_INIT_WAIT_DATABASE=0", "AK_INIT_LOG_LEVEL=info",
		"RECORDER=" + p.record(), "RECORDER_ENDS=" + list(r.Ends, p.expand), "RECORDER_SAYS=" + list(r.Says, p.expand),
	})
	for _, with := range r.With {
		if name, ok := strings.CutPrefix(with, "-"); ok {
			delete(env, name)
			continue
		}
		p.set(r, env, []string{with})
	}
	return env
}

// programs are played by the recorder.
func programs() []string {
	return []string{
		"{venv}/bin/python", "{venv}/bin/python3", "{venv}/bin/gunicorn", "bin/authentik", "bin/chpst", "bin/go",
		"bin/celery", "bin/sleep", "bin/bash", "bin/apt-get", "bin/poetry", "bin/uv", "bin/bash-by-its-path",
	}
}

// tools are this machine's, and all that the script needs of it.
func tools() []string {
	return []string{"cat", "chmod", "chown", "env", "getent", "groupadd", "head", "mkdir", "rm", "sed", "stat", "touch", "usermod"}
}

// lay makes the place, for one run.
func (p place) lay(t *testing.T, b built, r row, release string) {
	t.Helper()
	root := p.dir + "/root"
	must(t, layout.Image(root, os.DevNull), os.Link(b.recorder, root+"/bin/recorder"))
	if p.venv != "ak-root/.venv" {
		must(t, os.Rename(root+"/ak-root/.venv", path.Join(root, p.venv)))
	}
	for _, name := range programs() {
		file := path.Join(root, strings.ReplaceAll(name, "{venv}", p.venv))
		_ = os.Remove(file) // the layout's own
		must(t, os.Symlink(p.root()+"/bin/recorder", file))
	}
	must(t, os.Mkdir(root+"/tools", 0o755))
	for _, name := range tools() {
		must(t, os.Symlink(tool(name), path.Join(root, "tools", name)))
	}
	files := map[string]string{
		"authentik/__init__.py": "VERSION = \"" + release + "\"\n", "media/a.png": "", "data/a.png": "", "certs/a.pem": "", "record": "",
		p.venv + "/bin/activate": p.expand("export VIRTUAL_ENV={venv}\n"),
	}
	for _, dir := range []string{"home", "root", "tmpdir", "tmp", "var/run"} {
		must(t, os.MkdirAll(path.Join(root, dir), 0o755))
	}
	if p.own {
		p.layFileSystem(t, files)
	}
	for name, content := range files {
		must(t, os.WriteFile(path.Join(root, name), []byte(content), 0o644))
	}
	must(t, os.Chmod(root+"/certs/a.pem", 0o600), os.Chmod(root+"/record", 0o666), os.Chmod(root+"/tmp", fs.ModeSticky|0o777))
	for _, dir := range []string{"media", "data", "certs", "root"} {
		must(t, os.Chmod(path.Join(root, dir), 0o700))
	}
	for _, one := range r.There {
		p.put(t, one)
	}
	p.give(t)
}

// give is for a user whom root plays: a root of its own is root's, but for uploads.
func (p place) give(t *testing.T) {
	t.Helper()
	if p.uid == os.Getuid() {
		return
	}
	trees := []string{"."}
	if p.own {
		trees = []string{"media", "data"}
	}
	for _, tree := range trees {
		must(t, filepath.WalkDir(path.Join(p.dir, "root", tree), func(name string, _ fs.DirEntry, err error) error {
			if path.Base(name) == "recorder" { // a hard link, and other places have it, too
				return err
			}
			return errors.Join(err, os.Lchown(name, p.uid, p.gid))
		}))
	}
}

// layFileSystem makes what a whole file system has beside authentik.
func (p place) layFileSystem(t *testing.T, files map[string]string) {
	t.Helper()
	root := p.dir + "/root"
	for _, dir := range []string{"etc", "proc", "dev/shm"} {
		must(t, os.MkdirAll(path.Join(root, dir), 0o755))
	}
	must(t, os.Chmod(root+"/dev/shm", fs.ModeSticky|0o777))
	for _, dir := range []string{"usr", "sbin", "lib", "lib64"} { // as testdata/recorder/enter_linux.go fills them
		if target, err := os.Readlink("/" + dir); err == nil {
			must(t, os.Symlink(target, path.Join(root, dir)))
		} else if _, err := os.Stat("/" + dir); err == nil {
			must(t, os.Mkdir(path.Join(root, dir), 0o755))
		}
	}
	for _, file := range []string{"null", "zero", "urandom"} {
		files["dev/"+file] = ""
	}
	must(t, os.Symlink("/proc/self/fd", root+"/dev/fd"), os.Symlink("/proc/self/fd/2", root+"/dev/stderr"))
	cache, _ := os.ReadFile("/etc/ld.so.cache") // some have none
	maps.Copy(files, map[string]string{
		"etc/ld.so.cache":   string(cache),
		"etc/passwd":        "root:x:0:0::/root:/bin/bash\nauthentik:x:1000:1000::/authentik:/usr/sbin/nologin\nnobody:x:65534:65534::/nonexistent:/usr/sbin/nologin\n",
		"etc/group":         "root:x:0:\nauthentik:x:1000:\nengine:x:999:\nnogroup:x:65534:\n",
		"etc/nsswitch.conf": "passwd: files\ngroup: files\n",
	})
}

// put makes what a row wants to be there before, or not.
func (p place) put(t *testing.T, one string) {
	t.Helper()
	if name, ok := strings.CutPrefix(one, "-"); ok {
		must(t, os.RemoveAll(path.Join(p.dir, "root", strings.ReplaceAll(name, "{venv}", p.venv))))
		return
	}
	name, content, _ := strings.Cut(one, " ")
	file := p.from(p.expand(name))
	group, ok := strings.CutPrefix(content, "of group ")
	if !ok {
		must(t, os.WriteFile(file, []byte(content+"\n"), 0o644))
		return
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: file, Net: "unix"})
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	gid, err := strconv.Atoi(group)
	must(t, err, os.Chown(file, 0, gid), os.Chmod(file, 0o660))
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// tool is a program of this machine's by its own path, as it is in a root that has only /usr.
func tool(name string) string {
	file, err := exec.LookPath(name)
	if err != nil {
		file, err = exec.LookPath("/usr/sbin/" + name)
	}
	if err != nil {
		return "/usr/bin/" + name // whoever needs it says that it is missing
	}
	real, err := filepath.EvalSymlinks(file)
	if err != nil || path.Base(real) != name { // busybox and the like know what they are by their name
		return file
	}
	return real
}

// patience is how long a run may take; only a broken one takes so long.
const patience = 60 * time.Second

// run starts ak in its place, waits for its end, and tells what it did. argv is from within.
func (p place) run(t *testing.T, b built, r row, argv []string) (done outcome, said string) {
	t.Helper()
	before := p.look(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	attr := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	switch {
	case p.own:
		argv = slices.Concat([]string{"enter", p.dir + "/root", strconv.Itoa(p.uid), strconv.Itoa(p.gid)}, argv)
		attr.Cloneflags = syscall.CLONE_NEWNS | syscall.CLONE_NEWPID
	case os.Getuid() == 0:
		attr.Credential = &syscall.Credential{Uid: uint32(p.uid), Gid: uint32(p.gid), Groups: []uint32{uint32(p.gid)}}
	}
	cmd := exec.CommandContext(ctx, argv[0])
	if p.own {
		cmd.Path = b.recorder
	}
	cmd.Args, cmd.Dir, cmd.SysProcAttr = argv, p.dir+"/root", attr
	cmd.Err = nil
	for name, value := range p.environment(r) {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	// What /bin/bash reads where a recorder cannot take its place.
	cmd.Stdin = strings.NewReader("exec -a /bin/bash bash-by-its-path\n")
	out := p.start(t, cmd)
	if slices.Contains(slices.Collect(maps.Values(r.Ends)), "waits") {
		p.tellWhoWaits(ctx, t, cmd.Process, out)
	}
	_ = cmd.Wait() // its state says all
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	<-out.whole
	if ctx.Err() != nil {
		t.Errorf("%q does not end", argv)
	}
	done.exit = exitOf(cmd.ProcessState)
	done.runs = p.recorded(t)
	done.left = p.differs(before, p.look(t))
	return done, out.String()
}

func exitOf(state *os.ProcessState) int {
	if status := state.Sys().(syscall.WaitStatus); status.Signaled() {
		return 128 + int(status.Signal())
	}
	return state.ExitCode()
}

// output is what a process and its children have written so far.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
	// whole is closed when the last of them has ended.
	whole chan struct{}
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// start gives the process a pipe for what it writes. It belongs to it: the script opens
// /dev/stderr anew.
func (p place) start(t *testing.T, cmd *exec.Cmd) *output {
	t.Helper()
	from, to, err := os.Pipe()
	must(t, err)
	if os.Getuid() == 0 {
		must(t, to.Chown(p.uid, p.gid))
	}
	cmd.Stdout, cmd.Stderr = to, to
	err = cmd.Start()
	must(t, to.Close(), err)
	said := &output{whole: make(chan struct{})}
	go func() { // ends when the last writer has ended
		defer close(said.whole)
		defer from.Close()
		_, _ = io.Copy(said, from)
	}()
	return said
}

// tellWhoWaits sends TERM when there is a program that waits for it: a recorder, or ak-init in the
// place of sleep.
func (p place) tellWhoWaits(ctx context.Context, t *testing.T, ak *os.Process, said *output) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := os.Stat(p.from(p.record()) + ".waits")
		if err == nil || strings.Contains(said.String(), `"role":"debug"`) {
			must(t, ak.Signal(syscall.SIGTERM))
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Error("nobody waits")
			return
		}
	}
}

// recorded reads what the recorders wrote down.
func (p place) recorded(t *testing.T) []started {
	t.Helper()
	text, err := os.ReadFile(p.from(p.record()))
	must(t, err)
	var all []started
	for line := range strings.Lines(string(text)) {
		var one struct {
			Argv, Env         []string
			Cwd, Mode, Signal string
			UID, GID          int
			Groups            []int
		}
		must(t, json.Unmarshal([]byte(line), &one))
		if one.Signal != "" {
			i := slices.IndexFunc(all, func(s started) bool { return s.argv == quoted(one.Argv) })
			all[i].hears = one.Signal
			continue
		}
		s := started{argv: quoted(one.Argv), cwd: one.Cwd, who: who(one.UID, one.GID, one.Groups), mode: one.Mode, env: map[string]string{}}
		for _, pair := range one.Env {
			name, value, _ := strings.Cut(pair, "=")
			s.env[name] = value
		}
		all = append(all, s)
	}
	return all
}

// file is one file of the place.
type file struct {
	uid, gid int
	mode     fs.FileMode
	content  string
}

// look takes down what there is, by its name from within.
func (p place) look(t *testing.T) map[string]file {
	t.Helper()
	all := map[string]file{}
	root := p.dir + "/root"
	must(t, filepath.WalkDir(root, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		within := p.root() + strings.TrimPrefix(name, root)
		if strings.HasPrefix(within, p.record()) {
			return nil
		}
		info, err := os.Lstat(name)
		if err != nil {
			return err
		}
		owner := info.Sys().(*syscall.Stat_t)
		f := file{uid: int(owner.Uid), gid: int(owner.Gid), mode: info.Mode()}
		if f.mode.IsRegular() && info.Size() < 1<<10 {
			raw, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			f.content = string(raw)
		}
		all[within] = f
		return nil
	}))
	return all
}

// differs gives the lines that the table's "left" has.
func (p place) differs(before, after map[string]file) []string {
	var lines []string
	for name, now := range after {
		was, there := before[name]
		switch {
		case !there:
			lines = append(lines, now.line(name, p.uid, true))
		case now != was:
			lines = append(lines, "changed "+now.line(name, p.uid, was.content != now.content))
		}
	}
	for name := range before {
		if _, there := after[name]; !there {
			lines = append(lines, "removed "+name)
		}
	}
	slices.Sort(lines)
	return lines
}

func (f file) line(name string, starter int, content bool) string {
	usual := fs.FileMode(0o644)
	if f.mode.IsDir() {
		name, usual = name+"/", 0o755
	}
	if text := strings.TrimSpace(f.content); content && text != "" && len(text) <= 40 && !strings.Contains(text, "\n") {
		name += ": " + text
	}
	switch {
	case f.uid == authentikID && f.gid == authentikID:
		name += " of authentik"
	case f.uid != starter:
		name += fmt.Sprintf(" of %d:%d", f.uid, f.gid)
	}
	if perm := f.mode.Perm(); perm != usual && f.mode&fs.ModeSymlink == 0 {
		name += fmt.Sprintf(" %#o", perm)
	}
	return name
}
