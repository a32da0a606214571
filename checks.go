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
			f.Check = one.id
			all = append(all, f)
		}
	}
	return all
}

// laterChecks are made by doing, or trying, the thing itself.
func laterChecks() []check {
	return []check{
		{id: "command-line", looks: "the words and flags that ak-init was given", goesWrong: "error 64"},
		{id: "programs", looks: "the programs of steps and services, in the children's PATH", goesWrong: "error 127 for one that is missing, 126 for one that cannot be executed"},
		{id: "instance", looks: "another live ak-init or service with the same TMPDIR", goesWrong: "error 78: two of a kind take each other's sockets"}, // pains 6, 11
		// Pain 1.
		{id: "directories", looks: "every directory that the children write to, by writing as they will", goesWrong: "error 73; a warning where authentik runs without"},
	}
}
