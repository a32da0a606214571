package authentik

import (
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// with adds to a file system.
func (v view) with(more map[string]string) view {
	v = maps.Clone(v)
	maps.Copy(v, more)
	return v
}

const (
	pythonEnv = "/nix/store/a-python3-3.12.9-env"
	proxy     = "/nix/store/b-authentik-proxy-2025.2.3"
	site      = pythonEnv + "/lib/python3.12/site-packages"
	// wrapper is what nixpkgs' makeWrapper writes: of two directories the last line's comes first.
	wrapper = "#! /nix/store/c-bash/bin/bash -e\n" +
		"PATH=${PATH:+':'$PATH':'}\n" +
		"PATH=${PATH/':''" + proxy + "/bin'':'/':'}\n" +
		"PATH='" + proxy + "/bin'$PATH\n" +
		"PATH=${PATH#':'}\n" +
		"PATH='" + pythonEnv + "/bin'$PATH\n" +
		"export TMPDIR='/dev/shm'\n" +
		"exec \"/nix/store/d-authentik/bin/.ak-wrapped\" \"$@\"\n"
)

func TestFind(t *testing.T) {
	nixpkgs := tree(site).with(map[string]string{pythonEnv + "/bin/python": "", "/run/bin/ak": wrapper, proxy + "/bin/authentik": ""})
	checkout := tree("/src", ".git", "go.mod", "cmd/server", "lifecycle/ak")
	for _, tt := range []struct {
		name  string
		view  view
		roots string
		env   string
		kind  string
		root  string
		path  string
		venv  string
		shows string // among the evidence
	}{
		{"the official image", tree("/", "ak-root/.venv/bin/python"), "/", "", "image", "/", "/lifecycle:/ak-root/.venv/bin:/bin", "", "/ak-root/.venv/bin/python"},
		{"that of 2025.2", tree("/", "ak-root/venv/bin/python"), "/", "", "image", "/", "/ak-root/venv/bin:/lifecycle:/bin", "", "/ak-root/venv/bin/python"},
		{"the image's own Python, whatever is active", tree("/", "ak-root/.venv/bin/python", "v/bin/python"), "/", "VIRTUAL_ENV=/v", "image", "/", "/lifecycle:/ak-root/.venv/bin:/bin", "", ""},
		{"a Nix store path behind the working directory", tree(store, "bin/python"), "/ " + store, "", "nix", store, store + "/bin", store, store + "/bin/python"},
		{"nixpkgs' package by its wrapper", nixpkgs, "/srv /", "PATH=/bin:/run/bin", "nixpkgs", site, pythonEnv + "/bin:" + proxy + "/bin", "", "/run/bin/ak"},
		{"nixpkgs' parts in PATH", nixpkgs, "/srv /", "PATH=" + pythonEnv + "/bin:" + proxy + "/bin", "nixpkgs", site, "", "", pythonEnv + "/bin/python"},
		{"a checkout with uv's environment", checkout.with(map[string]string{"/src/.venv/bin/python": ""}), "/src /", "", "checkout", "/src", "/src/.venv/bin", "/src/.venv", "/src/.git"},
		{"a checkout with another one active", checkout.with(map[string]string{"/src/.venv/bin/python": "", "/v/bin/python": ""}), "/src", "VIRTUAL_ENV=/v", "checkout", "/src", "/v/bin", "/v", "/v/bin/python"},
		{"one that is active and gone", checkout.with(map[string]string{"/src/.venv/bin/python": ""}), "/src", "VIRTUAL_ENV=/v", "checkout", "/src", "/src/.venv/bin", "/src/.venv", ""},
		{"bare metal with venv", tree("/opt/authentik", "venv/bin/python"), "/opt/authentik", "", "venv", "/opt/authentik", "/opt/authentik/venv/bin", "/opt/authentik/venv", ""},
		{"bare metal by VENV_PATH", tree("/opt/authentik").with(map[string]string{"/v/bin/python": ""}), "/opt/authentik", "VENV_PATH=/v/", "venv", "/opt/authentik", "/v/bin", "/v", ""},
		{
			"bare metal by PATH", tree("/opt/authentik").with(map[string]string{"/usr/bin/python": "", "/usr/local/lib/python3.13/dist-packages/django": "", "/usr/local/lib/python3.13": "", "/usr/lib/python3": ""}),
			"/opt/authentik", "PATH=/bin:/usr/bin", "venv", "/opt/authentik", "", "", "/usr/local/lib/python3.13/dist-packages/django",
		},
		{"its own ak where the image has it", view{"/lifecycle": "", "/lifecycle/ak": ""}, "/srv /", "", "own", "/", "", "", "/lifecycle/ak"},
		{"its own ak in PATH", view{"/usr/bin/ak": ""}, "/srv /", "PATH=/usr/bin", "own", "/srv", "", "", "/usr/bin/ak"},
		{"a wrapper whose store paths are gone", view{"/run/bin/ak": wrapper}, "/srv", "PATH=/run/bin", "own", "/srv", "", "", "/run/bin/ak"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, err := Find(tt.view.View(), strings.Fields(tt.roots), environment(tt.env))
			if err != nil {
				t.Fatal(err)
			}
			got := []string{l.Kind, l.Root, strings.Join(l.Path, ":"), l.VirtualEnv}
			if diff := cmp.Diff([]string{tt.kind, tt.root, tt.path, tt.venv}, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if tt.shows != "" && !slices.Contains(l.Evidence, tt.shows) {
				t.Errorf("evidence %q lacks %s", l.Evidence, tt.shows)
			}
			if want := map[bool]string{true: "", false: "2026.2.2"}[tt.kind == KindOwn]; l.Version != want || (l.Unknown != "") != (tt.kind == KindOwn) {
				t.Errorf("version %q, unknown %q", l.Version, l.Unknown)
			}
		})
	}
}

// environment reads NAME=VALUE, blanks between them.
func environment(text string) map[string]string {
	env := map[string]string{}
	for entry := range strings.FieldsSeq(text) {
		name, value, _ := strings.Cut(entry, "=")
		env[name] = value
	}
	return env
}

func TestHalfALayoutSaysWhatItLacks(t *testing.T) {
	without := func(v view, names ...string) view {
		v = maps.Clone(v)
		for _, name := range names {
			delete(v, name)
		}
		return v
	}
	image := tree("/", "ak-root/.venv/bin/python", "lifecycle/ak")
	const pythons = "ak-root/.venv/bin/python or ak-root/venv/bin/python or bin/python or .venv/bin/python or venv/bin/python"
	for _, tt := range []struct {
		name             string
		view             view
		roots, env, want string
	}{
		{"nothing at all", view{}, "/srv /", "", "in /srv, /: /srv lacks manage.py, lifecycle, authentik"},
		{"an image without Python", without(image, "/ak-root/.venv/bin/python"), "/srv /", "", "/ lacks " + pythons + ", or a python in PATH that has Django"},
		{"an image whose VENV_PATH names it", without(image, "/ak-root/.venv/bin/python"), "/", "VENV_PATH=/ak-root/.venv", "/ lacks " + pythons + ", or a python"},
		{"an image without manage.py, in spite of its ak", without(image, "/manage.py"), "/srv /", "", "/ lacks manage.py"},
		{"an image without authentik", without(image, "/authentik"), "/", "", "/ lacks authentik"},
		{"a checkout before uv sync", tree("/src", ".git", "go.mod", "lifecycle/ak"), "/src /", "", `/src lacks a virtual environment: run "uv sync" there, or activate one`},
		{"one that is active and gone", tree("/opt"), "/opt", "VIRTUAL_ENV=/v/", "venv/bin/python or /v/bin/python by VIRTUAL_ENV, or a python in PATH"},
		{"a Python in PATH without Django", tree("/opt").with(map[string]string{"/usr/bin/python": ""}), "/opt", "PATH=/usr/bin", "or a python in PATH that has Django"},
		{"a later Python in PATH is not what is run", tree("/opt").with(map[string]string{"/a/bin/python": "", "/b/bin/python": "", "/b/lib/python3.14/site-packages/django": ""}), "/opt", "PATH=/a/bin:/b/bin", "that has Django"},
		{"an ak that cannot be run", view{"/usr/bin/ak": "data"}, "/srv", "PATH=/usr/bin", "/srv lacks manage.py, lifecycle, authentik"},
		{"an ak that is this program", view{"/usr/bin/ak": "-> /proc/self/exe", "/proc/self/exe": ""}, "/srv", "PATH=/usr/bin", "/srv lacks manage.py, lifecycle, authentik"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, err := Find(tt.view.View(), strings.Fields(tt.roots), environment(tt.env))
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%+v, %v; want one line with %q", l, err, tt.want)
			}
		})
	}
}

// Which programs start the services, in any place.
func TestPrograms(t *testing.T) {
	for _, tt := range []struct {
		name           string
		has            string
		row            string
		server, worker string
		shows          string
	}{
		{"those of the release", "bin/authentik", "", "authentik", dramatiqWorker, ""},
		{"a binary comes before the source", "bin/authentik cmd/server", "", "authentik", dramatiqWorker, ""},
		{"no binary, and no source: it will be missed by name", "", "", "authentik", dramatiqWorker, ""},
		{"a source tree", "cmd/server", RowGoRun, "go run -v ./cmd/server/", dramatiqWorker, "/i/cmd/server, no authentik in PATH"},
		{"a server by its later name", "bin/authentik-server cmd/server", RowServer, "authentik-server", dramatiqWorker, "/i/bin/authentik-server"},
		{"2026.5", "lifecycle/worker_process.py bin/authentik bin/authentik-server", RowRustWorker, "authentik-server", "authentik worker", "/i/lifecycle/worker_process.py, /i/bin/authentik-server"},
		{"2026.5's source, half built", "lifecycle/worker_process.py cmd/server Cargo.toml bin/authentik", RowRustWorker, "go run -v ./cmd/server/", "authentik worker", "/i/cmd/server"},
		{"2026.5's source", "lifecycle/worker_process.py cmd/server Cargo.toml", RowRustWorker, "go run -v ./cmd/server/", "cargo run -- worker", "/i/cmd/server"},
		{"2026.8", "lifecycle/worker_process.py bin/authentik", RowRust, "authentik server", "authentik worker", "no authentik-server in PATH"},
		{"the entry is the binary", "lifecycle/worker_process.py bin/authentik lifecycle/ak->bin/authentik", RowDelegated, "authentik server", "authentik worker", "/i/lifecycle/ak, the same file as /i/bin/authentik"},
		{"the entry in PATH is the binary", "lifecycle/worker_process.py bin/authentik bin/ak->bin/authentik", RowDelegated, "authentik server", "authentik worker", "/i/bin/ak"},
		{"the entry is a script", "lifecycle/worker_process.py bin/authentik lifecycle/ak", RowRust, "authentik server", "authentik worker", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := tree("/i", "ak-root/.venv/bin/python")
			for name := range strings.FieldsSeq(tt.has) {
				name, to, isLink := strings.Cut(name, "->")
				if v[path.Join("/i", name)] = ""; isLink {
					v[path.Join("/i", name)] = "-> " + path.Join("/i", to)
				}
			}
			l, err := Find(v.View(), []string{"/i"}, nil)
			if err != nil {
				t.Fatal(err)
			}
			r := l.Adapt(Newest())
			got := []string{l.Programs.Row, strings.Join(r.Server.Argv("/t", nil), " "), strings.Join(r.Worker.Argv("/t", nil), " ")}
			if diff := cmp.Diff([]string{tt.row, tt.server, tt.worker}, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if evidence := strings.Join(l.Programs.Evidence, ", "); !strings.Contains(evidence, tt.shows) {
				t.Errorf("evidence %s, want %s", evidence, tt.shows)
			}
		})
	}
}

const dramatiqWorker = "python -m manage worker --pid-file /t/authentik-worker.pid"

func TestAdaptedRelease(t *testing.T) {
	goServer := Newest().Server
	goServer.Program = "authentik-server"
	for row, tt := range map[string]struct{ server, worker string }{
		RowRustWorker: {toldOf(goServer), "authentik.sock alone, live -/health/live/ ready -/health/ready/, keeps USR1 USR2, waits first, drops root"},
		RowRust:       {"authentik.sock alone, live -/health/live/ ready -/health/ready/, keeps USR1 USR2, waits first", "authentik.sock alone, live -/health/live/ ready -/health/ready/, keeps USR1 USR2, waits first, drops root"},
		RowDelegated:  {"authentik.sock alone, live -/health/live/ ready -/health/ready/, keeps USR1 USR2", "authentik.sock alone, live -/health/live/ ready -/health/ready/, keeps USR1 USR2"},
		RowGoRun:      {toldOf(Newest().Server), toldOf(Newest().Worker)},
	} {
		got := Layout{Programs: Programs{Row: row}}.Adapt(Newest())
		if diff := cmp.Diff([]string{tt.server, tt.worker}, []string{toldOf(got.Server), toldOf(got.Worker)}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", row, diff)
		}
		if got.Worker.ModeFile != "authentik-mode" || got.Worker.Listen != "listen." || row != RowGoRun && got.Worker.Bootstrap != nil {
			t.Errorf("%s: %+v", row, got.Worker)
		}
	}
}

// toldOf is what ak-init does about a verb beside starting it.
func toldOf(v Verb) string {
	var all []string
	add := func(does bool, what string) {
		if does {
			all = append(all, what)
		}
	}
	add(v.SocketAlone, v.HealthSocket+" alone")
	add(v.Live+v.Ready != "", "live "+v.Live+" ready "+v.Ready)
	add(v.LiveSocket != "", "behind it "+v.LiveSocket)
	add(v.Drain != "", "drains "+v.Drain)
	add(v.PIDFile != "", "pid file "+v.PIDFile)
	add(v.Bootstrap != nil, "bootstrap")
	add(len(v.StalePIDFiles)+len(v.Sockets) > 0, "leftovers")
	add(len(v.Messages) == 2, "keeps USR1 USR2")
	add(v.WaitFirst, "waits first")
	add(v.DropsRoot, "drops root")
	return strings.Join(all, ", ")
}

func TestAdaptedToItsOwnAK(t *testing.T) {
	before := Newest()
	l := ownLayout("/srv", "/usr/bin/ak")
	r := l.Adapt(before)
	var got []string
	for _, v := range append([]Verb{r.Server, r.Worker}, r.Others...) {
		got = append(got, strings.Join(v.Argv("/t", []string{"x"}), " ")+": "+toldOf(v))
	}
	want := []string{
		"/usr/bin/ak server: live -/health/live/ ready -/health/ready/, keeps USR1 USR2",
		"/usr/bin/ak worker x: keeps USR1 USR2",
		"/usr/bin/ak bash: ",
		"/usr/bin/ak x: ",
		"/usr/bin/ak migrate: ",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(r.Migrate)+len(r.DataFiles)+len(r.Uploads.Below) > 0 || r.SkipMigrations != "" || r.Worker.ModeFile != "" {
		t.Errorf("more is done than is known: %+v", r)
	}
	if diff := cmp.Diff(Newest(), before); diff != "" {
		t.Errorf("the row itself has changed (-want +got):\n%s", diff)
	}
}
