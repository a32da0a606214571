// Command ak-init starts, stops and watches authentik in its container: PID 1,
// launcher and health check in one static binary.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"ak-init/logs"
	"ak-init/prepare"
	"ak-init/supervise"
)

// version is ak-init's own.
const version = "0.1.0"

func main() {
	// Nothing here computes, but for ownership (tidy.go): a second processor costs each start
	// threads that look for work and find none.
	runtime.GOMAXPROCS(1)
	switch os.Args[0] {
	case supervise.GuardName:
		os.Exit(guard(os.Stderr))
	case pauseName:
		for { // until a signal ends it
			_, _ = unix.Poll(nil, -1)
		}
	default:
		os.Exit(run(os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
	}
}

// run is the way through the house: parse, layout and configuration, plan, prepare,
// supervise, exit code. Each step takes what the one before it gave.
func run(args, environ []string, stdout, stderr *os.File) int {
	begun := time.Now()
	var caught *supervise.Signals
	if len(args) == 0 || args[0] != "healthcheck" { // that one supervises nothing, and is quick
		caught = supervise.Catch() // before anything else: no signal may be lost
	}
	opts, err := parseAs(filepath.Base(os.Args[0]), args, environ)
	if err != nil {
		code := usageFault(asRefusal(err), stderr)
		if opts.command == "healthcheck" {
			return exitUnhealthy
		}
		return code
	}
	switch opts.command {
	case "healthcheck":
		return healthcheck(opts, careless(stdout.Fd()), careless(stderr.Fd()))
	case "check":
		supervise.WriteFromBackground()
		return checkCommand(opts, caught, stdout)
	case "help", "version", "status", "env", "install", "completion":
		if err := tell(opts, caught, stdout, stderr); err != nil {
			return usageFault(asRefusal(err), stderr)
		}
		return 0
	}
	log := newLogger(opts, stderr)
	defer log.Close()
	code, err := start(opts, caught, log, stdout, begun)
	if err != nil {
		refusal := asRefusal(err)
		log.refused(refusal)
		return refusal.code
	}
	return code
}

// tell is for the commands that print something and end.
func tell(o options, caught *supervise.Signals, stdout, stderr *os.File) error {
	supervise.WriteFromBackground()
	switch o.command {
	case "help":
		_, err := fmt.Fprint(stdout, usage, flagSet(&options{}).FlagUsages())
		return err
	case "version":
		_, err := fmt.Fprintln(stdout, "ak-init", version)
		return err
	case "status":
		return showStatus(o, caught, stdout)
	case "env":
		return showEnvironment(o, stdout, careless(stderr.Fd()))
	case "install":
		return install(o, caught, stdout)
	case "completion":
		return writeCompletion(o, stdout)
	}
	return nil
}

// start goes from options to exit code. A TMPDIR that looked usable and cannot be
// written after all makes another plan, with the next in the chain.
func start(opts options, caught *supervise.Signals, log *logger, stdout *os.File, begun time.Time) (int, error) {
	manager := newManager(opts, log)
	defer manager.close()
	unusable := map[string]error{}
	if !opts.dryRun {
		caught.Guarded()
		defer caught.Unguarded()
	}
	for {
		ahead := lookPatiently(opts, unusable)
		plan, err := ahead.plan, ahead.err
		refused := refusalOf(plan.Findings, false)
		if opts.dryRun && err == nil {
			supervise.WriteFromBackground()
			return codeOf(refused), show(plan, opts.output, stdout)
		}
		if err == nil && refused != nil {
			err = refusalOf(lookAt(plan), false) // all at once, not one at each start
		}
		if err := merged(refused, err); err != nil {
			log.warnings(plan.Findings) // which may be what explains it
			return 0, err
		}
		ready, err := apply(plan, func(what, path string, looked, changed int) bool {
			log.busy(what, path, looked, changed)
			manager.extend(stillEvery)
			return !caught.Stopping()
		})
		if err == nil {
			err = log.prepared(plan, ready, opts.strict)
		}
		if err == nil {
			return launch(plan, ready, caught, log, newCourse(plan, begun, log, manager)), nil
		}
		log.changed(plan, ready.given)
		ready.undo()
		fault, ok := errors.AsType[tempDirError](err)
		if !ok || plan.TempDir.explicit {
			return 0, err
		}
		unusable[plan.TempDir.Path] = fault
	}
}

// prospects are what a survey has found and what is planned by it, as far as both could be
// made; err is why not all of it.
type prospects struct {
	facts facts
	plan  plan
	err   error
}

// lookPatiently is lookAhead, where some path may never answer.
func lookPatiently(o options, unusable map[string]error) prospects {
	ahead, silence := prepare.Patiently(prepare.Bound, func(r *prepare.Reader) prospects { return lookAhead(o, unusable, r) })
	if silence != nil {
		return prospects{err: failed("file-systems", exitConfig, silence)}
	}
	return ahead
}

func lookAhead(o options, unusable map[string]error, reader *prepare.Reader) prospects {
	facts, surveyErr := survey(o, unusable, reader)
	if facts.layout.Root == "" && surveyErr != nil {
		return prospects{facts: facts, err: surveyErr}
	}
	plan, planErr := makePlan(o, facts)
	return prospects{facts, plan, merged(surveyErr, planErr)}
}

// guard is what this program is beside another ak-init, to end its children should it be
// killed. It says so as that one would have.
func guard(stderr *os.File) int {
	killed := supervise.Guard(os.Stdin)
	log := newLogger(options{logFormat: "auto", logLevel: "info"}, stderr)
	defer log.Close()
	log.Error("ak-init was killed, and so are its children", logs.Num("killed", killed))
	return 0
}

func usageFault(r *refusal, stderr *os.File) int {
	supervise.WriteFromBackground()
	for _, fault := range r.faults {
		_, _ = fmt.Fprintln(careless(stderr.Fd()), "ak-init:", oneLine(fault))
	}
	return r.code
}
