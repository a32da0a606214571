package main

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-envparse"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"ak-init/health"
	"ak-init/prepare"
	"ak-init/supervise"
)

// options is what argv, environment and env files say together.
type options struct {
	command string
	// args are the words behind the command, those behind "--" included.
	args []string

	root, tmpdir, user, fixOwnership string
	envFiles                         []string
	grace, stopDelay                 time.Duration
	logFormat, logLevel, output      string
	dryRun, strict, signalGroup      bool
	warnOnReap, watch                bool
	rewrite                          map[syscall.Signal]syscall.Signal
	restart                          string
	restartLimit                     int
	successExit                      []int
	waitDatabase                     time.Duration
	migrate                          string
	question                         health.Question

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
  ak-init check [server|worker|all|migrate]   look at everything a start needs, change nothing
  ak-init healthcheck [server|worker|run]     ask how it is: exit code 0 or 1
  ak-init status                              phase, services, restarts and memory
  ak-init version | help

Example:
  ENTRYPOINT ["/ak-init"]
  CMD ["server"]

Flags stand before PROGRAM and before manage, and are all it takes with server, worker,
all and migrate. Each is also AK_INIT_<NAME> in the environment or in an env file:
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
	fs.BoolVar(&o.signalGroup, "signal-group", false, "signals go to the child's whole process group")
	fs.Func("rewrite-signal", "the child gets another signal than ak-init does, or none, as `FROM:TO`, such as TERM:INT, 15:2 or HUP:0; can be given again", o.rewriteSignal)
	fs.StringVar(&o.restart, "restart", string(supervise.Never), "a service that ends is started again: `never|on-failure|always`")
	fs.IntVar(&o.restartLimit, "restart-limit", 5, "give a service up when it has ended `N` times in a row within 10s of its start; 0: never")
	fs.Func("success-exit", "an exit `CODE` that counts as 0, such as 143; can be given again", o.addSuccessExit)
	fs.DurationVar(&o.waitDatabase, "wait-database", 5*time.Minute, "wait for PostgreSQL before authentik is started; 0 leaves it to authentik")
	fs.StringVar(&o.migrate, "migrate", migrateAuto, "migrations as a step before a service: `auto|before|never`; auto: before with all, else left to authentik")
	fs.BoolVar(&o.warnOnReap, "warn-on-reap", false, "say each orphan that is reaped as a warning")
	fs.StringVar(&o.logFormat, "log-format", "auto", "`auto|json|console`: console on a terminal, else JSON")
	fs.StringVar(&o.logLevel, "log-level", "info", "ak-init's own lines: `debug|info|warning|error` (warning for run, bash and manage)")
	fs.BoolVar(&o.dryRun, "dry-run", false, "print the plan, change nothing, start nothing")
	fs.StringVar(&o.output, "output", "text", "the plan or the status as `text|json`")
	fs.BoolVar(&o.watch, "watch", false, "status: draw it again every two seconds")
	fs.BoolVar(&o.strict, "strict", false, "a warning before start is an error")
	for _, q := range []health.Question{health.Live, health.Ready, health.Started} {
		fs.BoolFunc(string(q), questionHelp(q), func(value string) error {
			if yes, err := strconv.ParseBool(value); err != nil || !yes {
				return err
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
func parse(args, environ []string) (options, error) {
	o := options{env: asMap(environ), fromFile: map[string]string{}, given: map[string]string{}}
	fs := flagSet(&o)
	if err := o.words(fs, args); err != nil {
		return o, o.usageError(err)
	}
	if help, _ := fs.GetBool("help"); help {
		o.command, o.args = "help", nil
	}
	fs.Visit(func(f *pflag.Flag) { o.given[f.Name] = "--" + f.Name })
	if err := o.twins(fs, o.env, "environment"); err != nil {
		return o, err
	}
	for _, file := range slices.Backward(o.envFiles) { // of two files the later wins
		if err := o.readEnvFile(fs, file); err != nil {
			return o, err
		}
	}
	if o.command == "" {
		return o, refuse(exitUsage, errors.New("no command given: "+knownCommands))
	}
	if slices.Contains([]string{"run", "bash", "manage"}, o.command) && o.given["log-level"] == "" {
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
func oneTime() []string { return []string{"bash", "manage", "migrate"} }

const knownCommands = "known are server, worker, all, migrate, run, bash, manage, check, healthcheck, status, version and help"

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
	switch o.command {
	case "manage", "bash":
		o.args = rest
		return nil
	case "run": // its own flags end at the first word
	default:
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
	hint := map[string]string{
		"worker": `, and what is meant for the worker itself goes behind "--"`,
		"run":    ", and those of the program go behind it",
	}[o.command]
	return refuse(exitUsage, fmt.Errorf("%w; \"ak-init help\" lists the flags%s", unknown, hint))
}

// twins sets every flag that is not decided yet from its twin in env. An empty value
// is none: compose files write ${X:-}.
func (o *options) twins(fs *pflag.FlagSet, env map[string]string, origin string) error {
	var bad error
	known := map[string]bool{}
	asked := o.question != "" // by what beats env: the three questions are one setting
	fs.VisitAll(func(f *pflag.Flag) {
		twin := twinPrefix + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		known[twin] = true
		value := env[twin]
		if o.given[f.Name] != "" || value == "" || bad != nil || f.Name == "help" || asked && isQuestion(f.Name) {
			return
		}
		if err := fs.Set(f.Name, value); err != nil {
			bad = refuse(exitUsage, fmt.Errorf("%s from the %s: %w", twin, origin, err))
			return
		}
		o.given[f.Name] = twin + " from the " + origin
	})
	o.unknown = append(o.unknown, strays(env, known)...)
	return bad
}

func isQuestion(flag string) bool {
	return slices.Contains([]health.Question{health.Live, health.Ready, health.Started}, health.Question(flag))
}

// strays are variables that look like twins and are none. Kubernetes' service links make
// AK_INIT_PORT and AK_INIT_SERVICE_HOST for a service that is called ak-init.
func strays(env map[string]string, known map[string]bool) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(env)), func(name string) bool {
		return !strings.HasPrefix(name, twinPrefix) || known[name] || strings.Contains(name, "_PORT") || strings.Contains(name, "_SERVICE_")
	})
}

// readEnvFile adds a file's variables where nothing has set them yet. What a file
// holds is never printed: it may be a secret.
func (o *options) readEnvFile(fs *pflag.FlagSet, path string) error {
	raw, err := prepare.ReadSmall(path)
	if err != nil {
		return refuse(exitUsage, fmt.Errorf("env file: %w", err))
	}
	vars, err := envparse.Parse(bytes.NewReader(raw))
	if malformed, ok := errors.AsType[*envparse.ParseError](err); ok {
		if errors.Is(malformed.Err, bufio.ErrTooLong) {
			malformed.Line++ // it is counted before it is read
		}
		return refuse(exitUsage, fmt.Errorf("%s:%d: %w; a line is NAME=value", path, malformed.Line, malformed.Err))
	}
	for name, value := range vars {
		if _, set := o.env[name]; set {
			continue // by the real environment, or by a file that wins
		}
		o.env[name], o.fromFile[name] = value, path
	}
	return o.twins(fs, vars, "env file "+path)
}

// validate judges what was parsed, all of it at once.
func (o *options) validate() error {
	faults := append(o.commandFaults(), o.flagFaults()...)
	if len(faults) > 0 {
		return refuse(exitUsage, faults...)
	}
	return nil
}

// commandFaults judges the words.
func (o *options) commandFaults() []error {
	switch o.command {
	case "server", "worker", "all", "migrate", "bash", "manage", "version", "help":
	case "healthcheck", "status":
		if err := o.onlyOneOf("server", "worker", "run"); err != nil {
			return []error{err}
		}
	case "check":
		if err := o.onlyOneOf("server", "worker", "all", "migrate"); err != nil {
			return []error{err}
		}
	case "run":
		if len(o.args) == 0 || o.args[0] == "" {
			return []error{errors.New("run needs a program: ak-init run -- PROGRAM [ARG...]")}
		}
	default:
		return []error{fmt.Errorf("unknown command %q: %s", o.command, knownCommands)}
	}
	return o.strayFlags()
}

// onlyOneOf wants one of these words, or none.
func (o *options) onlyOneOf(allowed ...string) error {
	if len(o.args) == 0 || len(o.args) == 1 && slices.Contains(allowed, o.args[0]) {
		return nil
	}
	return fmt.Errorf("%s takes %s or nothing, not %q", o.command, strings.Join(allowed, ", "), strings.Join(o.args, " "))
}

// strayFlags are those of another command. A twin in the container's environment is meant
// for that one.
func (o *options) strayFlags() (faults []error) {
	byFlag := func(name string) bool { return strings.HasPrefix(o.given[name], "--") }
	if o.command == "healthcheck" {
		o.question = cmp.Or(o.question, health.Live)
	} else if byFlag(string(o.question)) {
		faults = append(faults, fmt.Errorf("--%s is a question for healthcheck, not for %s", o.question, o.command))
	}
	if o.command != "status" && byFlag("watch") {
		hint := ""
		if o.command == "worker" { // dramatiq has a flag of that name
			hint = `; what is meant for the worker itself goes behind "--"`
		}
		faults = append(faults, errors.New("--watch is for status"+hint))
	}
	for _, name := range []string{"restart", "restart-limit", "stop-delay", "success-exit"} {
		if slices.Contains(oneTime(), o.command) && byFlag(name) {
			faults = append(faults, fmt.Errorf("--%s is for services, and %s is none", name, o.command))
		}
	}
	for _, name := range []string{"wait-database", "migrate"} {
		if slices.Contains(apartFromDatabase(), o.command) && byFlag(name) {
			faults = append(faults, fmt.Errorf("--%s is for server, worker, all, migrate and check, not for %s", name, o.command))
		}
	}
	return faults
}

// apartFromDatabase are the commands that neither wait for PostgreSQL nor migrate.
func apartFromDatabase() []string {
	return []string{"run", "bash", "manage", "healthcheck", "status"}
}

func (o *options) flagFaults() (faults []error) {
	fault := func(flag, format string, args ...any) {
		faults = append(faults, fmt.Errorf("%s %s", o.origin(flag), fmt.Sprintf(format, args...)))
	}
	oneOf := func(flag, value string, allowed ...string) {
		if !slices.Contains(allowed, value) {
			fault(flag, "%q is none of %s", value, strings.Join(allowed, ", "))
		}
	}
	oneOf("log-format", o.logFormat, "auto", "json", "console")
	oneOf("log-level", o.logLevel, "debug", "info", "warning", "error")
	oneOf("output", o.output, "text", "json")
	oneOf("fix-ownership", o.fixOwnership, string(prepare.FixNever), string(prepare.FixWrong), string(prepare.FixAlways))
	oneOf("restart", o.restart, string(supervise.Never), string(supervise.OnFailure), string(supervise.Always))
	oneOf("migrate", o.migrate, migrateAuto, migrateBefore, migrateNever)
	if o.waitDatabase < 0 {
		fault("wait-database", "%s is less than no time", o.waitDatabase)
	}
	if o.restartLimit < 0 {
		fault("restart-limit", "%d is less than none", o.restartLimit)
	}
	if o.given["tmpdir"] != "" && !filepath.IsAbs(o.tmpdir) {
		fault("tmpdir", "%q is not an absolute path", o.tmpdir)
	}
	if o.given["root"] != "" && o.root == "" {
		fault("root", "is empty")
	}
	if o.grace <= 0 {
		fault("grace-period", "%s is not a time to stop in; 25s is the default", o.grace)
	}
	if o.stopDelay < 0 || o.grace > 0 && o.stopDelay >= o.grace {
		fault("stop-delay", "%s does not fit into the grace period of %s", o.stopDelay, o.grace)
	}
	return faults
}

// origin is how a message names a flag: by what the user wrote.
func (o *options) origin(flag string) string {
	if given := o.given[flag]; given != "" {
		return given
	}
	return "--" + flag
}

func asMap(environ []string) map[string]string {
	env := make(map[string]string, len(environ))
	for _, entry := range environ {
		if name, value, ok := strings.Cut(entry, "="); ok && name != "" {
			env[name] = value
		}
	}
	return env
}
