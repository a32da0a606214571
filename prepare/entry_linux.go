package prepare

import (
	"bytes"
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

// entry is a name as getdents64(2) wrote it, with the zero behind it that the kernel wants to
// see when it is asked about it: a look copies nothing.
type entry []byte

// entryOf gives the name of the first of the entries that getdents64(2) wrote, and how many
// bytes that entry is.
func entryOf(entries []byte) (name entry, size int) {
	var d unix.Dirent
	size = int(binary.NativeEndian.Uint16(entries[unsafe.Offsetof(d.Reclen):]))
	raw := entries[unsafe.Offsetof(d.Name):size]
	return raw[:bytes.IndexByte(raw, 0)+1], size
}

func (e entry) String() string { return unix.ByteSliceToString(e) }

// isDots tells whether it is the directory itself, or what has that.
func (e entry) isDots() bool { return string(e) == ".\x00" || string(e) == "..\x00" }

// stat tells what has the name in a directory; a link is a link.
func (e entry) stat(in int, st *unix.Stat_t) error {
	var err unix.Errno
	for range interrupts { // as again does, which would cost an allocation for each entry
		_, _, err = unix.Syscall6(unix.SYS_NEWFSTATAT, uintptr(in), uintptr(unsafe.Pointer(unsafe.SliceData(e))),
			uintptr(unsafe.Pointer(st)), unix.AT_SYMLINK_NOFOLLOW, 0, 0)
		if err != unix.EINTR {
			break
		}
	}
	if err != 0 {
		return err
	}
	return nil
}
