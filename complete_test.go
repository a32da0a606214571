package main

import (
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"ak-init/testdata/bed"
)

type offer struct {
	typed     string
	want, not []string
}

// completing are words typed so far, the last one to be completed, and some of what it may
// become; none of it is in not.
var completing = []offer{
	{"ak-init che", []string{"check"}, []string{"server"}},
	{"ak-init check ", []string{"server", "migrate"}, []string{"run"}},
	{"ak-init --ro", []string{"--root"}, nil},
	{"ak-init --tmpdir /x --strict work", []string{"worker", "worker-status"}, nil},
	{"ak-init --log-format json healthcheck --re", []string{"--ready"}, []string{"--restart"}},
	{"ak-init server --re", []string{"--restart", "--restart-limit", "--rewrite-signal"}, []string{"--ready"}},
	{"ak-init server --restart ", []string{"never", "on-failure", "always"}, []string{"auto"}},
	{"ak-init env --output js", []string{"json"}, nil},
	{"ak-init --root sha", []string{"shared/"}, []string{"shadow"}},
	{"ak-init server --env-file sha", []string{"shadow"}, nil},
	{"ak-init run ./sha", []string{"./shadow"}, nil},
}

func completionScene(t *testing.T, shell string) *scene {
	t.Helper()
	_, err := exec.LookPath(shell)
	bed.Need(t, shell, err == nil, "there is no "+shell)
	s := newScene(t)
	s.must(exec.Command("mkdir", s.dir+"/shared").Run(), exec.Command("touch", s.dir+"/shadow").Run())
	s.env = []string{"PATH=" + s.dir + ":/usr/local/bin:/usr/bin:/bin", "HOME=" + s.dir, "TERM=vt100"}
	return s
}

// offers tells what came of completing a line.
func offers(t *testing.T, typed, answer string, want, not []string) {
	t.Helper()
	offered := strings.Fields(answer)
	for _, w := range want {
		if !slices.Contains(offered, w) && !slices.Contains(offered, strings.TrimSuffix(w, "/")) {
			t.Errorf("%q: no %s in %q", typed, w, offered)
		}
	}
	for _, n := range not {
		if slices.Contains(offered, n) {
			t.Errorf("%q: %s in %q", typed, n, offered)
		}
	}
}

// bash calls the function as readline does, with the words as it parts them.
func TestBashCompletes(t *testing.T) {
	t.Parallel()
	s := completionScene(t, "bash")
	for _, c := range append(slices.Clone(completing), offer{"ak-init --migrate = be", []string{"before"}, nil}) {
		cmd := exec.CommandContext(t.Context(), "bash", "-c", `source <(ak-init completion bash)
			COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
			_ak_init && printf '%s\n' "${COMPREPLY[@]}"`, "bash")
		cmd.Args = append(cmd.Args, strings.Split(c.typed, " ")...)
		cmd.Dir, cmd.Env = s.dir, s.env
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%q: %v", c.typed, err)
		}
		offers(t, c.typed, string(out), c.want, c.not)
	}
}

func TestFishCompletes(t *testing.T) {
	t.Parallel()
	s := completionScene(t, "fish")
	for _, c := range completing {
		cmd := exec.CommandContext(t.Context(), "fish", "-N", "-c", "ak-init completion fish | source; complete -C $argv[1]", c.typed)
		cmd.Dir, cmd.Env = s.dir, s.env
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%q: %v", c.typed, err)
		}
		offers(t, c.typed, string(out), c.want, c.not)
	}
}

// zsh completes on a terminal alone, and shows what it has added.
func TestZshCompletes(t *testing.T) {
	t.Parallel()
	s := completionScene(t, "zsh")
	p := atPty(t, s.dir, append(slices.Clone(s.env), "PS1=here> "), "zsh", "-f", "-i")
	p.await("here> ")
	p.enter("autoload -Uz compinit && compinit -u -d " + s.dir + "/dump && source <(ak-init completion zsh) && echo re''ady")
	p.await("\nready")
	for _, c := range []struct{ typed, added string }{
		{"ak-init che", "ck"},
		{"ak-init check mi", "grate"},
		{"ak-init --tmpdir /x --stri", "ct"},
		{"ak-init server --restart on", "-failure"},
		{"ak-init healthcheck --log-format=js", "on"},
		{"ak-init --root shar", "ed"},
		{"ak-init run ./shad", "ow"},
	} {
		p.press(c.typed + "\t")
		last := c.typed[strings.LastIndexAny(c.typed, " =/")+1:]
		p.await(regexp.QuoteMeta(last + c.added))
		p.press("\x15") // the line is dropped
	}
	s.must(p.Process.Kill())
}
