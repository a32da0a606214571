package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ak-init/completion"
	"ak-init/health"
	"ak-init/prepare"
	"ak-init/supervise"
)

// validate judges what was parsed, all of it at once.
func (o *options) validate() error {
	if o.output == "svg" && o.command != "status" && !strings.HasPrefix(o.given["output"], "--") {
		o.output = "text" // a twin is meant for status, which alone is drawn
	}
	if o.command == "healthcheck" {
		o.question = cmp.Or(o.question, health.Live)
	}
	faults := append(o.commandFaults(), o.flagFaults()...)
	if err := o.takeJSON(); err != nil {
		faults = append(faults, err)
	}
	if len(faults) > 0 {
		return refuse(exitUsage, faults...)
	}
	return nil
}

// takeJSON has --json stand for --output json. Of the two a flag beats a twin.
func (o *options) takeJSON() error {
	asked, chosen := strings.HasPrefix(o.given["json"], "--"), strings.HasPrefix(o.given["output"], "--")
	switch {
	case !o.json || chosen && !asked:
		return nil
	case !slices.Contains(outputs(), o.output): // which is said of it alone
		return nil
	case chosen && o.output != "json":
		return fmt.Errorf("--json and --output %s are different", o.output)
	}
	o.output = "json"
	return nil
}

// outputs are what --output knows.
func outputs() []string { return []string{"text", "json", "svg", "docker"} }

// commandFaults judges the words.
func (o *options) commandFaults() []error {
	switch o.command {
	case "worker":
		if err := o.noOtherCommand(); err != nil {
			return []error{err}
		}
	case "healthcheck", "status", "check", "env", "completion":
		if err := o.onlyOneOf(); err != nil {
			return []error{err}
		}
	case "install":
		if err := o.noDirectory(); err != nil {
			return []error{err}
		}
	case "run":
		if len(o.args) == 0 || o.args[0] == "" {
			return []error{errors.New("run needs a program: ak-init run -- PROGRAM [ARG...]")}
		}
	}
	return append(o.strayFlags(), o.pictureFaults()...)
}

// noOtherCommand is for the worker, whose words go to Python: that knows no such one, and fails
// at each start.
func (o *options) noOtherCommand() error {
	if len(o.args) > 0 && slices.Contains([]string{"server", "worker", "all", "allinone", "migrate"}, o.args[0]) {
		return fmt.Errorf("worker takes no other command, and got %q: all is server and worker in one container", o.args[0])
	}
	return nil
}

// wordsOf are the words of which a command takes one.
func wordsOf(command string) []string {
	return map[string][]string{
		"healthcheck": {"server", "worker", "run"},
		"status":      {"server", "worker", "run"},
		"check":       {"server", "worker", "all", "migrate"},
		"env":         {"server", "worker", "all", "migrate", "manage", "bash"},
		"completion":  completion.Shells(),
	}[command]
}

// onlyOneOf wants one of those words, or none.
func (o *options) onlyOneOf() error {
	allowed := wordsOf(o.command)
	needed := o.command == "completion"
	switch {
	case len(o.args) == 0 && !needed, len(o.args) == 1 && slices.Contains(allowed, o.args[0]):
		return nil
	case needed:
		return fmt.Errorf("completion needs one of %s: ak-init completion bash", strings.Join(allowed, ", "))
	default:
		return fmt.Errorf("%s takes %s or nothing, not %q", o.command, strings.Join(allowed, ", "), strings.Join(o.args, " "))
	}
}

// noDirectory is for install.
func (o *options) noDirectory() error {
	if len(o.args) == 1 && o.args[0] != "" {
		return nil
	}
	return errors.New("install needs one directory: ak-init install DIR, such as the one that authentik's ak lies in")
}

// starts are the commands that start something.
func starts() []string { return slices.Concat(servesHTTP(), oneTime()) }

// takers are the commands that a flag means something to. One that is not here does no
// harm anywhere.
func (o *options) takers() map[string][]string {
	looks := []string{"check", "env"} // at what a start with the same flags would do
	service := slices.Concat(servesHTTP(), looks)
	database := slices.Concat([]string{"server", "worker", "all", "migrate"}, looks)
	prints := slices.Concat(looks, []string{"healthcheck", "status"})
	if o.dryRun {
		prints = slices.Concat(prints, starts())
	}
	question, status := []string{"healthcheck"}, []string{"status"}
	return map[string][]string{
		"restart": service, "restart-limit": service, "stop-delay": service, "success-exit": service, "health-listen": service,
		"wait-database": database, "migrate": database,
		string(health.Live): question, string(health.Ready): question, string(health.Started): question,
		"watch": status, "timeline": status,
		"output": prints, "json": prints,
	}
}

// strayFlags are those of another command. A twin in the container's environment is meant
// for that one.
func (o *options) strayFlags() (faults []error) {
	if o.command == "help" {
		return nil
	}
	takers := o.takers()
	for _, flag := range slices.Sorted(maps.Keys(takers)) {
		if !strings.HasPrefix(o.given[flag], "--") || slices.Contains(takers[flag], o.command) {
			continue
		}
		if flag == "output" && o.output != "text" && o.output != "json" { // of which pictureFaults says more
			continue
		}
		hint := ""
		switch {
		case (flag == "output" || flag == "json") && slices.Contains(starts(), o.command):
			hint = ", unless with --dry-run; --log-format is for its lines"
		case o.command == "worker": // dramatiq has a --watch
			hint = `; what is meant for the worker itself goes behind "--"`
		}
		faults = append(faults, fmt.Errorf("--%s is for %s, not for %s%s", flag, strings.Join(takers[flag], ", "), o.command, hint))
	}
	return faults
}

// pictureFaults are about what is drawn: only a status is, and as SVG only once.
func (o *options) pictureFaults() (faults []error) {
	if o.output == "svg" && (o.command != "status" || !o.timeline || o.watch) {
		faults = append(faults, fmt.Errorf("%s svg is one picture, for status --timeline", o.origin("output")))
	}
	if o.output == "docker" && o.command != "env" {
		faults = append(faults, fmt.Errorf("%s docker is for env", o.origin("output")))
	}
	return faults
}

// flagFault says what is wrong with a flag.
func (o *options) flagFault(flag, what string) error {
	apart := " "
	if !strings.HasPrefix(o.given[flag], "--") { // behind where a twin stands
		apart = ": "
	}
	return errors.New(o.origin(flag) + apart + what)
}

func (o *options) flagFaults() (faults []error) {
	fault := func(flag, format string, args ...any) {
		faults = append(faults, o.flagFault(flag, fmt.Sprintf(format, args...)))
	}
	oneOf := func(flag, value string, allowed ...string) {
		if !slices.Contains(allowed, value) {
			fault(flag, "%s is none of %s", o.shown(flag, value), strings.Join(allowed, ", "))
		}
	}
	oneOf("log-format", o.logFormat, "auto", "json", "console")
	oneOf("log-level", o.logLevel, "debug", "info", "warning", "error")
	oneOf("output", o.output, outputs()...)
	oneOf("fix-ownership", o.fixOwnership, string(prepare.FixNever), string(prepare.FixWrong), string(prepare.FixAlways))
	oneOf("restart", o.restart, string(supervise.Never), string(supervise.OnFailure), string(supervise.Always))
	oneOf("migrate", o.migrate, migrateAuto, migrateBefore, migrateNever)
	if o.waitDatabase < 0 {
		fault("wait-database", "%s is less than no time; 5m is the default, and 0 leaves the wait to authentik", o.waitDatabase)
	}
	if o.restartLimit < 0 {
		fault("restart-limit", "%d is less than none; 5 is the default, and 0 is without end", o.restartLimit)
	}
	if o.given["tmpdir"] != "" && !filepath.IsAbs(o.tmpdir) {
		fault("tmpdir", "%s is not an absolute path", o.shown("tmpdir", o.tmpdir))
	}
	notEmpty := func(flag, value string) {
		if o.given[flag] != "" && value == "" {
			fault(flag, "is empty")
		}
	}
	notEmpty("root", o.root)
	notEmpty("user", o.user)
	o.timeFaults(fault)
	return faults
}

// timeFaults are about what a stop and a service may take.
func (o *options) timeFaults(fault func(flag, format string, args ...any)) {
	if o.grace <= 0 {
		fault("grace-period", "%s is not a time to stop in; 25s is the default", o.grace)
	}
	if o.stopDelay < 0 || o.grace > 0 && o.stopDelay >= o.grace {
		fault("stop-delay", "%s does not fit into the grace period of %s", o.stopDelay, o.grace)
	}
	if o.liveThreshold < time.Second {
		fault("live-threshold", "%s is less than a second, in which nobody is asked twice; 30s is the default", o.liveThreshold)
	}
}
