package prepare

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// pin opens a wrong entry without following it, so that what is judged again is what is
// changed: its name may be another file's by then.
func (o *owning) pin(in *directory, name string) {
	fd, err := openat(in.fd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT {
		return
	}
	if err != nil {
		o.fail("look at", o.pathOf(in, name), err)
		return
	}
	o.judge(fd, o.pathOf(in, name))
	_ = unix.Close(fd)
}

// judge gives what fd holds to the identity, if that is to be done. The kernel takes set-id
// bits and capabilities of files away with it (man 2 chown).
func (o *owning) judge(fd int, path string) {
	var st unix.Stat_t
	if err := fstat(fd, &st); err != nil {
		o.fail("look at", path, err)
		return
	}
	right := belongs(&st, o.id)
	if right && o.fix != FixAlways {
		return
	}
	if !right {
		o.wrong.Add(1)
	}
	if why := notToGive(&st, o.id); why != "" {
		if !right {
			o.left.Add(1)
			o.tell(fmt.Errorf("%s (%s) is left to %d:%d: %s; chown it to %d:%d if it is the children's", path, o.For, st.Uid, st.Gid, why, o.id.UID, o.id.GID))
		}
		return
	}
	if o.fix == FixNever {
		return
	}
	uid, gid := change(&st, o.id, o.fix)
	switch err := again(func() error { return unix.Fchownat(fd, "", uid, gid, unix.AT_EMPTY_PATH) }); err {
	case nil:
		o.changed.Add(1)
	case unix.EROFS:
		o.failReadOnly(path, st.Dev)
	default:
		o.fail(cannotGive, path, err)
	}
}
