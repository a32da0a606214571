package prepare

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Claim is a directory that belongs to one live ak-init alone: the kernel drops the
// lock with the process that holds it, however that ends.
type Claim struct {
	Dir  string
	lock *os.File
}

// ErrClaimed is for a directory whose owner lives.
var ErrClaimed = errors.New("another ak-init of this kind runs with this TMPDIR; give each a TMPDIR of its own")

// Take claims dir, making it 0700 if need be.
func Take(dir string) (*Claim, error) {
	// The one that ran before may remove its directory between our opening and our
	// locking it; then what we hold has no name any more.
	for range 3 {
		c, err := take(dir)
		if !errors.Is(err, fs.ErrNotExist) {
			return c, err
		}
	}
	return nil, fmt.Errorf("%s vanishes again and again", dir)
}

func take(dir string) (*Claim, error) {
	switch err := os.Mkdir(dir, 0o700); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s does not exist; make it or set another TMPDIR", filepath.Dir(dir))
	case err != nil && !errors.Is(err, fs.ErrExist):
		return nil, claimError(dir, err)
	}
	lock, err := os.OpenFile(dir, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err != nil {
		return nil, claimError(dir, err)
	}
	if err := claim(lock, dir); err != nil {
		_ = lock.Close()
		return nil, err
	}
	return &Claim{Dir: dir, lock: lock}, nil
}

func claim(lock *os.File, dir string) error {
	held, err := lock.Stat()
	if err != nil {
		return err
	}
	if !isOwn(held, os.Geteuid()) {
		return claimError(dir, errors.New("somebody else made it, or opened it to others"))
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("%s: %w", filepath.Dir(dir), ErrClaimed)
		}
		return claimError(dir, err)
	}
	if err := lock.Chmod(0o700); err != nil {
		return claimError(dir, err)
	}
	named, err := os.Lstat(dir)
	if err == nil && !os.SameFile(held, named) {
		return fs.ErrNotExist
	}
	return err
}

// IsClaimed tells whether somebody alive holds dir, or may hold it: one that another uid made
// cannot be asked. One that does not answer within [Bound] is nobody's.
func IsClaimed(dir string) bool {
	claimed, _ := Within(Bound, dir, func() (bool, error) { return isClaimed(dir), nil })
	return claimed
}

func isClaimed(dir string) bool {
	lock, err := os.OpenFile(dir, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return errors.Is(err, fs.ErrPermission)
	}
	defer func() { _ = lock.Close() }()
	// A shared lock does not disturb one that is just being taken for more than a moment.
	return errors.Is(unix.Flock(int(lock.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK)
}

func claimError(dir string, err error) error {
	return &Error{Op: "claim", Path: dir, For: "ak-init's own", As: Self(), Err: err, Found: found(dir), Otherwise: "remove it"}
}

// LetIn lets other uids come to a socket in there, by its name. It goes by the directory that
// is held: the path to it may be a child's to change.
func (c *Claim) LetIn(socket string) error {
	return errors.Join(unix.Fchmodat(int(c.lock.Fd()), socket, 0o666, 0), c.lock.Chmod(0o711))
}

// Release removes the directory, if nothing lies in it any more, and lets go of it.
func (c *Claim) Release() {
	_ = os.Remove(c.Dir)
	_ = c.lock.Close()
}
