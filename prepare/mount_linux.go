package prepare

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// mount is one line of a mount table.
type mount struct {
	point, fsType, source string
}

// String is the type and the source, without the password that a URL may hold.
func (m mount) String() string {
	source := m.source
	if scheme, rest, ok := strings.Cut(source, "://"); ok {
		if at := strings.LastIndexByte(rest, '@'); at >= 0 {
			source = scheme + "://" + rest[at+1:]
		}
	}
	if source == m.fsType || source == "none" || source == "" {
		return m.fsType
	}
	return m.fsType + " " + source
}

// local tells that the kernel serves the file system itself, from memory or a disk.
func (m mount) local() bool {
	return slices.Contains([]string{
		"btrfs", "devtmpfs", "erofs", "ext2", "ext3", "ext4", "f2fs", "overlay", "ramfs", "rootfs", "squashfs", "tmpfs", "xfs", "zfs",
	}, m.fsType)
}

// parseMounts reads the text of /proc/self/mountinfo (proc_pid_mountinfo(5)). Lines that
// it does not know are passed over.
func parseMounts(text string) []mount {
	var mounts []mount
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	for line := range strings.Lines(text) {
		where, what, ok := strings.Cut(line, " - ")
		left, right := strings.Fields(where), strings.Fields(what)
		if !ok || len(left) < 6 || len(right) < 2 {
			continue
		}
		mounts = append(mounts, mount{unescape.Replace(left[4]), right[0], unescape.Replace(right[1])})
	}
	return mounts
}

// holding gives the mount that a path lies on, by its name alone. Of two on one point the
// later hides the earlier.
func holding(mounts []mount, path string) mount {
	var best mount
	for _, m := range mounts {
		if len(m.point) >= len(best.point) && below(path, m.point) {
			best = m
		}
	}
	return best
}

// below tells whether path is dir or lies in it.
func below(path, dir string) bool {
	rest, ok := strings.CutPrefix(path, dir)
	return ok && (rest == "" || rest[0] == '/' || strings.HasSuffix(dir, "/"))
}

// mountOf gives the mount that a path lies on, without touching what is not local: nothing
// of it may be waited for. The zero one means that it is not known.
func mountOf(path string) mount {
	m, _ := Within(time.Second, path, func() (mount, error) { // a local disk can hang too
		raw, err := os.ReadFile("/proc/self/mountinfo")
		mounts := parseMounts(string(raw))
		return holding(mounts, follow(filepath.Clean(path), mounts)), err
	})
	return m
}

// follow replaces links as long as they lie on local file systems.
func follow(path string, mounts []mount) string {
	for range 40 { // as many as the kernel follows (path_resolution(7))
		next := followOne(path, mounts)
		if next == path {
			break
		}
		path = next
	}
	return path
}

// followOne replaces the first link in a path.
func followOne(path string, mounts []mount) string {
	for end := 1; end <= len(path); end++ {
		if end < len(path) && path[end] != '/' {
			continue
		}
		at := path[:end]
		m := holding(mounts, at)
		if !m.local() {
			break
		}
		if m.point == at {
			continue // no link, and the mount's own root
		}
		to, err := os.Readlink(at)
		if err != nil {
			continue
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(at), to)
		}
		return filepath.Join(to, path[end:])
	}
	return path
}

// mountedAt says for a path that does not answer what it lies on, and what to do.
func mountedAt(path string) (found, fix string) {
	m := mountOf(path)
	switch m.point {
	case "":
		return "what is mounted there is not known", "look at what is mounted there"
	case path:
		return "it is a mount point", fmt.Sprintf("look at what is mounted there (%s)", m)
	default:
		return "it lies on what is mounted at " + m.point, fmt.Sprintf("look at what is mounted there (%s)", m)
	}
}
