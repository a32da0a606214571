package prepare

import (
	"cmp"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Space is what a file system has. Sizes are bytes; a file system that counts no blocks or
// no inodes says 0 of 0.
type Space struct {
	Total uint64 `json:"total"`
	// Free is what a user other than root may take.
	Free       uint64 `json:"free"`
	Inodes     uint64 `json:"inodes"`
	FreeInodes uint64 `json:"free_inodes"`
	// FSType is a name as in /proc/filesystems, or the number of one that is not known.
	// A FUSE file system is fuse, whatever serves it; ext2 and ext3 are ext4.
	FSType   string `json:"fs_type"`
	ReadOnly bool   `json:"read_only,omitempty"`
	// NoExec tells that nothing can be executed there, as in /dev/shm by Docker's mount. Of
	// authentik only "go run" in a checkout executes something from TMPDIR.
	NoExec bool `json:"noexec,omitempty"`
}

// Room tells what the file system has on which a directory lies. One that does not answer
// within [Bound] is an error that is [ErrHung].
func Room(dir string) (Space, error) { return roomWithin(Bound, dir) }

func roomWithin(bound time.Duration, dir string) (Space, error) {
	s, err := Within(bound, dir, func() (Space, error) { return room(dir) })
	return s, hung(Error{Op: "look at", Path: dir}, err)
}

func room(dir string) (Space, error) {
	var st unix.Statfs_t
	if err := statfs(dir, &st); err != nil {
		return Space{}, err
	}
	// Blocks are counted in fragments (man 3 statvfs).
	size := uint64(max(cmp.Or(st.Frsize, st.Bsize), 1))
	return Space{
		Total: st.Blocks * size, Free: st.Bavail * size,
		Inodes: st.Files, FreeInodes: st.Ffree,
		FSType:   fileSystem(uint32(st.Type)),
		ReadOnly: st.Flags&unix.ST_RDONLY != 0,
		NoExec:   st.Flags&unix.ST_NOEXEC != 0,
	}, nil
}

// fileSystem names what statfs(2) gives as a number (linux/magic.h, and the file systems'
// own headers).
func fileSystem(magic uint32) string {
	switch magic {
	case unix.TMPFS_MAGIC:
		return "tmpfs"
	case unix.RAMFS_MAGIC:
		return "ramfs"
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlay"
	case unix.EXT4_SUPER_MAGIC:
		return "ext4"
	case unix.XFS_SUPER_MAGIC:
		return "xfs"
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs"
	case 0x2fc12fc1:
		return "zfs"
	case unix.F2FS_SUPER_MAGIC:
		return "f2fs"
	case unix.SQUASHFS_MAGIC:
		return "squashfs"
	case unix.NFS_SUPER_MAGIC:
		return "nfs"
	default:
		return otherFileSystem(magic)
	}
}

func otherFileSystem(magic uint32) string {
	switch magic {
	case unix.FUSE_SUPER_MAGIC:
		return "fuse"
	case unix.SMB2_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC:
		return "cifs"
	case unix.CEPH_SUPER_MAGIC:
		return "ceph"
	case unix.V9FS_MAGIC:
		return "9p"
	case unix.MSDOS_SUPER_MAGIC:
		return "vfat"
	case unix.EXFAT_SUPER_MAGIC:
		return "exfat"
	case unix.HUGETLBFS_MAGIC:
		return "hugetlbfs"
	case unix.PROC_SUPER_MAGIC:
		return "proc"
	default:
		return fmt.Sprintf("%#x", magic)
	}
}
