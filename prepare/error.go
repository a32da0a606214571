package prepare

import (
	"cmp"
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
	// As is who tried; the zero one stands for root.
	As Identity
	// Otherwise is what to do instead of putting the path right, such as a setting.
	Otherwise string
	Err       error
	// Found is what is there: owner and mode, of the nearest parent where the path is
	// missing, and what else explains the error.
	Found string
	// Fix puts the path right where the error alone does not tell how.
	Fix string
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
	fix := cmp.Or(e.Fix, e.remedy())
	if e.Otherwise != "" {
		return fix + ", or " + e.Otherwise
	}
	return fix
}

func (e *Error) Unwrap() error { return e.Err }

// remedy is what puts the path itself right, by what the kernel said.
func (e *Error) remedy() string {
	switch {
	case errors.Is(e.Err, errTooLong):
		return "take a shorter path"
	case errors.Is(e.Err, errNoSockets):
		return "mount a tmpfs there"
	case errors.Is(e.Err, syscall.EROFS):
		return "mount a writable directory there"
	case errors.Is(e.Err, errNoInodes):
		return "remove files there, or make a file system with more inodes"
	case errors.Is(e.Err, syscall.ENOSPC):
		return "make room there"
	case errors.Is(e.Err, syscall.EDQUOT):
		return "make room there or raise the quota"
	case errors.Is(e.Err, syscall.ENOTDIR):
		return "put a directory in its place"
	case errors.Is(e.Err, fs.ErrPermission) && e.Op != makeDir:
		return fmt.Sprintf("chown it to %d:%d", e.As.UID, e.As.GID)
	default:
		return fmt.Sprintf("make it, owned by %d:%d", e.As.UID, e.As.GID)
	}
}

// What the kernel's word alone does not tell.
var (
	errNoInodes  = fmt.Errorf("no inodes left: %w", syscall.ENOSPC)
	errNoSockets = errors.New("unix sockets cannot be bound there")
)

// cause is the kernel's word alone: the path stands in the line already.
func cause(err error) string {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		err = path.Err
	}
	if late, ok := errors.AsType[*hungError](err); ok {
		return fmt.Sprintf("%s within %s", ErrHung, late.bound)
	}
	switch {
	case errors.Is(err, errNoInodes):
		return "no inodes left, or as good as"
	case err == syscall.ENOSPC:
		return "the file system is full, or as good as"
	case err == syscall.EDQUOT:
		return "the disk quota of its owner, group or project is used up"
	}
	return err.Error()
}

// explain fills in what is there and, where the error alone does not tell, what to do. It
// touches the path.
func (e *Error) explain() *Error {
	if found, fix := refusedBy(e); found != "" {
		e.Found, e.Fix = found, fix
		return e
	}
	e.Found = found(e.Path) + where(e.Path, e.Err)
	return e
}

// where names the mount that a path lies on, where the error has to do with it.
func where(path string, err error) string {
	m := mountOf(path)
	if m.point == "" || errors.Is(err, errTooLong) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, fs.ErrNotExist) ||
		errors.Is(err, fs.ErrPermission) && m.local() {
		return ""
	}
	return fmt.Sprintf(", on %s mounted at %s", m, m.point)
}

// found describes a path's owner and mode, or its nearest parent's, and where a link
// leads to.
func found(path string) string {
	link := ""
	if to, err := os.Readlink(path); err == nil {
		link = "it is a link to " + to + ", "
	}
	at, st := nearest(path)
	if st == nil {
		return link + "nothing of it can be looked at"
	}
	what := "it"
	if at != path {
		what = at
	}
	return fmt.Sprintf("%s%s is owned by %d:%d, mode %04o", link, what, st.Uid, st.Gid, st.Mode&0o7777)
}

// nearest is the path, or its nearest parent that can be looked at.
func nearest(path string) (string, *syscall.Stat_t) {
	for at := path; ; at = filepath.Dir(at) {
		var st syscall.Stat_t
		if syscall.Stat(at, &st) == nil {
			return at, &st
		}
		if at == filepath.Dir(at) {
			return at, nil
		}
	}
}
