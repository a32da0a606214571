package authentik

import (
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// view is a file system as a table: path to content. What lies in bin, or is called ak, can be run
// unless it holds "data"; "-> PATH" is a link.
type view map[string]string

// at follows a link.
func (v view) at(p string) (string, bool) {
	if to, isLink := strings.CutPrefix(v[p], "-> "); isLink {
		p = to
	}
	_, ok := v[p]
	return p, ok
}

func (v view) View() View {
	read := func(p string) ([]byte, error) {
		if at, ok := v.at(p); ok {
			return []byte(v[at]), nil
		}
		return nil, fs.ErrNotExist
	}
	return View{
		Exists: func(p string) bool { _, ok := v.at(p); return ok },
		Read:   read, Head: read,
		Executable: func(p string) bool {
			at, ok := v.at(p)
			return ok && v[at] != "data" && (path.Base(path.Dir(p)) == "bin" || path.Base(p) == "ak")
		},
		Names: func(dir string) (names []string) {
			for p := range v {
				if below, ok := strings.CutPrefix(p, dir+"/"); ok {
					name, _, _ := strings.Cut(below, "/")
					names = append(names, name)
				}
			}
			slices.Sort(names)
			return slices.Compact(names)
		},
		SameFile: func(a, b string) bool {
			first, ok := v.at(a)
			second, _ := v.at(b)
			return ok && first == second
		},
		Self: "/proc/self/exe",
	}
}

func tree(root string, more ...string) view {
	v := view{}
	for _, name := range append([]string{"manage.py", "lifecycle", "authentik"}, more...) {
		v[path.Join(root, name)] = ""
	}
	v[path.Join(root, "authentik/__init__.py")] = "\"\"\"authentik\"\"\"\n\nVERSION = \"2026.2.2\"\n"
	return v
}

const store = "/nix/store/x-authentik-django-2026.2.2"

func TestVersionIn(t *testing.T) {
	for source, want := range map[string]string{
		"VERSION = \"2026.2.2\"\n":                   "2026.2.2",
		"from os import x\n__version__ = '2025.2.4'": "2025.2.4",
		"ENV_VERSION_KEY = \"x\"\n":                  "",
		"":                                           "",
	} {
		if got := versionIn([]byte(source)); got != want {
			t.Errorf("%q holds version %q, want %q", source, got, want)
		}
	}
}

func TestReleaseOf(t *testing.T) {
	for version, known := range map[string]bool{
		"2026.2": true, "2026.2.2": true, "2026.2.0-rc1": true, "2026.20.1": false, "2019.1": false, "": false,
	} {
		r, got := ReleaseOf(version)
		if got != known || r.Name == "" {
			t.Errorf("%q: %s, known %t, want %t", version, r.Name, got, known)
		}
	}
}

func TestArgvOfEveryVerb(t *testing.T) {
	r, _ := ReleaseOf("2026.2.2")
	for _, tt := range []struct {
		verb Verb
		args []string
		want []string
	}{
		{r.Server, []string{"dropped"}, []string{"authentik"}},
		{r.Worker, nil, []string{"python", "-m", "manage", "worker", "--pid-file", "/dev/shm/authentik-worker.pid"}},
		{
			r.Worker,
			[]string{"--watch", "with a blank"},
			[]string{"python", "-m", "manage", "worker", "--pid-file", "/dev/shm/authentik-worker.pid", "--watch", "with a blank"},
		},
	} {
		if diff := cmp.Diff(tt.want, tt.verb.Argv("/dev/shm", tt.args)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.verb.Name, diff)
		}
	}
}

// listening is a configuration with the default ports beside listen.http.
func listening(http, webPath string, dirs []DataDir) Config {
	return Config{ListenHTTP: http, ListenHTTPS: "0.0.0.0:9443", ListenMetrics: "0.0.0.0:9300", WebPath: webPath, DataDirs: dirs, DatabasePorts: []int{5432}}
}

func TestConfigBeside(t *testing.T) {
	for _, tt := range []struct{ http, https, metrics, wantHTTP, wantMetrics string }{
		{"0.0.0.0:9000", "0.0.0.0:9443", "0.0.0.0:9300", "0.0.0.0:9001", "0.0.0.0:9301"},
		{"[::]:9000, 127.0.0.1:9001", "[::]:9002", "[::]:9003", "[::]:9004,127.0.0.1:9005", "[::]:9006"},
		{"127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"},
		{"nonsense", "", "localhost:http", "nonsense", "localhost:http"},
		{"127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"},
	} {
		got := Config{ListenHTTP: tt.http, ListenHTTPS: tt.https, ListenMetrics: tt.metrics}.Beside()
		if got.ListenHTTP != tt.wantHTTP || got.ListenMetrics != tt.wantMetrics {
			t.Errorf("beside %+v: %s and %s", tt, got.ListenHTTP, got.ListenMetrics)
		}
	}
}

func noFiles(string) []string { return nil }

func TestReadConfig(t *testing.T) {
	at := func(path string, ifThere bool) DataDir {
		return DataDir{path, "AUTHENTIK_STORAGE__FILE__PATH", "AUTHENTIK_STORAGE__BACKEND", ifThere}
	}
	data := []DataDir{at("/srv/data", false), at("/srv/data/media", true), at("/srv/data/reports", true)}
	other := []DataDir{at("/srv/data", false), at("/srv/data/media", true), at("/reports", false), at("/reports/reports", true)}
	debug := listening("0.0.0.0:9000", "/", data)
	debug.Debug = true
	tests := []struct {
		name string
		env  map[string]string
		want Config
	}{
		{"nothing set", nil, listening("0.0.0.0:9000", "/", data)},
		{"debug", map[string]string{"AUTHENTIK_DEBUG": "True"}, debug},
		{
			"files and variables stand for values",
			map[string]string{"AUTHENTIK_LISTEN__HTTP": "file:///run/listen?x", "AUTHENTIK_WEB__PATH": "env://SUB", "SUB": "/auth/"},
			listening("[::1]:80", "/auth/", data),
		},
		{
			"what cannot be read falls back to its query",
			map[string]string{"AUTHENTIK_LISTEN__HTTP": "file:///gone?0.0.0.0:1", "AUTHENTIK_WEB__PATH": "env://GONE?/q/"},
			listening("0.0.0.0:1", "/q/", data),
		},
		{"s3 needs no directory", map[string]string{"AUTHENTIK_STORAGE__BACKEND": "s3"}, listening("0.0.0.0:9000", "/", nil)},
		{
			"a use of its own",
			map[string]string{"AUTHENTIK_STORAGE__REPORTS__FILE__PATH": "/reports"},
			listening("0.0.0.0:9000", "/", other),
		},
	}
	readFile := func(p string) ([]byte, error) {
		if p == "/run/listen" {
			return []byte("[::1]:80\n"), nil
		}
		return nil, fs.ErrNotExist
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			settings, _ := ReadSettings(Sources{Env: tt.env, Read: readFile, Glob: noFiles, Root: "/srv"}) // what cannot be read is told elsewhere
			got := Newest().Config(settings, Newest().Server, "/srv")
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhereToProbe(t *testing.T) {
	for listen, want := range map[string]string{
		"0.0.0.0:9000": "127.0.0.1:9000", "[::]:9000": "[::1]:9000 127.0.0.1:9000", ":80": "[::1]:80 127.0.0.1:80",
		"10.1.2.3:9000": "10.1.2.3:9000", "[::]:9000,0.0.0.0:9000": "[::1]:9000 127.0.0.1:9000", "localhost:1": "localhost:1",
		"10.1.2.3:9000, [::1]:9001,10.1.2.3:9000": "10.1.2.3:9000 [::1]:9001", "[0:0:0:0:0:0:0:0]:9000": "[::1]:9000 127.0.0.1:9000",
		"[::ffff:0.0.0.0]:9000": "127.0.0.1:9000", "0.0.0.0:9000,[::]:9001": "127.0.0.1:9000 [::1]:9001 127.0.0.1:9001", "nonsense": "nonsense",
	} {
		if got := strings.Join((Config{ListenHTTP: listen}).ProbeAddresses(), " "); got != want {
			t.Errorf("%s is probed at %s, want %s", listen, got, want)
		}
	}
	for webPath, want := range map[string]string{"/": "/-/health/live/", "/sub/": "/sub/-/health/live/", "": "/-/health/live/"} {
		if got := (Config{WebPath: webPath}).ProbePath("-/health/live/"); got != want {
			t.Errorf("web.path %q gives %s, want %s", webPath, got, want)
		}
	}
}

func TestRoots(t *testing.T) {
	got := Roots("/srv", "/usr/bin:relative/bin:"+store+"/bin:/srv/bin:/sbin")
	if diff := cmp.Diff([]string{"/srv", "/", "/usr", store}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
