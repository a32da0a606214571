package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"ak-init/authentik"
	"ak-init/health"
	"ak-init/prepare"
	"ak-init/supervise"
)

// options is what argv, environment and env files say together.
type options struct {
	command string
	// asScript: called as ak, in whose place we are.
	asScript bool
	// args are the words behind the command, those behind "--" included.
	args []string

	root, tmpdir, user, fixOwnership  string
	envFiles                          []string
	grace, stopDelay, liveThreshold   time.Duration
	logFormat, logLevel, output       string
	dryRun, strict, signalGroup       bool
	warnOnReap, watch, json, timeline bool
	rewrite                           map[syscall.Signal]syscall.Signal
	restart                           string
	restartLimit                      int
	successExit                       []int
	waitDatabase                      time.Duration
	migrate                           string
	question                          health.Question
	healthListen                      []string

	// env is the environment that children start from: env files below the real one.
	env map[string]string
	// fromFile tells which env file a variable came from.
	fromFile map[string]string
	// given tells where a flag's value came from, by the flag's name.
	given map[string]string
	// unknown are AK_INIT_ variables that are no flag's.
	unknown []string
}

// twinPrefix begins a flag's name in the environment.
const twinPrefix = "AK_INIT_"

const usage = `ak-init starts, stops and watches authentik in its container.

Usage:
  ak-init server                              run the authentik server
  ak-init worker [ARG...] [-- ARG...]         run the authentik worker
  ak-init all                                 both under one init, migrations once before
  ak-init migrate                             migrate the database and end
  ak-init run [--] PROGRAM [ARG...]           run any program as its init, as tini does
  ak-init bash | manage [ARG...]              a shell, or a management command
  ak-init dump_config | test-all | debug      what lifecycle/ak does by that word; all other words
                                              are a management command: ak-init shell
  ak-init check [server|worker|all|migrate]   look at everything a start needs, change nothing
  ak-init healthcheck [server|worker|run]     ask how it is: exit code 0 or 1
  ak-init status                              phase, services, restarts and memory
  ak-init env [server|worker|all|...]         the environment that a child would get, secrets hidden
  ak-init install DIR                         put ak-init into DIR, and "ak" as a link to it
  ak-init completion bash|fish|zsh            a script that makes the shell complete these words
  ak-init version | help

Example:
  ENTRYPOINT ["/ak-init"]
  CMD ["server"]

Flags stand before PROGRAM and before manage, and are all it takes with server, worker,
all and migrate. Called as ak it takes none, and does what lifecycle/ak does. Each is also AK_INIT_<NAME> in the environment or in an env file:
`

// flagSet declares every flag. The README's table is compared with it.
func flagSet(o *options) *pflag.FlagSet {
	fs := pflag.NewFlagSet("ak-init", pflag.ContinueOnError)
	fs.SortFlags = false
	fs.Usage = func() {}
	fs.StringVar(&o.root, "root", "", "authentik's root `DIR` (default: found)")
	fs.StringVar(&o.tmpdir, "tmpdir", "", "temporary `DIR` for every child (default: first usable of $TMPDIR, /dev/shm, /tmp, /var/tmp, $XDG_RUNTIME_DIR)")
	fs.StringArrayVar(&o.envFiles, "env-file", nil, "read more environment from `FILE`; can be given again")
	fs.StringVar(&o.user, "user", "", "children run as `NAME|UID[:GID]` (default: authentik for a worker started by root)")
	fs.StringVar(&o.fixOwnership, "fix-ownership", string(prepare.FixWrong), "root gives files to the children: `never|wrong|always`, wrong is those that belong to somebody else")
	fs.DurationVar(&o.grace, "grace-period", 25*time.Second, "from the first stop signal to SIGKILL")
	fs.DurationVar(&o.stopDelay, "stop-delay", 0, "go on serving, but not ready, before the stop begins")
	fs.DurationVar(&o.liveThreshold, "live-threshold", health.Threshold, "a service that has not been well for so long is not live")
	fs.BoolVar(&o.signalGroup, "signal-group", false, "signals go to the child's whole process group")
	fs.Func("rewrite-signal", "the child gets another signal than ak-init does, or none, as `FROM:TO`, such as TERM:INT, 15:2 or HUP:0; can be given again", o.rewriteSignal)
	fs.StringVar(&o.restart, "restart", string(supervise.Never), "a service that ends is started again: `never|on-failure|always`")
	fs.IntVar(&o.restartLimit, "restart-limit", 5, "give a service up when it has ended `N` times in a row within 10s of its start; 0: never")
	fs.Func("success-exit", "an exit `CODE` that counts as 0, such as 143; can be given again", o.addSuccessExit)
	fs.DurationVar(&o.waitDatabase, "wait-database", 5*time.Minute, "wait for PostgreSQL before authentik is started; 0 leaves it to authentik")
	fs.StringVar(&o.migrate, "migrate", migrateAuto, "migrations as a step before a service: `auto|before|never`; auto: before with all, else left to authentik")
	fs.Func("health-listen", "answer over HTTP at `ADDRESS`, such as :9999: /livez, /readyz, /startupz, /metrics; can be given again", o.addHealthListen)
	fs.BoolVar(&o.warnOnReap, "warn-on-reap", false, "say each orphan that is reaped as a warning")
	fs.StringVar(&o.logFormat, "log-format", "auto", "`auto|json|console`: console on a terminal, else JSON")
	fs.StringVar(&o.logLevel, "log-level", "info", "ak-init's own lines: `debug|info|warning|error` (warning for run, bash and manage)")
	fs.BoolVar(&o.dryRun, "dry-run", false, "print the plan, change nothing, start nothing")
	fs.StringVar(&o.output, "output", "text", "what is printed, be it a plan, checks, health or the status, as `text|json`, a timeline as svg, an environment as docker, too")
	fs.BoolVar(&o.json, "json", false, "the same as --output json")
	fs.BoolVar(&o.watch, "watch", false, "status: draw it again every two seconds")
	fs.BoolVar(&o.timeline, "timeline", false, "status: draw how long each part of the start took, and later restarts and outages")
	fs.BoolVar(&o.strict, "strict", false, "a warning before start is an error")
	for _, q := range []health.Question{health.Live, health.Ready, health.Started} {
		fs.BoolFunc(string(q), questionHelp(q), func(value string) error {
			yes, err := strconv.ParseBool(value)
			if err != nil {
				return errNoBool
			}
			if !yes {
				return nil
			}
			if o.question != "" && o.question != q {
				return fmt.Errorf("--%s and --%s are different questions", o.question, q)
			}
			o.question = q
			return nil
		})
	}
	fs.BoolP("help", "h", false, "show this text")
	return fs
}

// rewriteSignal takes one FROM:TO, or several with commas between them, as a variable
// in the environment can only be given once.
func (o *options) rewriteSignal(pairs string) error {
	for pair := range strings.SplitSeq(pairs, ",") {
		fromName, toName, ok := strings.Cut(pair, ":")
		from, fromErr := signalByName(fromName)
		to, toErr := signalByName(toName)
		switch {
		case !ok:
			return fmt.Errorf("%q is not FROM:TO", pair)
		case fromErr != nil || from == 0:
			return fmt.Errorf("%q is no signal: say TERM, SIGTERM or 15, and real-time ones by number, 35 to 64", fromName)
		case toErr != nil:
			return fmt.Errorf("%q is no signal, nor 0 for none", toName)
		case !supervise.Heard(from):
			return fmt.Errorf("%s never reaches ak-init as a signal to hand on", fromName)
		}
		if o.rewrite == nil {
			o.rewrite = map[syscall.Signal]syscall.Signal{}
		}
		o.rewrite[from] = to
	}
	return nil
}

// addSuccessExit takes one code, or several with commas between them.
func (o *options) addSuccessExit(codes string) error {
	for text := range strings.SplitSeq(codes, ",") {
		code, err := strconv.Atoi(text)
		if err != nil || code < 0 || code > 255 {
			return fmt.Errorf("%q is no exit code", text)
		}
		o.successExit = append(o.successExit, code)
	}
	return nil
}

// signalByName knows 15, TERM and SIGTERM, in any case; 0 is none.
func signalByName(name string) (syscall.Signal, error) {
	if n, err := strconv.Atoi(name); err == nil && n >= 0 && n <= 64 {
		return syscall.Signal(n), nil
	}
	if sig := unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(name), "SIG")); sig != 0 {
		return sig, nil
	}
	return 0, errors.New("no such signal")
}

func questionHelp(q health.Question) string {
	return map[health.Question]string{
		health.Live:    "healthcheck: would a restart help? (default)",
		health.Ready:   "healthcheck: does it answer its ready question now?",
		health.Started: "healthcheck: has it been ready once, and is it live?",
	}[q]
}

// parse reads argv, then the environment, then env files. The first that names a flag
// decides it.
func parse(args, environ []string) (options, error) { return parseAs(ownName, args, environ) }

// The names that we are called by.
const ownName, scriptName = "ak-init", "ak"

func parseAs(name string, args, environ []string) (options, error) {
	o := options{env: asMap(environ), fromFile: map[string]string{}, given: map[string]string{}, asScript: name == scriptName}
	fs := flagSet(&o)
	if o.asScript {
		o.scriptWords(args)
	} else if err := o.words(fs, args); err != nil {
		return o, o.usageError(err)
	}
	if help, _ := fs.GetBool("help"); help {
		o.command, o.args = "help", nil
	}
	fs.Visit(func(f *pflag.Flag) { o.given[f.Name] = "--" + f.Name })
	if err := o.twins(fs, o.env, func(string) string { return "environment" }); err != nil {
		return o, err
	}
	for _, file := range slices.Backward(o.envFiles) { // of two files the later wins
		if err := o.readEnvFile(fs, file); err != nil {
			return o, err
		}
	}
	if o.command == "" {
		return o, refuse(exitUsage, errors.New("no command given: known are "+strings.Join(ownCommands(), ", ")))
	}
	if slices.Contains(byHand(), o.command) && o.given["log-level"] == "" {
		o.logLevel = "warning" // who starts something by hand wants to see that alone
	}
	if slices.Contains(oneTime(), o.command) {
		// Twins in the container's environment are meant for its services: a command that is not
		// to be run twice must not be started again.
		o.restart, o.stopDelay, o.successExit = string(supervise.Never), 0, nil
	}
	return o, o.validate()
}

// oneTime are the commands that do one thing and end.
func oneTime() []string { return append(asked(), "migrate") }

// asked are the commands of authentik's that somebody who sits at a terminal gives.
func asked() []string {
	return []string{"bash", authentik.ManageName, "dump_config", "test-all", "worker-status", "debug"}
}

// byHand are those, and any program's.
func byHand() []string { return append(asked(), "run") }

// ownCommands are not the script's, or say more than it does.
func ownCommands() []string {
	return []string{
		"server", "worker", "all", "allinone", "migrate", "run", "bash", authentik.ManageName, "check", "healthcheck", "status",
		"env", "install", "completion", "version", "help",
	}
}

// scriptWords takes words as lifecycle/ak does: none is a flag of ours, and what is no verb of
// its own is Django's.
func (o *options) scriptWords(args []string) {
	o.command, o.args = authentik.ManageName, args
	if len(args) > 0 && slices.Contains(authentik.ScriptVerbs(), args[0]) {
		o.command, o.args = args[0], args[1:]
	}
	if o.command == "healthcheck" { // it drops them
		o.args = nil
	}
}

// otherWord is for a word that is no command of ours: the script's, or Django's. One that looks
// like a slip of the fingers is neither, for Python waits for the database before it says so.
func (o *options) otherWord(words []string) error {
	meant := authentik.Nearest(strings.ToLower(words[0]), ownCommands())
	switch {
	case slices.Contains(authentik.ScriptVerbs(), words[0]):
		o.command, o.args = words[0], words[1:]
	case meant != "":
		o.command = words[0]
		return fmt.Errorf("unknown command %q: did you mean %s? A management command of that name is started by %q", words[0], meant, "ak-init manage "+words[0])
	default:
		o.command, o.args = authentik.ManageName, words
	}
	return nil
}

// words tells flags from words. What a program of the user's own, or a management command,
// is given is handed on as it is.
func (o *options) words(fs *pflag.FlagSet, args []string) error {
	fs.SetInterspersed(false)
	if err := fs.Parse(args); err != nil || fs.NArg() == 0 {
		if err != nil && slices.Contains(args, "healthcheck") {
			o.command = "healthcheck" // whose usage errors have another exit code
		}
		return err
	}
	o.command = fs.Arg(0)
	rest := fs.Args()[1:]
	switch {
	case o.command == authentik.ManageName || o.command == "bash":
		o.args = rest
		return nil
	case o.command == "": // as Compose makes of ${COMMAND:-}
		return nil
	case !slices.Contains(ownCommands(), o.command):
		return o.otherWord(fs.Args())
	case o.command != "run": // whose own flags end at the first word
		fs.SetInterspersed(true)
	}
	err := fs.Parse(rest)
	o.args = fs.Args()
	if o.command == "allinone" { // as authentik's own binary calls it from 2026.8 on
		o.command = "all"
	}
	return err
}

func (o *options) usageError(err error) error {
	unknown, ok := errors.AsType[*pflag.NotExistError](err)
	if !ok {
		return refuse(exitUsage, err)
	}
	if twin := peersFlag(unknown.GetSpecifiedName()); o.command == "run" && twin != "" {
		return refuse(exitUsage, fmt.Errorf("%w; what tini and dumb-init call so is %s here", unknown, twin))
	}
	hint := map[string]string{
		"worker": `, and what is meant for the worker itself goes behind "--"`,
		"run":    ", and those of the program go behind it",
	}[o.command]
	return refuse(exitUsage, fmt.Errorf("%w; \"ak-init help\" lists the flags%s", unknown, hint))
}

// peersFlag is what a letter of tini's or dumb-init's is here (tini 0.19, dumb-init 1.2.5, each by
// its -h).
func peersFlag(letter string) string {
	return map[string]string{
		"g": "--signal-group", "w": "--warn-on-reap", "e": "--success-exit CODE", "r": "--rewrite-signal FROM:TO",
		"v": "--log-level debug", "s": "always so", "c": "always so, without --signal-group",
	}[letter]
}

// origin is how a message names a flag: by what the user wrote.
func (o *options) origin(flag string) string {
	if given := o.given[flag]; given != "" {
		return given
	}
	return "--" + flag
}
