package main

import (
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ak-init/authentik"
)

// planWith is a plan that has authentik's settings from these files, and from the environment.
func planWith(t *testing.T, files map[string]string, args []string, environ ...string) plan {
	t.Helper()
	o, err := parse(args, append(environ, "AK_INIT_DRY_RUN=true"))
	if err != nil {
		t.Fatal(err)
	}
	f := somewhere()
	if o.command == "run" {
		f.layout, f.release = authentik.Layout{}, authentik.Release{}
	}
	f.settings, err = authentik.ReadSettings(authentik.Sources{
		Env: o.env, Root: "/", Glob: func(string) []string { return nil },
		Read: func(path string) ([]byte, error) {
			if text, ok := files[path]; ok {
				return []byte(text), nil
			}
			return nil, fs.ErrNotExist
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	verb, _ := f.release.Verb(o.command)
	f.config = f.release.Config(f.settings, verb, "/")
	f.listeners = listenersOf(o.command, f.release, f.config)
	p, err := makePlan(o, f)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// rowsOf is a plan as people see it.
func rowsOf(t *testing.T, p plan) []string {
	t.Helper()
	var text strings.Builder
	if err := show(p, "text", &text); err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n")
}

func TestEveryRowOfAPlanHasAnOrigin(t *testing.T) {
	for _, args := range [][]string{
		{"server", "--migrate", "before", "--signal-group", "--rewrite-signal", "HUP:0", "--success-exit", "3"},
		{"worker", "x"},
		{"all", "--restart", "always", "--wait-database", "0"},
		{"migrate"}, {"manage", "shell"}, {"bash"}, {"run", "true"}, {"dump_config", "a"}, {"test-all"}, {"debug"}, {"shell"},
	} {
		p := planWith(t, nil, args, "AUTHENTIK_BOOTSTRAP_TOKEN=x", "NOTIFY_SOCKET=/x", "WORKSPACE_DIR=/x")
		for _, row := range rowsOf(t, p) {
			if !strings.HasSuffix(row, ")") || strings.Contains(row, "()") || strings.Contains(row, "; )") || strings.Contains(row, ": ,") {
				t.Errorf("%q: no origin in %q", args, row)
			}
		}
		for name, origin := range p.Origins {
			if origin == "" {
				t.Errorf("%q: no origin of %s", args, name)
			}
		}
	}
}

func TestPlanTellsOrigins(t *testing.T) {
	file := envFile(t, "AK_INIT_GRACE_PERIOD=7s\nAUTHENTIK_WEB__PATH=/auth/\n")
	files := map[string]string{
		"/authentik/lib/default.yml": "storage: {file: {path: ./data}}\nlisten: {http: '0.0.0.0:9000'}\n",
		"/local.yml":                 "storage: {reports: {file: {path: /reports}}}\nlisten: {metrics: '127.0.0.1:9300'}\n",
	}
	p := planWith(t, files, []string{"server", "--stop-delay", "1s"},
		"AK_INIT_ENV_FILE="+file, "AK_INIT_RESTART=always", "AUTHENTIK_LISTEN__HTTP=127.0.0.1:1", "PROMETHEUS_MULTIPROC_DIR=/m", "TMPDIR=/dev/shm")
	got := map[string]string{"health": p.Services[0].Health.Origin, "server": p.Services[0].Origin}
	for _, name := range []string{"grace_period", "stop_delay", "live_threshold", "restart.policy", "restart.limit", "identity", "log_level", "migrate", "unset.WORKSPACE_DIR"} {
		got[name] = p.Origins[name]
	}
	for _, d := range p.Directories {
		got[d.Path] = d.Origin
	}
	for _, a := range p.Addresses {
		got[a.Setting] = a.Origin
	}
	want := map[string]string{
		"grace_period": "AK_INIT_GRACE_PERIOD from the env file " + file + ":1", "stop_delay": "--stop-delay", "live_threshold": "default",
		"restart.policy": "AK_INIT_RESTART from the environment", "restart.limit": "default", "identity": "who ak-init is",
		"log_level": "default", "migrate": "default", "unset.WORKSPACE_DIR": "authentik 2026.2", "server": "authentik 2026.2",
		"/dev/shm": "TMPDIR in the environment", "/m": "PROMETHEUS_MULTIPROC_DIR from the environment",
		"/dev/shm/authentik_gunicorn_tmp": "authentik 2026.2",
		"/data":                           "authentik's default", "/data/media": "authentik's default",
		"/reports": "storage.reports.file.path in /local.yml", "/reports/reports": "storage.reports.file.path in /local.yml",
		"listen.http": "AUTHENTIK_LISTEN__HTTP from the environment", "listen.https": "authentik's default",
		"listen.metrics": "listen.metrics in /local.yml",
		"health":         "listen.http: AUTHENTIK_LISTEN__HTTP from the environment, web.path: AUTHENTIK_WEB__PATH from the env file " + file,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	for _, tt := range []struct {
		args          []string
		environ, want string
	}{
		{[]string{"manage"}, "AK_INIT_LOG_FORMAT=json", "log level  warning (default of manage)"},
		{[]string{"migrate"}, "AK_INIT_RESTART=always", "restart never (migrate is done once)"},
		{[]string{"worker"}, "AUTHENTIK_BOOTSTRAP_TOKEN=x", "bootstrap python -m manage apply_blueprint system/bootstrap.yaml (/found/python, its failure is ignored; AUTHENTIK_BOOTSTRAP_TOKEN from the environment)"},
		{[]string{"worker"}, `AUTHENTIK_LISTEN={"http": "127.0.0.1:3"}`, "address 127.0.0.1:3 (worker's listen.http; listen.http from the environment)"},
		{[]string{"all"}, "A=b", "address 0.0.0.0:9001 (worker's listen.http; a port beside the server's)"},
	} {
		text := strings.Join(rowsOf(t, planWith(t, nil, tt.args, tt.environ)), "\n")
		if squeezed := strings.Join(strings.Fields(text), " "); !strings.Contains(squeezed, strings.Join(strings.Fields(tt.want), " ")) {
			t.Errorf("%q with %s lacks %q:\n%s", tt.args, tt.environ, tt.want, text)
		}
	}
}

// A layout may run another program than the release's own image does.
func TestWhatALayoutRunsIsItsOwn(t *testing.T) {
	f := somewhere()
	f.layout.Kind, f.release.Server.Program, f.release.Server.Args = "checkout", "go", []string{"run", "./cmd/server/"}
	if got := planOf(t, f, []string{"server", "--dry-run"}).Services[0].Origin; got != "checkout layout" {
		t.Errorf("its server comes from %q", got)
	}
}
