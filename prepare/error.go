package prepare

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Error is one thing that is wrong with one path, in one line that says what, where,
// as whom, and what to do.
type Error struct {
	// Op is what could not be done, as "write to".
	Op   string
	Path string
	// For is what the path is needed for, as "uploads".
	For string
	// As is who tried.
	As Identity
	// Hint is what to do about it.
	Hint string
	Err  error
	// Found is owner and mode of the path, or of its nearest parent that exists.
	Found string
}

func (e *Error) Error() string {
	s := fmt.Sprintf("cannot %s %s", e.Op, e.Path)
	if e.For != "" {
		s += " (" + e.For + ")"
	}
	s += fmt.Sprintf(": %s; %s; we are %s", cause(e.Err), e.Found, e.As)
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// cause is the kernel's word alone: the path stands in the line already.
func cause(err error) string {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		err = path.Err
	}
	if err == syscall.ENOSPC {
		return "the file system is full"
	}
	return err.Error()
}

// found describes a path's owner and mode, or its nearest parent's.
func found(path string) string {
	for at := path; ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		if err != nil && at != filepath.Dir(at) {
			continue
		}
		if err != nil {
			return "nothing of it can be looked at"
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return "its owner is unknown"
		}
		what := "it"
		if at != path {
			what = at
		}
		return fmt.Sprintf("%s is owned by %d:%d, mode %04o", what, st.Uid, st.Gid, st.Mode&0o7777)
	}
}
