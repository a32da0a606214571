// Command ak-init-database asks the PostgreSQL that authentik is to use. ak-init runs it as
// a step with the environment and the user of authentik's own processes, so that it is let
// in, or kept out, as they will be. It is a program of its own because whoever links a
// PostgreSQL client pays for it at every start and in every idle minute.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"ak-init/logs"
)

// Exit codes, those of sysexits(3).
const (
	exitUsage       = 64
	exitUnavailable = 69
	exitConfig      = 78
)

// options is what argv says, and the environment.
type options struct {
	command string
	root    string
	// patience is how long wait waits, every how often watch looks.
	patience, every time.Duration
	// minimum is the oldest major version of PostgreSQL that will do, 0 for any.
	minimum int
	// version is authentik's, empty where it is not known.
	version             string
	logFormat, logLevel string
	env                 map[string]string
}

const usage = `ak-init-database asks the PostgreSQL that authentik is to use. ak-init runs it.

Usage:
  ak-init-database wait    wait until it can be used
  ak-init-database check   ask once; a line of JSON for each thing that was looked at
  ak-init-database watch   say what migrations do until there are none

Flags:
`

func main() {
	// A log reader that goes away must not end a start: without this, writing to a closed fd 2
	// kills the process (os/signal, SIGPIPE).
	signal.Ignore(syscall.SIGPIPE)
	os.Exit(run(os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

func run(args, environ []string, stdout, stderr *os.File) int {
	o, err := parse(args, environ)
	if errors.Is(err, pflag.ErrHelp) {
		_, _ = fmt.Fprint(stdout, usage, flagSet(&options{}).FlagUsages())
		return 0
	}
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "ak-init-database:", err)
		return exitUsage
	}
	log := logs.New(logs.Style{Level: o.logLevel, Format: o.logFormat, Plain: o.env["NO_COLOR"] != ""}, stderr)
	defer log.Close()
	switch o.command {
	case "wait":
		return wait(o, log)
	case "watch":
		return watch(o, log)
	default:
		return check(o, stdout)
	}
}

func flagSet(o *options) *pflag.FlagSet {
	fs := pflag.NewFlagSet("ak-init-database", pflag.ContinueOnError)
	fs.SortFlags = false
	fs.Usage = func() {}
	fs.StringVar(&o.root, "root", "/", "authentik's root `DIR`")
	fs.DurationVar(&o.patience, "for", 5*time.Minute, "wait: how long")
	fs.DurationVar(&o.every, "every", 30*time.Second, "watch: how often to look")
	fs.IntVar(&o.minimum, "minimum", 0, "wait, check: the oldest major version `N` that will do; 0: any")
	fs.StringVar(&o.version, "version", "", "authentik's `VERSION`, which decides how it connects and is compared with the one that migrated last")
	fs.StringVar(&o.logFormat, "log-format", "auto", "`auto|json|console`")
	fs.StringVar(&o.logLevel, "log-level", "info", "`debug|info|warning|error`")
	return fs
}

func parse(args, environ []string) (options, error) {
	o := options{env: map[string]string{}}
	fs := flagSet(&o)
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	o.command = fs.Arg(0)
	switch {
	case fs.NArg() != 1 || o.command != "wait" && o.command != "check" && o.command != "watch":
		return o, fmt.Errorf("%q is none of wait, check and watch", strings.Join(fs.Args(), " "))
	case o.patience < 0 || o.every <= 0:
		return o, errors.New("no time can be less than nothing, and --every must be more")
	}
	for _, entry := range environ {
		if name, value, ok := strings.Cut(entry, "="); ok {
			o.env[name] = value
		}
	}
	return o, nil
}
