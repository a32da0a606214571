package main

import (
	"os"
	"path/filepath"
	"strconv"

	"ak-init/authentik"
	"ak-init/prepare"
)

// When migrations are run, as --migrate has it.
const (
	migrateAuto   = "auto"
	migrateBefore = "before"
	migrateNever  = "never"
)

// databaseName is the program that asks PostgreSQL. It stands beside ak-init, or nobody asks.
const databaseName = "ak-init-database"

// watchName is the step beside others that says what migrations do.
const watchName = "watch-migrations"

// databasePlan is who waits for PostgreSQL before authentik starts.
type databasePlan struct {
	Program string `json:"program,omitempty"`
	Wait    string `json:"wait,omitempty"`
	// Left is why it is left to authentik.
	Left string `json:"left_to_authentik,omitempty"`
}

// programBeside looks for a program of ours beside ak-init; empty: it is not there.
func programBeside(name string, reader *prepare.Reader) string {
	self, err := os.Executable()
	if err != nil {
		return ""
	}
	program, err := reader.Executable(filepath.Join(filepath.Dir(self), name), "")
	if err != nil {
		return ""
	}
	return program
}

// migratesBefore tells whether the migrations are a step of ours.
func migratesBefore(o options, verb authentik.Verb) bool {
	switch {
	case verb.Migrates || verb.Interactive:
		return false
	case o.migrate == migrateAuto:
		return o.command == "all"
	default:
		return o.migrate == migrateBefore
	}
}

// skipMigrations keeps a service from migrating where that is done before, or not to be done.
// What the user says of it holds against the step, but not against --migrate never.
func (p *plan) skipMigrations(o options, f facts, verb authentik.Verb) []variable {
	name := f.release.SkipMigrations
	switch {
	case verb.Interactive, name == "":
	case verb.Migrates:
		if p.env[name] != "" { // meant for the services of the same environment
			return []variable{{name, "false", "migrations are what is asked for"}}
		}
	case o.migrate == migrateNever:
		return []variable{{name, "true", o.origin("migrate") + " never"}}
	case migratesBefore(o, verb) && p.env[name] == "":
		return []variable{{name, "true", "the migrate step has done it"}}
	}
	return nil
}

// planDatabase adds what comes before a service: the wait for PostgreSQL, the migrations where
// they are ours, and beside them, and whatever else migrates, the watch. own is what the
// environment of these steps has beside every child's.
func (p *plan) planDatabase(o options, f facts, verb authentik.Verb, own []variable) error {
	switch {
	case o.waitDatabase == 0:
		p.Database.Left = o.origin("wait-database") + " is 0"
	case f.databaseProgram == "":
		p.Database.Left = "no " + databaseName + " stands beside ak-init"
	case f.hungForDatabase() != nil: // it could keep to no bound, and not even be killed
		p.Database.Left = "a file that its settings name does not answer"
	default:
		p.Database = databasePlan{Program: f.databaseProgram, Wait: o.waitDatabase.String()}
		p.Steps = append(p.Steps, p.asking(o, f, authentik.WaitName, own, waitWords(o, f)))
		if o.migrate != migrateNever || verb.Migrates {
			watch := p.asking(o, f, watchName, own, asVersion(f, "watch"))
			watch.Aside = true
			p.Steps = append(p.Steps, watch)
		}
	}
	var faults []error
	for _, step := range f.release.Migrate {
		waits := step.Name == authentik.WaitName
		if !p.needs(waits, o, verb) {
			continue
		}
		child, err := p.step(step, f.find)
		child.Environment, child.migrates = own, !waits
		p.Steps = append(p.Steps, child)
		faults = append(faults, err)
	}
	return merged(faults...)
}

// needs tells whether one of authentik's own steps is due. Its migrations do not wait by
// themselves, nor do some services, so its wait comes before them where it is not ours.
func (p *plan) needs(waits bool, o options, verb authentik.Verb) bool {
	if waits {
		return p.Database.Left != "" && (verb.Migrates || verb.WaitFirst || migratesBefore(o, verb))
	}
	return migratesBefore(o, verb)
}

func waitWords(o options, f facts) []string {
	return asVersion(f, "wait", "--for", o.waitDatabase.String(), "--minimum", strconv.Itoa(f.release.MinimumPostgreSQL))
}

// asVersion adds which authentik is going to connect.
func asVersion(f facts, words ...string) []string {
	if f.layout.Version != "" {
		words = append(words, "--version", f.layout.Version)
	}
	return words
}

// asking is a call of ak-init-database.
func (p *plan) asking(o options, f facts, name string, own []variable, words []string) process {
	argv := append([]string{databaseName}, words...)
	argv = append(argv, "--root", f.layout.Root, "--log-format", o.logFormat, "--log-level", o.logLevel)
	return process{Name: name, Path: f.databaseProgram, Argv: argv, Dir: p.Layout.Root, Environment: own}
}
