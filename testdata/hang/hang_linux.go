// Package hang mounts a file system that never answers, as one whose server is away.
package hang

import (
	"encoding/binary"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// Sizes and numbers of the FUSE protocol (linux/fuse.h, 7.31).
const (
	inHeader  = 40
	outHeader = 16
	initOut   = 64
	opInit    = 26
)

// Mount mounts one at dir until the test ends. The daemon says hello and reads no request
// after that: whoever asks waits, and can be killed. It skips where there is no FUSE.
func Mount(tb testing.TB, dir string) {
	tb.Helper()
	if os.Geteuid() != 0 {
		tb.Skip("needs root: it mounts a file system")
	}
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		tb.Skipf("no /dev/fuse: %v", err)
	}
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", fd)
	if err := unix.Mount("nowhere:/export", dir, "fuse", 0, options); err != nil {
		_ = unix.Close(fd)
		tb.Skipf("cannot mount FUSE here: %v", err)
	}
	tb.Cleanup(func() {
		_ = unix.Close(fd) // aborts what waits
		_ = unix.Unmount(dir, unix.MNT_DETACH)
	})
	if err := hello(fd); err != nil {
		tb.Fatal(err)
	}
}

// hello answers the kernel's first request.
func hello(fd int) error {
	request := make([]byte, 1<<16) // less is refused (linux/fuse.h, FUSE_MIN_READ_BUFFER)
	n, err := unix.Read(fd, request)
	if err != nil {
		return err
	}
	if n < inHeader || binary.NativeEndian.Uint32(request[4:]) != opInit {
		return fmt.Errorf("no FUSE_INIT but %x", request[:n])
	}
	reply := make([]byte, outHeader+initOut)
	binary.NativeEndian.PutUint32(reply, uint32(len(reply)))
	copy(reply[8:16], request[8:16]) // the request's number
	binary.NativeEndian.PutUint32(reply[outHeader:], 7)
	binary.NativeEndian.PutUint32(reply[outHeader+4:], 31)
	binary.NativeEndian.PutUint32(reply[outHeader+20:], 4096) // max_write
	_, err = unix.Write(fd, reply)
	return err
}
