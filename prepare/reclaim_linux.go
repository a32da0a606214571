package prepare

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Bounds of what [reclaimable] looks at: metric files lie in TMPDIR, in a directory there, or
// in one of a service's own there.
const (
	reclaimDepth = 3
	reclaimNames = 10_000
)

// reclaimable tells whether metric files of ours or of id lie in a directory or little below
// it, which [Stale.Sweep] removes. No link below it is followed.
func reclaimable(dir string, id Identity) bool {
	left := reclaimNames
	return hasMetrics(dir, id, reclaimDepth, &left)
}

func hasMetrics(path string, id Identity, depth int, left *int) bool {
	flags := unix.O_DIRECTORY
	if depth < reclaimDepth {
		flags |= unix.O_NOFOLLOW
	}
	dir, err := os.OpenFile(path, flags, 0)
	if err != nil {
		return false
	}
	defer func() { _ = dir.Close() }()
	var below []string
	for *left > 0 {
		names, err := dir.Readdirnames(min(*left, 1024))
		*left -= len(names)
		for _, name := range names {
			var st unix.Stat_t
			if unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
				continue
			}
			switch kind := st.Mode & unix.S_IFMT; {
			case kind == unix.S_IFREG && metricFile(name) && st.Blocks > 0 && (int(st.Uid) == os.Geteuid() || int(st.Uid) == id.UID):
				return true
			case kind == unix.S_IFDIR && depth > 1:
				below = append(below, name)
			}
		}
		if err != nil || len(names) == 0 { // io.EOF, or it has been removed
			break
		}
	}
	for _, name := range below {
		if hasMetrics(filepath.Join(path, name), id, depth-1, left) {
			return true
		}
	}
	return false
}
