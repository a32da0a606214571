package main

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"ak-init/authentik"
)

// somewhereWith is somewhere with these options and this text in local.yml, looked at as the
// survey does.
func somewhereWith(o options, text string) (facts, error) {
	f := somewhere()
	f.settings, f.settingsFault = authentik.ReadSettings(authentik.Sources{
		Env: o.env, Root: f.layout.Root, Glob: func(string) []string { return nil },
		Read: func(path string) ([]byte, error) {
			if path == "/local.yml" {
				return []byte(text), nil
			}
			return nil, fs.ErrNotExist
		},
	})
	f.config = f.release.Config(f.settings, f.release.Server, f.layout.Root)
	f.listeners = listenersOf(o.command, f.release, f.config)
	chain, err := tempDirCandidates(o)
	f.tempDirs = chain
	return f, err
}

// FuzzPlan: whatever options, environment and settings say, a plan that is made can be
// carried out.
func FuzzPlan(f *testing.F) {
	f.Add("server", "TMPDIR=/tmp\x00PATH=/bin", "secret_key: x\nlisten: {http: '[::]:9000'}")
	f.Add("worker\x00x\x00--fix-ownership\x00never", "AUTHENTIK_BOOTSTRAP_TOKEN=x\x00AUTHENTIK_STORAGE__FILE__PATH=./x", "storage:\n  backend: s3")
	f.Add("all\x00--restart\x00always", "PROMETHEUS_MULTIPROC_DIR=m\x00AUTHENTIK_LISTEN__HTTP=x\x00AUTHENTIK_POSTGRESQL__CONN_OPTIONS=e30=", "listen: [1]")
	f.Add("migrate\x00--tmpdir\x00/x/../y", "AK_INIT_WAIT_DATABASE=1s", "\x00")
	f.Add("run\x00--\x00true", "TMPDIR=x", "")
	f.Add("manage\x00shell", "HOME=", "a: &a [*a]")
	f.Fuzz(func(t *testing.T, args, environ, text string) {
		o, err := parse(strings.Split(args, "\x00"), strings.Split(environ, "\x00"))
		if err != nil || !slices.Contains([]string{"server", "worker", "all", "migrate", "run", "bash", "manage"}, o.command) {
			return
		}
		facts, err := somewhereWith(o, text)
		if err != nil && o.command != "run" {
			return // start ends here
		}
		p, err := makePlan(o, facts)
		for _, output := range []string{"text", "json"} {
			if shown := show(p, output, io.Discard); shown != nil {
				t.Errorf("cannot be shown: %v", shown)
			}
		}
		if err == nil {
			feasible(t, p)
		} else if code := asRefusal(err).code; code == 0 || code == exitInternal {
			t.Errorf("exit code %d: %v", code, err)
		}
	})
}

// feasible wants what every plan has.
func feasible(t *testing.T, p plan) {
	t.Helper()
	spec := p.spec()
	if len(spec.Services) == 0 {
		t.Error("no service")
	}
	for _, s := range spec.Services {
		if len(s.Argv) == 0 || s.Argv[0] == "" || s.Path == "" {
			t.Errorf("service %+v", s)
		}
	}
	for _, s := range spec.Steps {
		if len(s.Argv) == 0 || s.Path == "" {
			t.Errorf("step %+v", s)
		}
	}
	if spec.Grace <= spec.StopDelay {
		t.Errorf("grace period %s, stop delay %s", spec.Grace, spec.StopDelay)
	}
	if p.Command == "run" {
		return
	}
	paths := []string{p.TempDir.Path, p.env["TMPDIR"], p.env[metricsDir]}
	for _, d := range p.Directories {
		paths = append(paths, d.Path)
	}
	for _, tree := range p.Trees {
		paths = append(paths, tree.Path)
	}
	for _, path := range paths {
		if !filepath.IsAbs(path) {
			t.Errorf("%q is not absolute in %q", path, paths)
		}
	}
	if p.TempDir.Path != filepath.Clean(p.TempDir.Path) {
		t.Errorf("TMPDIR is %q", p.TempDir.Path)
	}
}

// FuzzEnvFile: any bytes are an env file or a usage error that names file and line. What the
// file holds, here wherever it has a §, is in no message.
func FuzzEnvFile(f *testing.F) {
	const canary = "canary-4711"
	for _, seed := range []string{"A=§\n# §\nB='§ §'\n", "§", "A=1\n§ = 2", "A=\"§", "export A=§", "=§", "A=$§\\", "A='\n§'", "AK_INIT_USER=1\nAK_INIT_STRICT=yes", "AK_INIT_RESTART=§\nAK_INIT_TMPDIR=§", "AK_INIT_GRACE_PERIOD=§", "AK_INIT_REWRITE_SIGNAL=§:TERM", "\xff§=\x00"} {
		f.Add(seed)
	}
	named := regexp.MustCompile(`^(\S*/env:\d+: |env file: )`)
	f.Fuzz(func(t *testing.T, content string) {
		path := filepath.Join(t.TempDir(), "env")
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(content, "§", canary)), 0o600); err != nil {
			t.Fatal(err)
		}
		if raw := []byte(content); !strings.Contains(content, "#") && !bytes.Equal(literalHashes(raw), raw) {
			t.Errorf("%q is read as %q", raw, literalHashes(raw))
		}
		o, err := parse([]string{"server", "--env-file", path}, nil)
		if err == nil {
			facts, err := somewhereWith(o, "")
			if err == nil {
				_, err = makePlan(o, facts)
			}
			if err != nil && asRefusal(err).code == exitInternal {
				t.Error(err)
			}
			return
		}
		said := err.Error()
		if asRefusal(err).code != exitUsage {
			t.Errorf("exit code %d: %s", asRefusal(err).code, said)
		}
		if strings.Contains(said, canary) || !named.MatchString(said) && !strings.Contains(said, "AK_INIT_") {
			t.Errorf("it says %q", said)
		}
	})
}
