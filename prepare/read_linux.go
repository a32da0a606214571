package prepare

import (
	"errors"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Open opens a file that is regular. A FIFO in its place would block PID 1 until
// somebody writes to it, and in a shared /tmp anybody can put one there.
func Open(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &os.PathError{Op: "open", Path: path, Err: errors.New("not a regular file")}
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// maxSmall bounds what [ReadSmall] reads.
const maxSmall = 1 << 20

// ReadSmall reads a file that is small by nature, and refuses a large one, and one that
// does not answer within [Bound].
func ReadSmall(path string) ([]byte, error) { return NewReader(Bound).Read(path) }

// readHead reads the first n bytes of a file, or what there are.
func readHead(path string, n int) ([]byte, error) {
	f, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	head := make([]byte, n)
	got, err := io.ReadFull(f, head)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return head[:got], err
}

func listed(path string) (bool, error) {
	dir, err := os.OpenFile(filepath.Dir(path), os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return false, nil //nolint:nilerr // it is for nobody to see
	}
	_ = dir.Close()
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return false, nil //nolint:nilerr // the same
	}
	f, err := Open(path)
	if err == nil {
		_ = f.Close()
	}
	return true, err
}

func readSmall(path string) ([]byte, error) {
	f, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	raw, err := io.ReadAll(io.LimitReader(f, maxSmall+1))
	if err == nil && len(raw) > maxSmall {
		err = &os.PathError{Op: "read", Path: path, Err: errors.New("larger than 1 MiB")}
	}
	return raw, err
}
