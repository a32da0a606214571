package authentik

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sources is a file system in a table.
func sources(env, files map[string]string) Sources {
	return Sources{
		Env: env,
		Read: func(name string) ([]byte, error) {
			switch content, ok := files[name]; {
			case !ok:
				return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
			case content == "closed":
				return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
			default:
				return []byte(content), nil
			}
		},
		Glob: func(pattern string) (found []string) {
			for name := range files {
				if ok, _ := path.Match(pattern, name); ok {
					found = append(found, name)
				}
			}
			return found
		},
		Root: "/srv",
	}
}

func TestSettings(t *testing.T) {
	s, err := ReadSettings(sources(
		map[string]string{
			"AUTHENTIK_POSTGRESQL__PORT": "5433", "AUTHENTIK_POSTGRESQL__NAME": "from env", "AUTHENTIK_DEBUG": "true",
			"AUTHENTIK_A": "1e3", "AUTHENTIK_B": "0123", "AUTHENTIK_C": `"quoted"`, "AUTHENTIK_D": "True", "AUTHENTIK_E": "null",
			"AUTHENTIK_F": "1.50", "AUTHENTIK_G": "12345678901234567890", "AUTHENTIK_H": "[1]", "AUTHENTIK_I": "1 2",
			"AUTHENTIK_ENV": "prod", "POSTGRES_PASSWORD": "s3c:ret@/x", "EMPTY": "", "AUTHENTIKOTHER": "x",
			"AUTHENTIK_REPLICA__0__HOST": "r0",
		},
		map[string]string{
			"/srv/authentik/lib/default.yml": "postgresql: {host: localhost, port: 5432, name: authentik, password: 'env://POSTGRES_PASSWORD', user: authentik}\n" +
				"web: {path: /}\nlist: [a]\nreplica: {0: {host: old, user: u}}\n",
			"/etc/authentik/config.yml":     "postgresql: {host: db, name: from file}\nweb: {path: /one/}\n",
			"/srv/prod.yml":                 "web: {path: /two/}\nsecret: file:///run/key\n",
			"/srv/local.yml":                "web: {path: /not read/}\n",
			"/etc/authentik/config.d/b.yml": "order: b\nempty: 'env://EMPTY?x'\ngone: 'env://GONE?otherwise'\n",
			"/etc/authentik/config.d/a.yml": "order: a\n",
			"/run/key":                      "  canary \n\n",
		},
	))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	want := map[string]string{
		"postgresql.host": "db", "postgresql.port": "5433", "postgresql.name": "from env", "postgresql.user": "authentik",
		"postgresql.password": "s3c:ret@/x", "web.path": "/two/", "secret": "canary", "order": "b",
		"a": "1000.0", "b": "0123", "c": "quoted", "d": "True", "e": "", "f": "1.5", "g": "12345678901234567890", "h": "", "i": "1 2",
		"debug": "true", "empty": "", "gone": "otherwise", "list": "", "web": "", "none.at.all": "",
		"replica.0.host": "r0", "replica.0.user": "u",
	}
	for name := range want {
		got[name] = s.Text(name)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for name, want := range map[string]bool{"debug": true, "d": true, "a": false, "none": false} {
		if s.True(name) != want {
			t.Errorf("%s is true: %t", name, !want)
		}
	}
}

func TestSettingsThatCannotBeRead(t *testing.T) {
	s, err := ReadSettings(sources(
		map[string]string{"AUTHENTIK_SECRET_KEY": "file:///run/closed?otherwise", "AUTHENTIK_X": "file:///gone"},
		map[string]string{
			"/etc/authentik/config.yml":     "good: 1\nbad: [canary\nworse: }\n",
			"/etc/authentik/config.d/a.yml": "closed",
			"/etc/authentik/config.d/b.yml": "- a list\n",
			"/run/closed":                   "closed",
		},
	))
	if s.Text("secret_key") != "otherwise" || s.Text("x") != "" {
		t.Errorf("secret_key %q, x %q", s.Text("secret_key"), s.Text("x"))
	}
	for _, want := range []string{"/etc/authentik/config.yml: line ", "/etc/authentik/config.d/a.yml: permission denied"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
	if err != nil && strings.Contains(err.Error(), "canary") {
		t.Errorf("the content of a file is told: %v", err)
	}
	if !errors.Is(err, fs.ErrPermission) {
		t.Error("the cause is lost")
	}
	if fault, ok := errors.AsType[*FileError](err); !ok || !fault.Fatal || fault.Line == 0 {
		t.Errorf("authentik does not start with a file that is no YAML: %+v", fault)
	}
	if len(s.Secrets) != 2 || s.Secrets[0].Setting != "secret_key" || !errors.Is(s.Secrets[0].Err, fs.ErrPermission) || !errors.Is(s.Secrets[1].Err, fs.ErrNotExist) {
		t.Errorf("secrets: %+v", s.Secrets)
	}
}

// TestWhatPythonTakes are files that yaml.safe_load reads, and that must not keep authentik from
// starting.
func TestWhatPythonTakes(t *testing.T) {
	for _, text := range []string{
		"a: 1\na: 2\n", "%YAML 1.1\n---\na: 2\n", "\ufeffa: 2\n", "a: 2\r\n", "? a\n: 2\n", "{a: 2,\n b: [1,\n]}\n", "x: &y {a: 2}\n<<: *y\n", "a: !!str 2\n", "a: 2 #\n...\n",
	} {
		s, err := ReadSettings(sources(nil, map[string]string{"/srv/local.yml": text}))
		if err != nil || s.Text("a") != "2" {
			t.Errorf("%q: a is %q, %v", text, s.Text("a"), err)
		}
	}
}

func TestSecretsAndWhoGaveThem(t *testing.T) {
	s, err := ReadSettings(sources(
		map[string]string{"AUTHENTIK_SECRET_KEY": "file:///run/key", "AUTHENTIK_EMAIL__PASSWORD": "file:///run/blank?x", "AUTHENTIK_LISTEN__HTTP": "[::]:80"},
		map[string]string{
			"/srv/authentik/lib/default.yml": "listen: {http: 0.0.0.0:9000, https: 0.0.0.0:9443}\nread_replicas: {}\n",
			"/etc/authentik/config.yml":      "postgresql: {password: 'file:///run/sound', port: 1}\n",
			"/run/key":                       "canary\n", "/run/blank": " \n", "/run/sound": "canary",
		},
	))
	if err != nil {
		t.Fatal(err)
	}
	want := []Secret{
		{Setting: "email.password", Path: "/run/blank", Empty: true},
		{Setting: "postgresql.password", Path: "/run/sound"},
		{Setting: "secret_key", Path: "/run/key", Trimmed: true},
	}
	if diff := cmp.Diff(want, s.Secrets); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for name, want := range map[string]string{
		"listen.http": "the environment", "listen.https": "", "postgresql.port": "/etc/authentik/config.yml", "no.such": "",
	} {
		if got := s.GivenBy(name); got != want {
			t.Errorf("%s is given by %q, want %q", name, got, want)
		}
	}
}

// FuzzSettings holds for any values: they are read without a panic, and a text that is no
// JSON and names no file stands for itself.
func FuzzSettings(f *testing.F) {
	f.Add("a: {b: 1}\n", "AUTHENTIK_A__B", "env://X?y")
	f.Add("0: [*x]\n", "AUTHENTIK___", `{"a":`)
	f.Add("&a [*a]", "AUTHENTIK_A", "file://%zz")
	f.Add("", "AUTHENTIK_", "file:a") // a file, to Python
	f.Add("", "AUTHENTIK_A", "https://a/b?c")
	f.Fuzz(func(t *testing.T, file, name, value string) {
		s, _ := ReadSettings(sources(map[string]string{name: value}, map[string]string{"/srv/local.yml": file})) // errors are fine
		key, ours := strings.CutPrefix(name, envPrefix)
		u, isURI := parseURI(value)
		names := isURI && (u.scheme == "file" || u.scheme == "env")
		plain := strings.ContainsAny(value, "abcxyz") && !names && jsonOrText(value) == any(value)
		if dotted := strings.ToLower(key); ours && plain && !strings.Contains(key, "__") && !strings.Contains(key, ".") && s.Text(dotted) != value {
			t.Errorf("%s=%q is read as %q", name, value, s.Text(dotted))
		}
		_ = slices.Sorted(slices.Values(Newest().Config(s, Newest().Server, "/").ProbeAddresses()))
	})
}

func TestNoUserBeforeAnAddress(t *testing.T) {
	for given, want := range map[string]string{
		"0.0.0.0:9000": "0.0.0.0:9000", "http://u:secret@h:1": "***@h:1", "u:a@b@h": "***@h", "@/run/abstract": "@/run/abstract", "": "",
	} {
		if got := withoutUser(given); got != want {
			t.Errorf("of %q is left %q, want %q", given, got, want)
		}
	}
}

// Authentik's loader fails over what lies below a value, wherever either was given
// (authentik/lib/config.py, update, 2026.2).
func TestWhatLiesBelowAValue(t *testing.T) {
	const defaults = "email: {password: '', host: h}\ncookie_domain: null\nreplicas: {}\n"
	for _, tt := range []struct {
		local string
		env   map[string]string
		want  string
	}{
		{"", map[string]string{"AUTHENTIK_EMAIL__PASSWORD__FILE": "/x"}, "AUTHENTIK_EMAIL__PASSWORD__FILE in the environment is below email.password, which is a value and no table; take it away, and let AUTHENTIK_EMAIL__PASSWORD be file:///PATH"},
		{"", map[string]string{"AUTHENTIK_EMAIL__HOST__A__FILE": "x"}, "AUTHENTIK_EMAIL__HOST__A__FILE in the environment is below email.host, which is a value and no table; take it away"},
		{"", map[string]string{"AUTHENTIK_COOKIE_DOMAIN__X": "x"}, "AUTHENTIK_COOKIE_DOMAIN__X in the environment is below cookie_domain, which is a value and no table; take it away"},
		{"email: {host: {a: 1}}\n", nil, "email.host.a in /srv/local.yml is below email.host, which is a value and no table; take it away"},
		{"", map[string]string{"AUTHENTIK_EMAIL__PASSWORD__FILE": "/x", "AUTHENTIK_EMAIL__PASSWORD": "p"}, ""},
		{"", map[string]string{"AUTHENTIK_REPLICAS__0__HOST": "x", "AUTHENTIK_NEW__TABLE__X": "1"}, ""},
		{"email: {host: {}}\n", nil, ""},
	} {
		files := map[string]string{"/srv/authentik/lib/default.yml": defaults, "/srv/local.yml": tt.local}
		_, err := ReadSettings(Sources{
			Env: tt.env, Root: "/srv", Glob: func(string) []string { return nil },
			Read: func(name string) ([]byte, error) {
				if files[name] == "" {
					return nil, fs.ErrNotExist
				}
				return []byte(files[name]), nil
			},
		})
		got := ""
		if e, ok := errors.AsType[*SettingError](err); ok {
			got = e.Error() + "; " + e.Fix
		}
		if got != tt.want {
			t.Errorf("%q %v: %q, want %q", tt.local, tt.env, got, tt.want)
		}
	}
}
