package authentik

import (
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
)

// plainCases are written as default.yml is, or a little otherwise.
var plainCases = []string{
	"a: 1\nb: text\n", "", "# nothing\n\n", "a:\n  b: 1\n  c:\n    d: x\ne: 2\n", "a: {}\nb: null\n",
	"list:\n  - 127.0.0.0/8\n  - 10.0.0.0/8\nafter: 1\n", "list:\n- a\n- b\nafter: 1\n",
	"listen:\n  http: 0.0.0.0:9000\n", `p: "env://POSTGRES_PASSWORD"` + "\n", "storage:\n  backend: file # or s3\n",
	"path: ./data\ntimeout: 5s\nrate: 0.1\nlist:\n  - ::1/128\n", "debug: false\nuse_pool: False\n", "rate: 20/hour\nperiod: seconds=30\nurl: https://x.y/z\n", "empty: \"\"\n",
	"image: ghcr.io/goauthentik/%(type)s:%(version)s\nfrom: authentik@localhost\n",
	// More than plain: the library has to read these.
	"a: [1]\n", "a: b: c\n", "a: 'x'\n", "a: .1\n", "a: 012\n", "a: yes\n", "a: &x 1\n", "a: |\n  x\n", "a:\nb: 1\n", "a: 1\na: 2\n", "\ta: 1\n", "a: \"\\n\"\n",
	"a: x\n  b: 1\n", "  a: 1\nb: 2\n", "a:\n  b: 1\n c: 2\n", "a: 1 # \"x\"\n", "- a\n", "a:\n  - b: 1\n", "a:\n    b: 1\n  c: 2\n", "a: x #y\n", "a: 1e3\n", "a: 1:30\n",
}

func TestPlainYAMLReadsWhatDefaultYMLIs(t *testing.T) {
	for _, text := range plainCases[:15] {
		if _, ok := plainYAML(text); !ok {
			t.Errorf("%q is left to the library", text)
		}
	}
}

// FuzzPlainYAML holds what is read plainly to what the library makes of it.
func FuzzPlainYAML(f *testing.F) {
	for _, text := range plainCases {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, ok := plainYAML(text)
		if !ok {
			return
		}
		var content any
		if err := yaml.Unmarshal([]byte(text), &content); err != nil {
			t.Fatalf("%q is no YAML (%v), and read as %v", text, err, got)
		}
		want, _ := byName(content).(map[string]any)
		if want == nil {
			want = map[string]any{}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-library +plain):\n%s", text, diff)
		}
	})
}
