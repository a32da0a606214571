package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"ak-init/health"
	"ak-init/prepare"
)

// prepared is what apply has made true, what has to be undone in the end, and what was
// wrong.
type prepared struct {
	claim *prepare.Claim
	// modeFiles are what we wrote, by path.
	modeFiles map[string]string
	// made are directories that were not there before, in the order of making; given are
	// those that had another owner.
	made, given []string
	// findings are what was wrong, and can be lived with or not.
	findings []*finding
	// done is what else was changed.
	done []done
	// swept: what earlier runs left has been removed.
	swept bool
	// room is what TMPDIR's file system has after that.
	room prepare.Space
}

// slashTmp is made where it is missing: programs that know no TMPDIR want it.
const slashTmp = "/tmp"

// tempDirError says that a directory that looked like a TMPDIR cannot be written.
type tempDirError struct{ error }

// apply makes the plan true on this machine and tells all that is wrong with it at once.
// Whatever it gives, what it made is to be undone or finished by the caller.
func apply(p plan, tell busy) (*prepared, error) {
	r := &prepared{modeFiles: map[string]string{}}
	if p.Command == "run" {
		if p.Companion == nil {
			_ = r.claimQuietly(p.Runtime)
			return r, nil
		}
		r.claimDir(p.Runtime) // without it there would be nobody to ask
		return r, refusalOf(r.findings, false)
	}
	r.take(prepare.MakeShared(slashTmp), slashTmp)
	tempDir, rest := p.Directories[0], p.Directories[1:]
	out := r.makeTempDir(p)
	r.take(out, tempDir.Path)
	if out.Fault != nil {
		return r, failed("tmpdir", exitCannotWrite, tempDirError{out.Fault})
	}
	if p.Runtime != "" && r.claim == nil {
		r.claimDir(p.Runtime)
	}
	for i, out := range prepare.MakeAll(prepare.Bound, rest, p.Identity) {
		r.take(out, rest[i].Path)
	}
	if r.claim != nil {
		for _, s := range p.Services {
			r.removeStalePIDFile(s)
		}
	}
	if err := refusalOf(r.findings, false); err != nil {
		return r, err
	}
	r.tidy(p, tell)
	if err := refusalOf(r.findings, false); err != nil {
		return r, err
	}
	for _, s := range p.Services {
		r.writeModeFile(s)
	}
	return r, nil
}

// makeTempDir makes TMPDIR ready. One that is full may be so of metric files that an earlier
// run left: in Kubernetes /dev/shm outlives the container (authentik#10768).
func (r *prepared) makeTempDir(p plan) prepare.Outcome {
	out := p.Directories[0].Make(p.Identity)
	if !errors.Is(out.Fault, unix.ENOSPC) {
		return out
	}
	if errors.Is(r.claimQuietly(p.Runtime), unix.ENOSPC) {
		// The claim is a directory, and has found no inode. What this sweep keeps the next one
		// tells, if there is one.
		(&prepared{}).sweepAs(p, prepare.Stale.SweepOne)
		_ = r.claimQuietly(p.Runtime)
	}
	if r.claim == nil {
		return out
	}
	r.sweep(p)
	return p.Directories[0].Make(p.Identity)
}

// claimQuietly is for a program that runs as well where nobody can ask for it.
func (r *prepared) claimQuietly(dir string) error {
	if dir == "" {
		return nil
	}
	claim, err := takeClaim(dir)
	if err == nil {
		r.claim = claim
	}
	return err
}

func takeClaim(dir string) (*prepare.Claim, error) {
	return prepare.Within(prepare.Bound, dir, func() (*prepare.Claim, error) { return prepare.Take(dir) })
}

func (r *prepared) note(check string, s state, code int, err error) {
	r.findings = append(r.findings, found(check, s, code, err))
}

// take notes what came of one directory.
func (r *prepared) take(out prepare.Outcome, path string) {
	r.made = append(r.made, out.Made...)
	if out.Given {
		r.given = append(r.given, path)
	}
	switch {
	case out.Fault == nil:
	case out.Warning:
		r.note("directories", warning, exitCannotWrite, out.Fault)
	default:
		r.note("directories", wrong, exitCannotWrite, out.Fault)
	}
}

func (r *prepared) claimDir(dir string) {
	claim, err := takeClaim(dir)
	switch {
	case err == nil:
		r.claim = claim
	case errors.Is(err, prepare.ErrClaimed):
		r.note("instance", wrong, exitConfig, err)
	default:
		r.note("instance", wrong, exitCannotWrite, err)
	}
}

// removeStalePIDFile takes away what an earlier run left: dramatiq ends with code 4
// when the pid in there is somebody's by now. The writer itself may still live, under
// another init.
func (r *prepared) removeStalePIDFile(s servicePlan) {
	if s.StalePIDFile == "" {
		return
	}
	pid, err := prepare.Within(prepare.Bound, s.StalePIDFile, func() (int, error) {
		if _, err := os.Lstat(s.StalePIDFile); errors.Is(err, fs.ErrNotExist) {
			return 0, nil
		}
		if pid, err := health.PIDFile(s.StalePIDFile); err == nil {
			return pid, nil
		}
		if err := prepare.Remove(s.StalePIDFile); !errors.Is(err, fs.ErrNotExist) {
			return 0, err
		}
		return 0, nil
	})
	switch {
	case err != nil:
		r.note("instance", wrong, exitCannotWrite, fmt.Errorf("cannot remove the pid file of an earlier run: %w; we are %s", err, prepare.Self()))
	case pid > 0:
		r.note("instance", wrong, exitConfig, fmt.Errorf("a %s runs already as pid %d and holds %s; stop it or give this one another TMPDIR", s.Name, pid, s.StalePIDFile))
	}
}

// writeModeFile tells authentik's own health check what runs here. In a /dev/shm that
// is shared it may be another uid's file.
func (r *prepared) writeModeFile(s servicePlan) {
	if s.ModeFile == "" {
		return
	}
	text := s.Name + "\n"
	_, err := prepare.Within(prepare.Bound, s.ModeFile, func() (struct{}, error) {
		return struct{}{}, prepare.WriteFile(s.ModeFile, text, 0o644)
	})
	if err != nil {
		r.note("tmpdir", warning, exitCannotWrite, fmt.Errorf("cannot write %s: %w; \"ak healthcheck\" will not know what runs here, \"ak-init healthcheck\" does", s.ModeFile, err))
		return
	}
	r.modeFiles[s.ModeFile] = text
}

// finish takes away what stands only while the service runs, if TMPDIR still answers.
func (r *prepared) finish() {
	_, _ = prepare.Within(prepare.Bound, "TMPDIR", func() (struct{}, error) {
		r.takeAway()
		return struct{}{}, nil
	})
}

// takeAway leaves the mode file where it is another's by now: server and worker may share
// a TMPDIR.
func (r *prepared) takeAway() {
	for file, text := range r.modeFiles {
		if raw, err := prepare.ReadSmall(file); err == nil && string(raw) == text {
			_ = prepare.Remove(file)
		}
	}
	if r.claim != nil {
		_ = os.Remove(path.Join(r.claim.Dir, socketName))
		r.claim.Release()
	}
}

// undo leaves nothing behind after a refusal. Directories that are not empty stay.
func (r *prepared) undo() {
	r.finish()
	// Directories were made at the same time: the name alone tells parents from children.
	made := slices.Sorted(slices.Values(r.made))
	_, _ = prepare.Within(prepare.Bound, "what was made", func() (struct{}, error) {
		for _, dir := range slices.Backward(made) {
			_ = prepare.Remove(dir)
		}
		return struct{}{}, nil
	})
}
