package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"

	"ak-init/health"
	"ak-init/prepare"
)

// prepared is what apply has made true and what has to be undone in the end.
type prepared struct {
	claim    *prepare.Claim
	modeFile string
	// made are directories that were not there before, in the order of making.
	made []string
}

// slashTmp is made where it is missing: programs that know no TMPDIR want it.
const slashTmp = "/tmp"

// tempDirError says that a directory that looked like a TMPDIR cannot be written.
type tempDirError struct{ error }

// apply makes the plan true on this machine. It gives all that is wrong at once, and
// what of it can be lived with as warnings. Whatever it gives, what it made is to be
// undone or finished by the caller.
func apply(p plan) (ready *prepared, warnings []error, err error) {
	ready = &prepared{}
	if made, tmpErr := prepare.MakeShared(slashTmp); tmpErr != nil {
		warnings = append(warnings, fmt.Errorf("%s is missing and cannot be made: %w", slashTmp, tmpErr))
	} else if made {
		ready.made = append(ready.made, slashTmp)
	}
	tempDir, rest := p.Directories[0], p.Directories[1:]
	if out := ready.makeDir(tempDir, p.Identity); out.Fault != nil {
		return ready, warnings, refuse(exitCannotWrite, tempDirError{out.Fault})
	}
	if ready.claim, err = prepare.Take(p.Health.Dir); err != nil {
		return ready, warnings, refuse(exitConfig, err)
	}
	var faults []error
	for _, dir := range rest {
		switch out := ready.makeDir(dir, p.Identity); {
		case out.Fault == nil:
		case out.Warning:
			warnings = append(warnings, out.Fault)
		default:
			faults = append(faults, out.Fault)
		}
	}
	if len(faults) > 0 {
		return ready, warnings, refuse(exitCannotWrite, faults...)
	}
	if err := removeStalePIDFile(p); err != nil {
		return ready, warnings, err
	}
	if err := prepare.WriteFile(p.ModeFile, p.verb.Name+"\n", 0o644); err != nil {
		// Another uid's file in a shared /dev/shm. Only authentik's own healthcheck reads it.
		warnings = append(warnings, fmt.Errorf("cannot write %s: %w; \"ak healthcheck\" will not know what runs here, \"ak-init healthcheck\" does", p.ModeFile, err))
	} else {
		ready.modeFile = p.ModeFile
	}
	return ready, warnings, nil
}

func (r *prepared) makeDir(d prepare.Dir, id prepare.Identity) prepare.Outcome {
	out := d.Make(id)
	if out.Made {
		r.made = append(r.made, d.Path)
	}
	return out
}

// removeStalePIDFile takes away what an earlier run left: dramatiq ends with code 4
// when the pid in there is somebody's by now. The writer itself may still live, under
// another init.
func removeStalePIDFile(p plan) error {
	if p.StalePIDFile == "" {
		return nil
	}
	if pid, err := health.PIDFile(p.StalePIDFile, p.verb.PIDFileHolder); err == nil {
		return refuse(exitConfig, fmt.Errorf("a %s runs already as pid %d and holds %s; stop it or give this one another TMPDIR", p.verb.Name, pid, p.StalePIDFile))
	}
	if err := os.Remove(p.StalePIDFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return refuse(exitCannotWrite, fmt.Errorf("cannot remove the pid file of an earlier run: %w", err))
	}
	return nil
}

// finish takes away what stands only while the service runs.
func (r *prepared) finish() {
	if r.modeFile != "" {
		_ = os.Remove(r.modeFile)
	}
	if r.claim != nil {
		_ = os.Remove(path.Join(r.claim.Dir, socketName))
		r.claim.Release()
	}
}

// undo leaves nothing behind after a refusal. Directories that are not empty stay.
func (r *prepared) undo() {
	r.finish()
	for _, dir := range slices.Backward(r.made) {
		_ = os.Remove(dir)
	}
}
