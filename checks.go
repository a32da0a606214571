package main

import (
	"slices"
)

// check is one thing that is looked at before authentik starts.
type check struct {
	// id stays the same from version to version.
	id string
	// looks is what it looks at, goesWrong what it says besides ok and what follows, for the
	// page of all checks.
	looks, goesWrong string
	// judge is pure. Checks without one are made where the thing itself is done: in the
	// survey, when a directory is made, by asking PostgreSQL.
	judge func(circumstances) []*finding
}

// circumstances are all that a check may go by.
type circumstances struct {
	options options
	facts   facts
	plan    *plan
}

// serves tells whether a service of that name is going to run.
func (c circumstances) serves(name string) bool {
	return c.options.command == name || c.options.command == "all"
}

// checks are all of them, in the order in which they are told.
func checks() []check {
	return slices.Concat(installationChecks(), settingsChecks(), surroundingChecks(), laterChecks())
}

// judge makes every check that needs no more than circumstances.
func judge(c circumstances) []*finding {
	var all []*finding
	for _, one := range checks() {
		if one.judge == nil {
			continue
		}
		for _, f := range one.judge(c) {
			all = append(all, f.of(one.id))
		}
	}
	return all
}

// laterChecks are made by doing, or trying, the thing itself.
func laterChecks() []check {
	return []check{
		// Pain 30.
		{id: "command-line", looks: "the words and flags that ak-init was given", goesWrong: "error 64; called as ak a warning for words that lifecycle/ak drops", judge: judgeWords},
		{id: "programs", looks: "the programs of steps and services, in the children's PATH", goesWrong: "error 127 for one that is missing, 126 for one that cannot be executed"},
		{id: "instance", looks: "another live ak-init or service with the same TMPDIR", goesWrong: "error 78: two of a kind take each other's sockets"}, // pains 6, 11
		// Pains 1, 18, 27.
		{id: "directories", looks: "every directory that the children write to, by writing as they will", goesWrong: "error 73; a warning where authentik runs without"},
		// Pain 15.
		{id: "ownership", looks: "every file in what root gives to the children, and whether they can read certificates, blueprints and templates", goesWrong: "warning for what cannot be put right; what can is"},
		// Pains 2, 6, 11.
		{id: "leftovers", looks: "sockets, pid files and metric files of an earlier run, which are removed", goesWrong: "error 78 for a socket that answers; warning for what cannot be removed"},
		// Pains 19, 20, 9 for upgrade-path, 7 for database-timeouts and migration-lock.
		{id: "database-settings", looks: "the settings of PostgreSQL", goesWrong: "warning for what authentik ignores"},
		{id: "database", looks: "whether PostgreSQL lets us in", goesWrong: "error 69 with the cause, 78 for settings that can be right nowhere"},
		{id: "database-version", looks: "its version", goesWrong: "error 69 where it is too old for the release"},
		{id: "database-timeouts", looks: "the timeouts that it has for authentik's role", goesWrong: "warning for one below ten minutes: it ends migrations, or the wait for their lock"},
		{id: "upgrade-path", looks: "the last version that ran with this database", goesWrong: "warning for a downgrade, or a release that was skipped"},
		{id: "migration-lock", looks: "who holds the lock that migrations take", goesWrong: "warning: a start waits for it"},
		{id: "database-replica", looks: "each read replica", goesWrong: "warning: authentik starts without"},
	}
}
