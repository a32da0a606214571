package prepare

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Identity is who somebody is, by number. A uid needs no name: OpenShift gives none.
type Identity struct {
	UID    int    `json:"uid"`
	GID    int    `json:"gid"`
	Groups []int  `json:"groups"`
	Home   string `json:"home,omitempty"`
}

// String is how messages say it.
func (id Identity) String() string { return fmt.Sprintf("uid %d, gid %d", id.UID, id.GID) }

// Self is who this process is.
func Self() Identity {
	groups, _ := os.Getgroups() // fails on no Linux
	return Identity{UID: os.Geteuid(), GID: os.Getegid(), Groups: groups}
}

// ErrNoPermission is for an identity that this process must not take.
var ErrNoPermission = errors.New("only root can become another user")

// become is [Reader.Become]. The supplementary groups are self's without root's own group,
// which keeps what the container runtime gave (Kubernetes: fsGroup), and those of a named
// user.
func become(self Identity, spec string) (Identity, error) {
	id, err := lookUp(spec)
	if err != nil {
		return Identity{}, err
	}
	_, _, withGroup := strings.Cut(spec, ":")
	if id.UID == self.UID && (id.GID == self.GID || !withGroup) {
		return self, nil
	}
	if self.UID != 0 {
		return Identity{}, fmt.Errorf("cannot run as %s (%s): we are %s: %w", spec, id, self, ErrNoPermission)
	}
	for _, g := range self.Groups {
		if g != 0 && !slices.Contains(id.Groups, g) {
			id.Groups = append(id.Groups, g)
		}
	}
	return id, nil
}

func groupOf(path string) (int, error) {
	var st syscall.Stat_t
	err := syscall.Stat(path, &st)
	if err == nil && st.Mode&syscall.S_IFMT != syscall.S_IFSOCK {
		return 0, fs.ErrNotExist // Docker makes a directory, root's, of a source that is missing
	}
	return int(st.Gid), err
}

func lookUp(spec string) (Identity, error) {
	name, group, hasGroup := strings.Cut(spec, ":")
	u, err := user.Lookup(name)
	if uid, numErr := strconv.ParseUint(name, 10, 31); err != nil && numErr == nil {
		u, err = user.LookupId(name)
		if err != nil { // a number without a name: its group is its own number
			u, err = &user.User{Uid: name, Gid: strconv.Itoa(int(uid))}, nil
		}
	}
	if err != nil {
		return Identity{}, fmt.Errorf("there is no user %q here; give a number below 2147483648, as --user 1000:1000", name)
	}
	id := Identity{Home: u.HomeDir}
	id.UID, _ = strconv.Atoi(u.Uid) // what os/user gives on Linux is numbers
	id.GID, _ = strconv.Atoi(u.Gid)
	if hasGroup {
		gid, err := strconv.ParseUint(group, 10, 31)
		if err != nil {
			return Identity{}, fmt.Errorf("group %q is not a number below 2147483648; give one, as --user 1000:1000", group)
		}
		id.GID = int(gid)
	}
	id.Groups, err = groupsOf(u, id.GID)
	return id, err
}

// groupsOf gives a user's groups, the main one first. Who has no name is in no group
// file, and an image may have none.
func groupsOf(u *user.User, gid int) ([]int, error) {
	groups := []int{gid}
	if u.Username == "" {
		return groups, nil
	}
	names, err := u.GroupIds()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot tell the groups of %s: %w", u.Username, err)
	}
	for _, name := range names {
		if g, err := strconv.Atoi(name); err == nil && !slices.Contains(groups, g) {
			groups = append(groups, g)
		}
	}
	return groups, nil
}

// As runs fn with id's file system rights and no more: what fn may create, id may
// create. Only this one thread changes (setfsuid(2) is per thread, and takes root's
// file capabilities away with the uid), and it ends with fn.
func As(id Identity, fn func() error) error {
	if self := Self(); id.UID == self.UID && id.GID == self.GID {
		return fn()
	}
	result := make(chan error)
	go func() {
		// Never unlocked: a locked thread ends with its goroutine, and nobody else ever
		// runs with its rights (runtime.LockOSThread).
		runtime.LockOSThread()
		if err := takeRights(id); err != nil {
			result <- err
			return
		}
		result <- fn()
	}()
	return <-result
}

// MayTake tells whether this process can start children as id: root may lack
// CAP_SETUID and CAP_SETGID.
func MayTake(id Identity) error { return As(id, func() error { return nil }) }

func takeRights(id Identity) error {
	if err := unix.Setgroups(id.Groups); err != nil {
		return fmt.Errorf("cannot take the groups of %s: %w; give the container the capabilities SETUID and SETGID, or run the children as who we are, by --user %d", id, err, os.Geteuid())
	}
	// These two do not report failure; asking again with an invalid id gives the
	// present one (man 2 setfsuid).
	_ = unix.Setfsgid(id.GID)
	_ = unix.Setfsuid(id.UID)
	if now, _ := unix.SetfsuidRetUid(-1); now != id.UID {
		return fmt.Errorf("cannot take the rights of %s: %w", id, ErrNoPermission)
	}
	return nil
}
