package prepare

import "golang.org/x/sys/unix"

// interrupts is how often a call is made again. Who answers nothing else is told as such.
const interrupts = 100

// again makes a system call anew that was interrupted. A file system of the kernel's own puts
// a signal off, or the kernel begins anew by itself (signal(7), SA_RESTART), and Go's runtime
// sends its threads signals; but a FUSE daemon may answer EINTR, and CIFS does (Go's
// os/file_posix.go, ignoringEINTR, with the reports).
func again(call func() error) (err error) {
	for range interrupts {
		if err = call(); err != unix.EINTR {
			return err
		}
	}
	return err
}

func openat(at int, path string, flags int, mode uint32) (fd int, err error) {
	err = again(func() error {
		fd, err = unix.Openat(at, path, flags, mode)
		return err
	})
	return fd, err
}

func fstatat(at int, path string, st *unix.Stat_t, flags int) error {
	return again(func() error { return unix.Fstatat(at, path, st, flags) })
}

func getdents(fd int, buf []byte) (n int, err error) {
	err = again(func() error {
		n, err = unix.Getdents(fd, buf)
		return err
	})
	return n, err
}

func fstat(fd int, st *unix.Stat_t) error {
	return again(func() error { return unix.Fstat(fd, st) })
}

func statfs(path string, st *unix.Statfs_t) error {
	return again(func() error { return unix.Statfs(path, st) })
}

// access asks with the rights that files are opened with (man 2 faccessat2, AT_EACCESS).
func access(at int, path string, mode uint32) error {
	return again(func() error { return unix.Faccessat2(at, path, mode, unix.AT_EACCESS) })
}

// readlinkat gives what a link holds. An empty path is at itself.
func readlinkat(at int, path string) (to string, err error) {
	buf := make([]byte, unix.PathMax)
	n := 0
	err = again(func() error {
		n, err = unix.Readlinkat(at, path, buf)
		return err
	})
	return string(buf[:max(n, 0)]), err
}

func mkdirat(at int, path string, mode uint32) error {
	return again(func() error { return unix.Mkdirat(at, path, mode) })
}

func unlinkat(at int, path string, flags int) error {
	return again(func() error { return unix.Unlinkat(at, path, flags) })
}

func renameat(at int, from, to string) error {
	return again(func() error { return unix.Renameat(at, from, at, to) })
}
