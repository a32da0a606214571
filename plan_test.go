package main

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"ak-init/authentik"
	"ak-init/prepare"
)

// somewhere is a machine with authentik 2026.2.2 in the official image's layout.
func somewhere() facts {
	release, known := authentik.ReleaseOf("2026.2.2")
	self := prepare.Identity{UID: 1000, GID: 1000}
	return facts{
		self: self, identity: self,
		layout:  authentik.Layout{Kind: "image", Root: "/", Version: "2026.2.2", Path: []string{"/lifecycle", "/ak-root/.venv/bin", "/bin"}},
		release: release, releaseKnown: known,
		config:   authentik.Newest().Config(authentik.Settings{}, authentik.Newest().Server, "/"),
		tempDirs: []tempDir{{Path: "/dev/shm", Origin: originEnvironment}},
		find:     func(name, _ string) (string, error) { return "/found/" + name, nil },
		view: authentik.View{
			Exists: func(string) bool { return true },
			Read:   func(string) ([]byte, error) { return nil, fs.ErrPermission },
		},
	}
}

func planOf(t *testing.T, f facts, args []string, environ ...string) plan {
	t.Helper()
	return planAs(t, f, ownName, args, environ...)
}

// planAs is what we plan when we are called by a name.
func planAs(t *testing.T, f facts, name string, args []string, environ ...string) plan {
	t.Helper()
	o, err := parseAs(name, args, environ)
	if err != nil {
		t.Fatal(err)
	}
	p, err := makePlan(o, f)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestServerGetsNoArgumentsAndItsEnvironment(t *testing.T) {
	p := planOf(t, somewhere(), []string{"server"}, "TMPDIR=/dev/shm/", "WORKSPACE_DIR=/srv", "PATH=/usr/bin:/bin", "KEEP=a b")
	if diff := cmp.Diff([]string{"authentik"}, p.Services[0].Argv); diff != "" {
		t.Errorf("argv (-want +got):\n%s", diff)
	}
	want := []string{
		"KEEP=a b",
		"PATH=/lifecycle:/ak-root/.venv/bin:/usr/bin:/bin",
		"PROMETHEUS_MULTIPROC_DIR=/dev/shm/authentik_prometheus_tmp",
		"TMPDIR=/dev/shm",
	}
	if diff := cmp.Diff(want, p.spec().Services[0].Env); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
	if len(p.Steps) != 0 || p.Services[0].Dir != "/" || p.Services[0].ModeFile != "/dev/shm/authentik-mode" {
		t.Errorf("steps %v, directory %s, mode file %s", p.Steps, p.Services[0].Dir, p.Services[0].ModeFile)
	}
}

func TestWorker(t *testing.T) {
	for name, tt := range map[string]struct {
		environ []string
		steps   int
	}{
		"without credentials":         {nil, 0},
		"an e-mail alone is none":     {[]string{"AUTHENTIK_BOOTSTRAP_EMAIL=x"}, 0},
		"an empty password is none":   {[]string{"AUTHENTIK_BOOTSTRAP_PASSWORD="}, 0},
		"with a password":             {[]string{"AUTHENTIK_BOOTSTRAP_PASSWORD=x"}, 1},
		"with a token":                {[]string{"AUTHENTIK_BOOTSTRAP_TOKEN=x"}, 1},
		"with both, it is still once": {[]string{"AUTHENTIK_BOOTSTRAP_TOKEN=x", "AUTHENTIK_BOOTSTRAP_PASSWORD=y"}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			p := planOf(t, somewhere(), []string{"worker", "two words"}, tt.environ...)
			want := []string{"python", "-m", "manage", "worker", "--pid-file", "/dev/shm/authentik-worker.pid", "two words"}
			if diff := cmp.Diff(want, p.Services[0].Argv); diff != "" {
				t.Errorf("argv (-want +got):\n%s", diff)
			}
			if len(p.Steps) != tt.steps {
				t.Fatalf("steps: %v", p.Steps)
			}
			if tt.steps == 1 && (!p.Steps[0].Optional || !slices.Equal(p.Steps[0].Argv, []string{"python", "-m", "manage", "apply_blueprint", "system/bootstrap.yaml"})) {
				t.Errorf("step: %+v", p.Steps[0])
			}
		})
	}
}

func TestDroppedWorkerGetsItsHome(t *testing.T) {
	f := somewhere()
	f.self = prepare.Identity{}
	for home, want := range map[string]string{"/authentik": "HOME=/authentik", "": "HOME=/dev/shm", "/nonexistent": "HOME=/dev/shm"} {
		f.identity = prepare.Identity{UID: 1000, GID: 1000, Groups: []int{1000, 999}, Home: home}
		p := planOf(t, f, []string{"worker"}, "HOME=/root")
		if env := p.spec().Services[0].Env; !slices.Contains(env, want) {
			t.Errorf("home %q: environment %q lacks %q", home, env, want)
		}
		id := p.spec().Services[0].Identity
		if id == nil || id.UID != 1000 || !slices.Equal(id.Groups, []uint32{1000, 999}) {
			t.Errorf("runs as %+v", id)
		}
	}
	f.identity = f.self
	p := planOf(t, f, []string{"server"}, "HOME=/root")
	if service := p.spec().Services[0]; !slices.Contains(service.Env, "HOME=/root") || service.Identity != nil {
		t.Errorf("who is not dropped keeps its home: %+v", service)
	}
}

func TestEnvironmentHasALevelBelowBeforeItsValue(t *testing.T) {
	p := planOf(t, somewhere(), []string{"server"}, "AUTHENTIK_SECRET_KEY=a", "AUTHENTIK_SECRET_KEY__FILE=b", "AUTHENTIK_SECRET_KEYS=c", "PATH=/bin")
	env := p.spec().Services[0].Env
	at := func(entry string) int { return slices.Index(env, entry) }
	if at("AUTHENTIK_SECRET_KEY__FILE=b") > at("AUTHENTIK_SECRET_KEY=a") || at("AUTHENTIK_SECRET_KEYS=c") < 0 {
		t.Errorf("authentik's loader fails with %q", env)
	}
}

func TestWhoHasNoNameGetsAHome(t *testing.T) {
	tests := []struct {
		name, given, want string
		uid               int
	}{
		{"what a runtime gives to a uid without a name", "HOME=/", "HOME=/dev/shm", 65534},
		{"authentik's own, which its user cannot write to", "HOME=/authentik", "HOME=/authentik", 1000},
		{"root's", "HOME=/", "HOME=/", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := somewhere()
			f.self.UID, f.identity.UID = tt.uid, tt.uid
			p := planOf(t, f, []string{"worker"}, tt.given)
			if env := p.spec().Services[0].Env; !slices.Contains(env, tt.want) {
				t.Errorf("environment %q lacks %q", env, tt.want)
			}
		})
	}
}

func TestAllGivesEachServiceWhatIsItsOwn(t *testing.T) {
	f := somewhere()
	f.config.ListenHTTP = "[::]:9299"
	p := planOf(t, f, []string{"allinone"}, "TMPDIR=/dev/shm", "AUTHENTIK_BOOTSTRAP_TOKEN=x", "AUTHENTIK_LISTEN__HTTP=[::]:9299", "PATH=/bin")
	var got []string
	for _, s := range p.spec().Steps {
		got = append(got, fmt.Sprintf("step %s %q optional %t", s.Name, s.Argv, s.Optional), "  "+own(s.Env))
	}
	for _, s := range p.spec().Services {
		got = append(got, fmt.Sprintf("service %s %q drain %q", s.Name, s.Argv, s.Drain), "  "+own(s.Env))
	}
	for i, s := range p.Services {
		got = append(got, fmt.Sprintf("%d: mode file %s, pid file %q, health %v", i, s.ModeFile, s.StalePIDFile, s.Health.Addresses))
	}
	const (
		server = "AUTHENTIK_LISTEN__HTTP=[::]:9299 PROMETHEUS_MULTIPROC_DIR=/dev/shm/authentik-server/authentik_prometheus_tmp TMPDIR=/dev/shm/authentik-server"
		worker = "AUTHENTIK_LISTEN__HTTP=[::]:9301 AUTHENTIK_LISTEN__METRICS=0.0.0.0:9302 AUTHENTIK_SKIP_MIGRATIONS=true " +
			"PROMETHEUS_MULTIPROC_DIR=/dev/shm/authentik-worker/authentik_prometheus_tmp TMPDIR=/dev/shm/authentik-worker"
	)
	want := []string{
		`step wait-for-database ["python" "-m" "lifecycle.wait_for_db"] optional false`, "  " + server,
		`step migrate ["python" "-m" "lifecycle.migrate"] optional false`, "  " + server,
		`step bootstrap ["python" "-m" "manage" "apply_blueprint" "system/bootstrap.yaml"] optional true`, "  " + worker,
		`service server ["authentik"] drain "gunicorn"`, "  " + strings.Replace(server, "PROM", "AUTHENTIK_SKIP_MIGRATIONS=true PROM", 1),
		`service worker ["python" "-m" "manage" "worker" "--pid-file" "/dev/shm/authentik-worker/authentik-worker.pid"] drain ""`, "  " + worker,
		`0: mode file /dev/shm/authentik-server/authentik-mode, pid file "", health [[::1]:9299 127.0.0.1:9299]`,
		`1: mode file /dev/shm/authentik-worker/authentik-mode, pid file "/dev/shm/authentik-worker/authentik-worker.pid", health [[::1]:9301 127.0.0.1:9301]`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// Directories of the user's own, and migrations that somebody else runs.
	p = planOf(t, somewhere(), []string{"all"}, "PROMETHEUS_MULTIPROC_DIR=/m", "AUTHENTIK_SKIP_MIGRATIONS=false")
	for _, s := range p.spec().Services {
		if !slices.Contains(s.Env, "PROMETHEUS_MULTIPROC_DIR=/m/"+s.Name) || !slices.Contains(s.Env, "AUTHENTIK_SKIP_MIGRATIONS=false") {
			t.Errorf("%s: %q", s.Name, s.Env)
		}
	}
}

// own are the variables of an environment that are of interest here.
func own(env []string) string {
	return strings.Join(slices.DeleteFunc(slices.Clone(env), func(e string) bool {
		return strings.HasPrefix(e, "AUTHENTIK_BOOTSTRAP") || strings.HasPrefix(e, "PATH=")
	}), " ")
}

func TestRunChangesNothing(t *testing.T) {
	f := somewhere()
	f.layout, f.release = authentik.Layout{}, authentik.Release{}
	p := planOf(t, f, []string{"run", "--restart", "on-failure", "--success-exit", "3,143", "--", "/srv/x y", "--flag", "--", "z"}, "TMPDIR=relative", "PATH=/bin")
	s := p.spec()
	if got := s.Services[0]; !slices.Equal(got.Argv, []string{"/srv/x y", "--flag", "--", "z"}) || !slices.Equal(got.Env, []string{"PATH=/bin", "TMPDIR=relative"}) || got.Dir != "" || got.Name != "x_y" || !got.Foreground {
		t.Errorf("runs %+v", got)
	}
	if len(p.Directories) != 0 || s.Restart.Policy != "on-failure" || s.Restart.Limit != 5 || !slices.Equal(s.Success, []int{3, 143}) {
		t.Errorf("directories %v, restart %+v, success %v", p.Directories, s.Restart, s.Success)
	}
}

func TestInteractiveCommandsStandBesideAService(t *testing.T) {
	p := planOf(t, somewhere(), []string{"manage", "shell", "--dry-run", "-c", "x"})
	if got := p.Services[0]; !slices.Equal(got.Argv, []string{"python", "-m", "manage", "shell", "--dry-run", "-c", "x"}) || !got.foreground {
		t.Errorf("runs %+v", got)
	}
	if p.Runtime != "" || p.Services[0].ModeFile != "" {
		t.Errorf("claims %s and writes %s", p.Runtime, p.Services[0].ModeFile)
	}
	p = planOf(t, somewhere(), []string{"manage", "x"}, "AK_INIT_RESTART=always", "AK_INIT_STOP_DELAY=9s", "AK_INIT_SUCCESS_EXIT=3")
	if s := p.spec(); s.Restart.Policy != "never" || s.StopDelay != 0 || len(s.Success) != 0 {
		t.Errorf("what the environment says of services holds for a command: %+v", s)
	}
	if p := planOf(t, somewhere(), []string{"bash", "-l"}); !slices.Equal(p.Services[0].Argv, []string{"bash"}) { // as the script has it
		t.Errorf("runs %q", p.Services[0].Argv)
	}
}

func TestChooseTempDir(t *testing.T) {
	usable := func(p string) tempDir { return tempDir{Path: p, Origin: originDefault} }
	unusable := func(p string, why error) tempDir { return tempDir{Path: p, Origin: originDefault, unusable: why} }
	fromEnv := func(c tempDir) tempDir { c.Origin = originEnvironment; return c }
	byFlag := func(c tempDir) tempDir { c.explicit = true; return c }
	tests := []struct {
		name     string
		chain    []tempDir
		want     string
		warnings int
	}{
		{"the first usable", []tempDir{unusable("/a", unix.EACCES), usable("/b"), usable("/c")}, "/b", 0},
		{"what the environment wanted is missed aloud", []tempDir{fromEnv(unusable("/a", unix.EROFS)), usable("/b")}, "/b", 1},
		{"what a flag wanted is not replaced", []tempDir{byFlag(unusable("/a", unix.EROFS)), usable("/b")}, "", 0},
		{"a file in the default chain is passed over", []tempDir{unusable("/a", unix.ENOTDIR), usable("/b")}, "/b", 0},
		{"a file that somebody set is not replaced", []tempDir{fromEnv(unusable("/a", unix.ENOTDIR)), usable("/b")}, "", 0},
		{"none at all", []tempDir{unusable("/a", unix.EACCES), unusable("/b", unix.ENOSPC)}, "", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, warnings, err := chooseTempDir(tt.chain)
			if tt.want == "" {
				if err == nil || asRefusal(err).code != exitCannotWrite {
					t.Errorf("chose %s, %v; want a refusal with %d", got.Path, err, exitCannotWrite)
				}
				return
			}
			if err != nil || got.Path != tt.want || len(warnings) != tt.warnings {
				t.Errorf("chose %s with %q, %v; want %s with %d warnings", got.Path, warnings, err, tt.want, tt.warnings)
			}
		})
	}
}

func TestPlanRefuses(t *testing.T) {
	notThere := func(err error) func(*facts) {
		return func(f *facts) { f.find = func(string, string) (string, error) { return "", err } }
	}
	tests := []struct {
		name string
		args []string
		with func(*facts)
		code int
	}{
		{"words behind server", []string{"server", "worker"}, func(*facts) {}, exitUsage},
		{"a program that is not there", []string{"server"}, notThere(prepare.ErrNotFound), exitNotFound},
		{"a program that cannot be executed", []string{"worker"}, notThere(prepare.ErrNotExecutable), exitNotExecutable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := somewhere()
			tt.with(&f)
			o, err := parse(tt.args, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, err = makePlan(o, f)
			r, ok := errors.AsType[*refusal](err)
			if !ok || r.code != tt.code {
				t.Errorf("%v, want a refusal with %d", err, tt.code)
			}
		})
	}
}

func TestUnknownReleaseIsTakenForTheNewestAloud(t *testing.T) {
	f := somewhere()
	f.release, f.releaseKnown = authentik.ReleaseOf("2019.1.1")
	f.layout.Version = "2019.1.1"
	p := planOf(t, f, []string{"server"})
	i := slices.IndexFunc(p.Findings, func(f *finding) bool { return f.Check == "release" })
	if p.Release != authentik.Newest().Name || p.Findings[i].State != warning || !strings.Contains(p.Findings[i].Found, "2019.1.1") {
		t.Errorf("release %s, found %+v", p.Release, p.Findings[i])
	}
}

func TestWhatAnEnvFileHoldsIsNotShown(t *testing.T) {
	file := envFile(t, "AUTHENTIK_SECRET_KEY=canary\n")
	p := planOf(t, somewhere(), []string{"server", "--env-file", file})
	if env := p.spec().Services[0].Env; !slices.Contains(env, "AUTHENTIK_SECRET_KEY=canary") {
		t.Errorf("the child does not get it: %q", env)
	}
	for _, output := range []string{"text", "json"} {
		var shown strings.Builder
		if err := show(p, output, &shown); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(shown.String(), "canary") || !strings.Contains(shown.String(), "AUTHENTIK_SECRET_KEY") {
			t.Errorf("%s shows\n%s", output, shown.String())
		}
	}
}
