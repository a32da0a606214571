package main

import (
	"os"
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
func completing() []offer {
	return []offer{
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
}

func completionScene(t *testing.T, shell string) *scene {
	t.Helper()
	_, err := exec.LookPath(shell)
	bed.Need(t, shell, err == nil, "there is no "+shell)
	s := newScene(t)
	s.must(os.Mkdir(s.dir+"/shared", 0o755), os.WriteFile(s.dir+"/shadow", nil, 0o600))
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

// complete runs a shell for each line, as argv says.
func complete(t *testing.T, shell string, lines []offer, argv func(typed string) []string) {
	t.Helper()
	s := completionScene(t, shell)
	for _, c := range lines {
		cmd := exec.CommandContext(t.Context(), shell, argv(c.typed)...)
		cmd.Dir, cmd.Env = s.dir, s.env
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%q: %v", c.typed, err)
		}
		offers(t, c.typed, string(out), c.want, c.not)
	}
}

// bash calls the function as readline does, with the words as it parts them.
func TestBashCompletes(t *testing.T) {
	t.Parallel()
	const script = `source <(ak-init completion bash)
		COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
		_ak_init && printf '%s\n' "${COMPREPLY[@]}"`
	complete(t, "bash", append(completing(), offer{"ak-init --migrate = be", []string{"before"}, nil}), func(typed string) []string {
		return append([]string{"-c", script, "bash"}, strings.Split(typed, " ")...)
	})
}

func TestFishCompletes(t *testing.T) {
	t.Parallel()
	complete(t, "fish", completing(), func(typed string) []string {
		return []string{"-N", "-c", "ak-init completion fish | source; complete -C $argv[1]", typed}
	})
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
