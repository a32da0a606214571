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
	// Otherwise is what to do instead of putting the path right, such as a setting.
	Otherwise string
	Err       error
	// Found is what is there: owner and mode, of the nearest parent where the path is
	// missing.
	Found string
}

func (e *Error) Error() string { return e.What() + "; " + e.Remedy() }

// What is the error without what to do about it.
func (e *Error) What() string {
	s := fmt.Sprintf("cannot %s %s", e.Op, e.Path)
	if e.For != "" {
		s += " (" + e.For + ")"
	}
	return s + fmt.Sprintf(": %s; %s; we are %s", cause(e.Err), e.Found, e.As)
}

// Remedy is what to do about it.
func (e *Error) Remedy() string {
	if e.Otherwise != "" {
		return e.remedy() + ", or " + e.Otherwise
	}
	return e.remedy()
}

func (e *Error) Unwrap() error { return e.Err }

// remedy is what puts the path itself right, by what the kernel said.
func (e *Error) remedy() string {
	switch {
	case errors.Is(e.Err, errTooLong):
		return "take a shorter path"
	case errors.Is(e.Err, syscall.EROFS):
		return "mount a writable directory there"
	case errors.Is(e.Err, syscall.ENOSPC):
		return "make room there"
	case errors.Is(e.Err, syscall.ENOTDIR):
		return "put a directory in its place"
	case errors.Is(e.Err, fs.ErrPermission) && e.Op != makeDir:
		return fmt.Sprintf("chown it to %d:%d", e.As.UID, e.As.GID)
	default:
		return fmt.Sprintf("make it, owned by %d:%d", e.As.UID, e.As.GID)
	}
}

// cause is the kernel's word alone: the path stands in the line already.
func cause(err error) string {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		err = path.Err
	}
	if err == syscall.ENOSPC {
		return "the file system is full, or as good as"
	}
	return err.Error()
}

// found describes a path's owner and mode, or its nearest parent's, and where a link
// leads to.
func found(path string) string {
	link := ""
	if to, err := os.Readlink(path); err == nil {
		link = "it is a link to " + to + ", "
	}
	at := path
	info, err := os.Stat(at)
	for err != nil && at != filepath.Dir(at) {
		at = filepath.Dir(at)
		info, err = os.Stat(at)
	}
	if err != nil {
		return link + "nothing of it can be looked at"
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return link + "its owner is unknown"
	}
	what := "it"
	if at != path {
		what = at
	}
	return fmt.Sprintf("%s%s is owned by %d:%d, mode %04o", link, what, st.Uid, st.Gid, st.Mode&0o7777)
}
