package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ak-init/health"
)

func envFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "env")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFlagBeatsEnvironmentBeatsFileBeatsDefault(t *testing.T) {
	file := envFile(t, "AK_INIT_GRACE_PERIOD=3s\nNAME=file\nOTHER=file # said\n")
	tests := []struct {
		name    string
		args    []string
		environ []string
		grace   time.Duration
		origin  string
	}{
		{"default", []string{"server"}, nil, 25 * time.Second, "--grace-period"},
		{"file", []string{"server", "--env-file", file}, nil, 3 * time.Second, "AK_INIT_GRACE_PERIOD from the env file " + file + ":1"},
		{"file by its twin", []string{"server"}, []string{"AK_INIT_ENV_FILE=" + file}, 3 * time.Second, "AK_INIT_GRACE_PERIOD from the env file " + file + ":1"},
		{"environment", []string{"server", "--env-file", file}, []string{"AK_INIT_GRACE_PERIOD=2s"}, 2 * time.Second, "AK_INIT_GRACE_PERIOD from the environment"},
		{"an empty twin is none", []string{"server"}, []string{"AK_INIT_GRACE_PERIOD="}, 25 * time.Second, "--grace-period"},
		{"flag", []string{"--grace-period=1s", "server", "--env-file", file}, []string{"AK_INIT_GRACE_PERIOD=2s"}, time.Second, "--grace-period"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o, err := parse(tt.args, tt.environ)
			if err != nil {
				t.Fatal(err)
			}
			if o.grace != tt.grace || o.origin("grace-period") != tt.origin {
				t.Errorf("%s by %s, want %s by %s", o.grace, o.origin("grace-period"), tt.grace, tt.origin)
			}
		})
	}
}

func TestRealEnvironmentWinsOverFilesAndLaterFilesOverEarlier(t *testing.T) {
	one, two := envFile(t, "A=1\nB=1\nC=1\nAK_INIT_GRACE_PERIOD=1s\n"), envFile(t, "export B=2\nC=2\nAK_INIT_GRACE_PERIOD=2s\n")
	o, err := parse([]string{"server", "--env-file", one, "--env-file", two}, []string{"C=real", "D="})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"A": "1", "B": "2", "C": "real", "D": "", "AK_INIT_GRACE_PERIOD": "2s"}, o.env); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"A": one, "B": two, "AK_INIT_GRACE_PERIOD": two}, o.fromFile); diff != "" {
		t.Errorf("origins (-want +got):\n%s", diff)
	}
	if o.grace != 2*time.Second {
		t.Errorf("grace period %s, want the later file's 2s", o.grace)
	}
}

func TestWords(t *testing.T) {
	tests := []struct {
		args    []string
		command string
		rest    []string
	}{
		{[]string{"server"}, "server", nil},
		{[]string{"--", "server"}, "server", nil},
		{[]string{"worker", "a b", "--grace-period", "1s", "c"}, "worker", []string{"a b", "c"}},
		{[]string{"worker", "--", "--watch", "--grace-period"}, "worker", []string{"--watch", "--grace-period"}},
		{[]string{"server", "--help"}, "help", nil},
		{[]string{"-h"}, "help", nil},
	}
	for _, tt := range tests {
		o, err := parse(tt.args, nil)
		if err != nil {
			t.Errorf("%q: %v", tt.args, err)
			continue
		}
		if diff := cmp.Diff(tt.rest, append([]string(nil), o.args...)); o.command != tt.command || diff != "" {
			t.Errorf("%q: command %q, arguments %s", tt.args, o.command, diff)
		}
	}
}

func TestQuestion(t *testing.T) {
	for flag, want := range map[string]health.Question{"--live": health.Live, "--ready": health.Ready, "--started": health.Started} {
		if o, err := parse([]string{"healthcheck", flag}, nil); err != nil || o.question != want {
			t.Errorf("%s: %q, %v", flag, o.question, err)
		}
	}
	if o, err := parse([]string{"healthcheck"}, []string{"AK_INIT_STARTED=true", "AK_INIT_READY=false"}); err != nil || o.question != health.Started {
		t.Errorf("by its twin: %q, %v", o.question, err)
	}
}

func TestRewriteSignal(t *testing.T) {
	want := map[syscall.Signal]syscall.Signal{syscall.SIGTERM: syscall.SIGINT, syscall.SIGHUP: 0, syscall.Signal(40): syscall.SIGUSR1}
	for _, words := range [][]string{
		{"server", "--rewrite-signal", "TERM:INT", "--rewrite-signal", "1:0", "--rewrite-signal", "40:sigusr1"},
		{"server", "--rewrite-signal", "15:2,sighup:0,40:10"},
	} {
		o, err := parse(words, nil)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, o.rewrite); diff != "" {
			t.Errorf("%q (-want +got):\n%s", words, diff)
		}
	}
}

func TestTwinOfAQuestionDoesNotKeepAServerFromStarting(t *testing.T) {
	if _, err := parse([]string{"server"}, []string{"AK_INIT_STARTED=true"}); err != nil {
		t.Error(err)
	}
}

func TestFlagBeatsTheTwinOfAnotherQuestion(t *testing.T) {
	o, err := parse([]string{"healthcheck", "--live"}, []string{"AK_INIT_READY=true"})
	if err != nil || o.question != health.Live {
		t.Errorf("asks %q, %v", o.question, err)
	}
}

func TestBadInputIsAUsageErrorThatNamesIt(t *testing.T) {
	malformed := envFile(t, "GOOD=1\nthe secret is canary\n")
	marked := envFile(t, "\ufeffAK_INIT_GRACE_PERIOD=soon\n")
	large := envFile(t, strings.Repeat("A=1\n", 1<<18+1))
	tests := []struct {
		name     string
		args     []string
		environ  []string
		mentions []string
	}{
		{"no command", nil, nil, []string{"no command given"}},
		{"a slip of the fingers", []string{"sevrer"}, nil, []string{`unknown command "sevrer": did you mean server?`, `"ak-init manage sevrer"`}},
		{"unknown flag", []string{"worker", "--watch"}, nil, []string{"--watch", `goes behind "--"`}},
		{"malformed flag", []string{"server", "--grace-period", "soon"}, nil, []string{"--grace-period", "soon"}},
		{"malformed twin", []string{"server"}, []string{"AK_INIT_GRACE_PERIOD=soon"}, []string{"AK_INIT_GRACE_PERIOD from the environment"}},
		{"empty tmpdir", []string{"server", "--tmpdir", ""}, nil, []string{"--tmpdir", "not an absolute path"}},
		{"relative tmpdir by its twin", []string{"server"}, []string{"AK_INIT_TMPDIR=x/y"}, []string{"AK_INIT_TMPDIR from the environment", `"x/y"`}},
		{"env file with a malformed line", []string{"server", "--env-file", malformed}, nil, []string{malformed + ":2:"}},
		{"env file with a byte order mark and a malformed twin", []string{"server", "--env-file", marked}, nil, []string{"AK_INIT_GRACE_PERIOD", marked + ":1:"}},
		{"empty user", []string{"server", "--user", ""}, nil, []string{"--user is empty"}},
		{"a question that is answered", []string{"healthcheck"}, []string{"AK_INIT_LIVE=x"}, []string{"AK_INIT_LIVE from the environment", "neither true nor false"}},
		{"env file that is missing", []string{"server", "--env-file", "/no/such"}, nil, []string{"/no/such"}},
		{"env file that never ends", []string{"server", "--env-file", large}, nil, []string{large, "larger"}},
		{"two questions", []string{"healthcheck", "--live", "--ready"}, nil, []string{"--live and --ready"}},
		{"a question for a server", []string{"server", "--ready"}, nil, []string{"--ready"}},
		{"health of what", []string{"healthcheck", "cake"}, nil, []string{`"cake"`}},
		{"stop delay beyond the grace period", []string{"server", "--stop-delay", "1h"}, nil, []string{"--stop-delay", "25s"}},
		{"a rewriting without its half", []string{"server", "--rewrite-signal", "TERM"}, nil, []string{"--rewrite-signal", `"TERM" is not FROM:TO`}},
		{"a signal that nobody knows", []string{"server", "--rewrite-signal", "TERM:FOO"}, nil, []string{`"FOO" is no signal`}},
		{"a signal that cannot be caught", []string{"server"}, []string{"AK_INIT_REWRITE_SIGNAL=KILL:TERM"}, []string{"AK_INIT_REWRITE_SIGNAL", "KILL never reaches"}},
		{"a log format of its own", []string{"server", "--log-format", "xml"}, nil, []string{"--log-format", "json"}},
		{"no time to stop in", []string{"server", "--grace-period", "0s"}, nil, []string{"--grace-period"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parse(tt.args, tt.environ)
			if err == nil {
				t.Fatal("accepted")
			}
			r := asRefusal(err)
			if r.code != exitUsage {
				t.Errorf("exit code %d, want %d", r.code, exitUsage)
			}
			for _, want := range tt.mentions {
				if !strings.Contains(r.Error(), want) {
					t.Errorf("%q does not say %q", r, want)
				}
			}
			if strings.Contains(r.Error(), "canary") {
				t.Errorf("%q shows what an env file holds", r)
			}
		})
	}
}

func TestUnknownTwinsAreNoticedAndServiceLinksAreNot(t *testing.T) {
	o, err := parse([]string{"server"}, []string{"AK_INIT_GRACEPERIOD=1s", "AK_INIT_PORT=tcp://10.0.0.1:80", "AK_INIT_SERVICE_HOST=10.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"AK_INIT_GRACEPERIOD"}, o.unknown); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("server\x00--grace-period\x001s", "TMPDIR=/tmp\x00AK_INIT_USER=1:1")
	f.Add("worker\x00--\x00--watch", "=\x00X")
	f.Fuzz(func(t *testing.T, args, environ string) {
		o, err := parse(strings.Split(args, "\x00"), strings.Split(environ, "\x00"))
		if err == nil && o.command == "" {
			t.Error("accepted without a command")
		}
		if err != nil && asRefusal(err).code != exitUsage {
			t.Errorf("exit code %d: %v", asRefusal(err).code, err)
		}
	})
}

// A twin in a container's environment is read by every command there.
func TestSVGByATwinIsForStatusAlone(t *testing.T) {
	twin := []string{"AK_INIT_OUTPUT=svg"}
	file := envFile(t, twin[0]+"\n")
	for _, words := range [][]string{{"server"}, {"run", "true"}, {"healthcheck"}, {"check"}, {"version"}} {
		byFile := append([]string{"--env-file", file}, words...)
		for _, all := range [][2][]string{{words, twin}, {byFile, nil}} {
			if o, err := parse(all[0], all[1]); o.output != "text" || err != nil {
				t.Errorf("%q: %s, %v", all, o.output, err)
			}
		}
	}
	if o, err := parse([]string{"healthcheck", "--json"}, twin); o.output != "json" || err != nil {
		t.Errorf("--json beside it: %s, %v", o.output, err)
	}
	if o, err := parse([]string{"status", "--timeline"}, twin); o.output != "svg" || err != nil {
		t.Errorf("%s, %v", o.output, err)
	}
	if _, err := parse([]string{"server", "--output", "svg"}, nil); codeOf(err) != exitUsage {
		t.Errorf("--output svg is taken: %v", err)
	}
}

// Where "#" begins a comment, and where it is part of a password.
func TestHashesInEnvFiles(t *testing.T) {
	for line, want := range map[string]string{
		"A=pass#word":             "pass#word",
		"A=#":                     "#",
		"A=#pass":                 "#pass",
		"A=pass#":                 "pass#",
		"A=pass##word #comment":   "pass##word",
		"A=pass#word # comment":   "pass#word",
		"A=pass\t# comment":       "pass",
		"A= # comment":            "",
		"A=":                      "",
		"export A = x#y ":         "x#y",
		`A="pass#word" # "x"`:     "pass#word",
		`A="pass # word"#x`:       "pass # word#x",
		`A="a\"b # c"`:            `a"b # c`,
		`A="a\\" # c`:             `a\`,
		`A='a\' # it's a comment`: `a\`,
		`A='pass # word'`:         "pass # word",
		`A=a'b #c'd#e`:            "ab #cd#e",
		"A=passwörté # comment":   "passwörté",
		"A=pass#wört#é":           "pass#wört#é",
		"A=x#y\r":                 "x#y",
		"\ufeffA=mark":            "mark",
		"# A=0\n #A=1\nA=x":       "x",
	} {
		for _, end := range []string{"", "\n", "\nB=b#b # b\n"} {
			o, err := parse([]string{"server", "--env-file", envFile(t, line+end)}, nil)
			if err != nil || o.env["A"] != want || len(end) > 1 && o.env["B"] != "b#b" {
				t.Errorf("%q: %q, %v; want %q", line+end, o.env["A"], err, want)
			}
		}
	}
}
