package main

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"ak-init/prepare"
)

// state is how bad a finding is.
type state string

const (
	fine    state = "ok"
	warning state = "warning"
	wrong   state = "error"
)

// finding is what a check found. One that is wrong is an error, too: nothing is started.
type finding struct {
	// Check is the check's id; docs/checks.md has them all.
	Check string `json:"check"`
	State state  `json:"state"`
	// Found is what is there, Remedy what to do about it. Neither holds a secret.
	Found  string `json:"found"`
	Remedy string `json:"remedy,omitempty"`

	// code is the exit code of one that is wrong.
	code int
	err  error
	// ofRoom: it is about the room in TMPDIR, before what earlier runs left is removed.
	ofRoom bool
}

func (f *finding) Error() string {
	if f.Remedy == "" {
		return f.Found
	}
	return f.Found + "; " + f.Remedy
}

func (f *finding) Unwrap() error { return f.err }

func okay(format string, args ...any) *finding {
	return &finding{State: fine, Found: fmt.Sprintf(format, args...)}
}

func warn(remedy, format string, args ...any) *finding {
	return &finding{State: warning, Found: fmt.Sprintf(format, args...), Remedy: remedy}
}

func bad(code int, remedy, format string, args ...any) *finding {
	return &finding{State: wrong, Found: fmt.Sprintf(format, args...), Remedy: remedy, code: code}
}

// of says which check has found it.
func (f *finding) of(check string) *finding {
	f.Check = check
	return f
}

// found makes a finding of an error, and of the remedy that one about a path knows.
func found(check string, s state, code int, err error) *finding {
	f := &finding{Check: check, State: s, Found: err.Error(), code: code, err: err}
	if e, ok := errors.AsType[*prepare.Error](err); ok && e.Error() == err.Error() {
		f.Found, f.Remedy = e.What(), e.Remedy()
	}
	f.Found = strings.ReplaceAll(f.Found, "\n", "; ")
	return f
}

// failed refuses to start because of what one check found.
func failed(check string, code int, faults ...error) error {
	r := refuse(code)
	for _, fault := range faults {
		r.faults = append(r.faults, found(check, wrong, code, fault))
	}
	return r
}

// findingsOf gives a refusal's faults as findings. What no check has found is of the command
// line.
func findingsOf(err error) []*finding {
	if err == nil {
		return nil
	}
	var all []*finding
	r := asRefusal(err)
	for _, fault := range r.faults {
		f, ok := errors.AsType[*finding](fault)
		if !ok {
			f = found("command-line", wrong, r.code, fault)
		}
		all = append(all, f)
	}
	return all
}

// refusalOf is what keeps authentik from starting: all that is wrong, and the warnings as
// well where they are to count. Nil where nothing is.
func refusalOf(findings []*finding, strict bool) error {
	r := refuse(0)
	for _, f := range findings {
		if f.State == wrong || strict && f.State == warning {
			r.faults = append(r.faults, f)
			r.code = mixed(r.code, cmp.Or(f.code, exitConfig))
		}
	}
	if len(r.faults) == 0 {
		return nil
	}
	return r
}

// mixed is the exit code of two faults: their own where it is the same, else that of a
// configuration that is refused. A command line that makes no sense comes before all that was
// found by it.
func mixed(a, b int) int {
	switch {
	case a == 0 || a == b:
		return b
	case a == exitUsage || b == exitUsage:
		return exitUsage
	case a == exitInternal || b == exitInternal:
		return exitInternal
	default:
		return exitConfig
	}
}
