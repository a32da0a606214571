package main

import (
	"errors"
	"strings"
)

// Exit codes of ak-init's own; otherwise it ends with the service's. The numbers are
// those of sysexits(3) and of a shell.
const (
	exitHealthy       = 0
	exitUnhealthy     = 1 // all that healthcheck ever gives besides 0: Docker reserves the rest
	exitUsage         = 64
	exitUnavailable   = 69
	exitInternal      = 70
	exitCannotWrite   = 73
	exitNoPermission  = 77
	exitConfig        = 78
	exitNotExecutable = 126
	exitNotFound      = 127
)

// refusal is why nothing is started: all that is wrong, a line each, and the exit
// code that says of which kind the first of it is.
type refusal struct {
	code   int
	faults []error
}

func refuse(code int, faults ...error) *refusal { return &refusal{code, faults} }

func (r *refusal) Error() string {
	lines := make([]string, len(r.faults))
	for i, f := range r.faults {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "\n")
}

func (r *refusal) Unwrap() []error { return r.faults }

// asRefusal makes every error one: what nobody gave a code is a fault of ak-init.
func asRefusal(err error) *refusal {
	if r, ok := errors.AsType[*refusal](err); ok {
		return r
	}
	return refuse(exitInternal, err)
}

// codeOf is a refusal's exit code, 0 for none.
func codeOf(err error) int {
	if err == nil {
		return 0
	}
	return asRefusal(err).code
}

// merged makes one refusal of many, each fault once; nil where there is none.
func merged(errs ...error) error {
	var all *refusal
	said := map[string]bool{}
	for _, err := range errs {
		if err == nil {
			continue
		}
		r := asRefusal(err)
		if all == nil {
			all = refuse(0)
		}
		all.code = mixed(all.code, r.code)
		for _, fault := range r.faults {
			if !said[fault.Error()] {
				said[fault.Error()] = true
				all.faults = append(all.faults, fault)
			}
		}
	}
	if all == nil {
		return nil
	}
	return all
}
