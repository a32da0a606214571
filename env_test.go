package main

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// strange are values that a careless hand would spoil.
var strange = []string{
	"QUOTES=it's \"$HOME\" `id` \\ $(id)", "LINES=one\ntwo\n", "LAST=a\r", "SPACE= a  b ", "HASH=#a", "EMPTY=", "STARS=***", "UMLAUT=ä",
	"UID=7", "dots.in=a\nexit 3", "white space=x", "two\nlines=rm -rf /", "WORKSPACE_DIR=/srv",
}

// environment runs env and gives what it says on stdout, and on stderr.
func (s *scene) environment(words ...string) (said, warned string) {
	s.t.Helper()
	cmd := exec.Command(s.akInit, append([]string{"env"}, words...)...)
	cmd.Env, cmd.Dir = s.env, s.root
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		s.t.Fatalf("%v\n%s", err, &errs)
	}
	return out.String(), errs.String()
}

// childs is the environment that a service really gets, without what env leaves to others.
func (s *scene) childs(command string, without ...string) map[string]string {
	s.t.Helper()
	r := s.start(command)
	s.awaitHealth(0, "--started")
	r.stop()
	env := s.starts(command)[0].Env
	maps.DeleteFunc(env, func(name, _ string) bool { return slices.Contains(without, name) })
	return env
}

func TestEnvIsWhatTheChildGets(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.must(os.WriteFile(s.dir+"/.env", []byte("OF_A_FILE=canary\n"), 0o600))
	s.env = append(slices.Concat(s.env, strange), "AK_INIT_USER="+uid(), "AK_INIT_ENV_FILE="+s.dir+"/.env")
	hidden := []string{"AUTHENTIK_SECRET_KEY", "OF_A_FILE"}

	t.Run("for a shell", func(t *testing.T) {
		said, _ := s.environment("server")
		want := s.childs("server", append(hidden, "UID", "dots.in", "white space", "two\nlines")...)
		for _, shell := range []string{"dash", "bash"} {
			path, err := exec.LookPath(shell)
			if err != nil {
				t.Logf("no %s here", shell)
				continue
			}
			cmd := exec.Command(path, "-e", "-c", `unset PWD OLDPWD SHLVL _; eval "$1"; exec /usr/bin/env -0`, shell, said)
			cmd.Env = []string{"WORKSPACE_DIR=/srv"}
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%s: %v", shell, err)
			}
			got := map[string]string{}
			for entry := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
				name, value, _ := strings.Cut(entry, "=")
				got[name] = value
			}
			for _, own := range []string{"PWD", "OLDPWD", "SHLVL", "_"} {
				delete(got, own)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", shell, diff)
			}
		}
		for _, want := range []string{
			"# export AUTHENTIK_SECRET_KEY='***'\n", "# export OF_A_FILE='***'\n", "# UID is the shell's own\n",
			"# \"dots.in\" is no name for a shell\n", "# \"two\\nlines\" is no name for a shell\n", "unset WORKSPACE_DIR\n",
		} {
			if !strings.Contains(said, want) {
				t.Errorf("it does not say %q:\n%s", want, said)
			}
		}
	})
	t.Run("for docker", func(t *testing.T) {
		said, warned := s.environment("server", "--output", "docker")
		want := s.childs("server", append(hidden, "LINES", "LAST", "dots.in", "white space", "two\nlines")...)
		got := map[string]string{}
		for line := range strings.Lines(said) { // as docker reads them (docker/cli, pkg/kvfile)
			if name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "="); !strings.HasPrefix(name, "#") {
				got[name] = value
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if !strings.Contains(said, "# AUTHENTIK_SECRET_KEY=***\n") {
			t.Errorf("it says:\n%s", said)
		}
		for _, want := range []string{
			"ak-init: LINES is left out: docker --env-file cannot say a value with a line break\n",
			"ak-init: LAST is left out: docker --env-file cannot say a value with a carriage return at its end\n",
			"ak-init: \"white space\" is left out: docker --env-file cannot say such a name\n",
			"ak-init: \"two\\nlines\" is left out: docker --env-file cannot say such a name\n",
		} {
			if !strings.Contains(warned, want) {
				t.Errorf("it does not warn %q:\n%s", want, warned)
			}
		}
	})
	t.Run("for programs", func(t *testing.T) {
		said, _ := s.environment("--json")
		var all environments
		s.must(json.Unmarshal([]byte(said), &all))
		got, origins := map[string]string{}, map[string]string{}
		for _, v := range all.Children[0].Environment {
			got[v.Name], origins[v.Name] = v.Value, v.Origin
		}
		want := s.childs("server")
		want["AUTHENTIK_SECRET_KEY"], want["OF_A_FILE"] = "***", "***"
		if diff := cmp.Diff(want, got); diff != "" || !slices.Equal(all.Unset, []string{"WORKSPACE_DIR"}) {
			t.Errorf("unset %q, (-want +got):\n%s", all.Unset, diff)
		}
		for name, want := range map[string]string{
			"EMPTY": "environment", "OF_A_FILE": s.dir + "/.env", "VENV_PATH": "image layout", "PROMETHEUS_MULTIPROC_DIR": "lifecycle/ak",
		} {
			if origins[name] != want {
				t.Errorf("%s comes from %q, want %q", name, origins[name], want)
			}
		}
	})
}

// Of two services only what both have alike can be sourced.
func TestEnvOfAll(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.env = append(s.env, "AK_INIT_USER="+uid())
	for output, form := range map[string]string{"text": "export %='", "docker": "%="} {
		said, _ := s.environment("all", "--output", output)
		alone := func(service, name string) string {
			return "# " + service + " alone: " + strings.ReplaceAll(form, "%", name) + s.tmpdir + "/authentik-" + service
		}
		for _, want := range []string{
			alone("server", "TMPDIR"), alone("worker", "TMPDIR"), alone("worker", "PROMETHEUS_MULTIPROC_DIR"),
			"\n" + strings.ReplaceAll(form, "%", "VENV_PATH"),
		} {
			if !strings.Contains(said, want) {
				t.Errorf("%s lacks %q:\n%s", output, want, said)
			}
		}
		if strings.Contains(said, "\n"+strings.ReplaceAll(form, "%", "TMPDIR")) {
			t.Errorf("%s has a TMPDIR for both:\n%s", output, said)
		}
	}
}
