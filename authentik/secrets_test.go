package authentik

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"ak-init/testdata/pythons"
)

// uris are values, and what urlparse makes of them.
func uris() map[string]uri {
	return map[string]uri{
		"file:///run/a%20b":      {"file", "", "/run/a%20b", ""},
		"file:///run/100%":       {"file", "", "/run/100%", ""},
		"file://host/run/key":    {"file", "host", "/run/key", ""},
		"file:///a?b?c":          {"file", "", "/a", "b?c"},
		"file:///a#b?c":          {"file", "", "/a", ""},
		"file:///a?b#c":          {"file", "", "/a", "b"},
		"file:///a;b?%41+x":      {"file", "", "/a;b", "%41+x"},
		"file:////x//y":          {"file", "", "//x//y", ""},
		"file://a?b/c":           {"file", "a", "", "b/c"},
		"file://[::1]/y":         {"file", "[::1]", "/y", ""},
		"file:/run/key":          {"file", "", "/run/key", ""},
		"file:key":               {"file", "", "key", ""},
		"FILE:///x":              {"file", "", "/x", ""},
		"file:///a\tb\n":         {"file", "", "/ab", ""},
		"file:///schl\u00fcssel": {"file", "", "/schl\u00fcssel", ""},
		"env://A%42?x":           {"env", "A%42", "", "x"},
		"env://me@FOO:12/p?d;e":  {"env", "me@FOO:12", "/p", "d;e"},
		"a1+-.://x":              {"a1+-.", "x", "", ""},
	}
}

func TestURIsAreCutAsPythonDoes(t *testing.T) {
	for value, want := range uris() {
		if got, ok := parseURI(value); got != want || !ok {
			t.Errorf("%q is %+v, %v, want %+v", value, got, ok, want)
		}
	}
	for _, value := range []string{"", "x", "://x", "1a://x", "a b://x"} {
		if got, ok := parseURI(value); ok {
			t.Errorf("%q is %+v", value, got)
		}
	}
}

// What Python raises ValueError over ends authentik's start.
func refused() map[string]bool {
	return map[string]bool{
		"file://[x/y": true, "env://x]": true, "//p[w": true, "http://a]b": true,
		"x": false, "p[w": false, "//a/[b": false, "http://[::1]/": false, "1a://[x": false, "": false,
	}
}

func TestRefusedURIs(t *testing.T) {
	for value, want := range refused() {
		if got := refusedURI(value); got != want {
			t.Errorf("%q is refused: %v", value, got)
		}
		s, err := ReadSettings(Sources{Env: map[string]string{"AUTHENTIK_X": value}, Read: func(string) ([]byte, error) { return nil, os.ErrNotExist }, Glob: func(string) []string { return nil }})
		if fault, is := errors.AsType[*SettingError](err); is != want || is && (fault.Setting != "AUTHENTIK_X" || s.Text("x") != value) {
			t.Errorf("%q: %v", value, err)
		}
	}
}

// Python itself says the same.
func TestURIsAreWhatPythonSays(t *testing.T) {
	for _, python := range pythons.That(t, "import urllib.parse, sys; sys.exit(sys.version_info < (3, 11, 4))") {
		command := exec.CommandContext(t.Context(), python, "-c", `
import json, sys, urllib.parse
for value in sys.argv[1:]:
    u = urllib.parse.urlparse(value)
    print(json.dumps([value, u.scheme, u.netloc, u.path, u.query]))`)
		command.Args = slices.AppendSeq(command.Args, maps.Keys(uris()))
		out, err := command.Output()
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(out)) {
			var got [5]string
			if err := json.Unmarshal([]byte(line), &got); err != nil {
				t.Fatal(err)
			}
			if want := uris()[got[0]]; want != (uri{got[1], got[2], got[3], got[4]}) {
				t.Errorf("%s says %q, want %+v", python, got, want)
			}
		}
	}
}

// FuzzSecretPath holds for any name of a file: it is read under this name and no other.
func FuzzSecretPath(f *testing.F) {
	f.Add("run/a%20b", "host")
	f.Add("100%", "")
	f.Add(";x/../\x80", "[::1]")
	f.Fuzz(func(t *testing.T, name, host string) {
		if strings.ContainsAny(name, "?#\t\r\n") || strings.ContainsAny(host, "/?#[]\t\r\n") {
			return
		}
		read := ""
		s := Settings{}
		s.follow("secret_key", "file://"+host+"/"+name, Sources{Read: func(path string) ([]byte, error) { read = path; return []byte("x"), nil }})
		if read != "/"+name {
			t.Errorf("%q is read as %q", "/"+name, read)
		}
	})
}
