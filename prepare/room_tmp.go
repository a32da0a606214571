package prepare

import "golang.org/x/sys/unix"

type Space struct{ Total, Free uint64 }

func Room(dir string) (Space, error) {
	var st unix.Statfs_t
	err := unix.Statfs(dir, &st)
	return Space{st.Blocks * uint64(st.Bsize), st.Bavail * uint64(st.Bsize)}, err
}

func (d Dir) Look(id Identity) Outcome { return Outcome{} }
