package prepare

import (
	"cmp"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// WriteFile puts a small file in place whole, replacing what has its name: neither a
// link nor another uid's file in a sticky directory is ever written through
// (proc_sys_fs(5), protected_regular). Root is not led elsewhere by a link of somebody
// else's on the way.
func WriteFile(path, content string, mode fs.FileMode) error {
	dir, err := openDirOf(path)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(dir) }()
	temp := fmt.Sprintf(".ak-init-%x", rand.Uint64())
	fd, err := openat(dir, temp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return &fs.PathError{Op: "create", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	_, err = f.WriteString(content)
	err = cmp.Or(err, f.Chmod(mode), f.Close())
	if err == nil {
		err = renameat(dir, temp, filepath.Base(path))
	}
	if err != nil {
		_ = unlinkat(dir, temp, 0)
	}
	return err
}

// Remove removes a file or an empty directory. Root is not led elsewhere by a link of somebody
// else's on the way. An error is a [fs.PathError].
func Remove(path string) error {
	dir, err := openDirOf(path)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(dir) }()
	name := filepath.Base(path)
	err = unlinkat(dir, name, 0)
	if err == unix.EISDIR {
		err = unlinkat(dir, name, unix.AT_REMOVEDIR)
	}
	if err != nil {
		return &fs.PathError{Op: "remove", Path: path, Err: err}
	}
	return nil
}

// openDirOf opens the directory that a path lies in, to work in it by names.
func openDirOf(path string) (int, error) { return openPlace(filepath.Dir(path)) }

// openPlace opens a directory to work in it by names. Who is not root has no rights that
// somebody could want to lead elsewhere.
func openPlace(dir string) (int, error) {
	if os.Geteuid() != 0 {
		fd, err := openat(unix.AT_FDCWD, dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return -1, &fs.PathError{Op: "open", Path: dir, Err: err}
		}
		return fd, nil
	}
	w, err := goAlong(dir)
	if err != nil {
		return -1, err
	}
	if w.missing != "" {
		w.close()
		return -1, &fs.PathError{Op: "open", Path: dir, Err: unix.ENOENT}
	}
	return w.fd, nil
}
