package prepare

import (
	"errors"
	"fmt"
	"time"
)

// Bound is how long a path may take to answer. A server that is restarted, or a disk that
// spins up, takes less or is as good as gone for a start.
const Bound = 5 * time.Second

// ErrHung is for a path that does not answer: an NFS server that is away, a FUSE daemon
// that hangs. System calls on it block for ever (nfs(5), hard).
var ErrHung = errors.New("it does not answer")

// hungError is ErrHung with what did not answer, and for how long.
type hungError struct {
	what  string
	bound time.Duration
}

func (e *hungError) Error() string {
	return fmt.Sprintf("%s does not answer within %s", e.what, e.bound)
}
func (e *hungError) Is(target error) bool { return target == ErrHung }

// Within gives what fn gives, or after the bound an error that is [ErrHung] and names what.
// fn is left behind then, with its thread, and must write to nothing that others read. The
// kernel ends that thread with the process where it waits killably, as NFS does; a FUSE
// request that its daemon has read is waited for even then (fs/fuse/dev.c,
// request_wait_answer, Linux 6.18).
func Within[T any](bound time.Duration, what string, fn func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	done := make(chan answer, 1)
	go func() { // ends with fn
		value, err := fn()
		done <- answer{value, err}
	}()
	timer := time.NewTimer(bound)
	defer timer.Stop()
	select {
	case a := <-done:
		return a.value, a.err
	case <-timer.C:
		var none T
		return none, &hungError{what, bound}
	}
}

// hung makes an error of [Within] the line that says what is mounted at the path, which is
// not touched again. Other errors stay as they are.
func hung(e Error, err error) error {
	if !errors.Is(err, ErrHung) {
		return err
	}
	e.Err = err
	if e.As.Groups == nil {
		e.As = Self()
	}
	e.Found, e.Fix = mountedAt(e.Path)
	return &e
}
