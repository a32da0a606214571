package prepare

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// socketFor is [Reader.Socket], without a bound.
func socketFor(path string, id Identity) (there string, err error) {
	info, err := os.Stat(path)
	if err != nil || info.Mode().Type()&os.ModeSocket == 0 || !filepath.IsAbs(path) {
		return "", nil //nolint:nilerr // no socket is no fault
	}
	return path, As(id, func() error {
		return access(unix.AT_FDCWD, path, unix.W_OK)
	})
}
