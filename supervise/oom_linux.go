package supervise

import (
	"os"
	"path"
	"strconv"
	"strings"
)

// oomKills is how many processes of our cgroup the kernel has killed for want of memory,
// as far as it says: memory.events of cgroup v2 (Documentation/admin-guide/cgroup-v2),
// memory.oom_control of v1 (cgroup-v1/memory, since Linux 4.13). root is "" but in tests.
func oomKills(root string) int {
	raw, err := os.ReadFile(root + "/proc/self/cgroup")
	if err != nil {
		return 0
	}
	for _, name := range oomFiles(string(raw)) {
		if events, err := os.ReadFile(root + name); err == nil {
			return oomKillsIn(string(events))
		}
	}
	return 0
}

// oomFiles are the files that may hold the count, given /proc/self/cgroup (cgroups(7)):
// below our own cgroup where the whole hierarchy is mounted, at its top where, as in most
// containers, only our part of it is.
func oomFiles(cgroups string) []string {
	var files []string
	for line := range strings.Lines(cgroups) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(fields) < 3 {
			continue
		}
		mount, file := "/sys/fs/cgroup", "memory.events"
		if fields[1] != "" {
			mount, file = "/sys/fs/cgroup/memory", "memory.oom_control"
		}
		if fields[1] == "" || fields[1] == "memory" {
			files = append(files, path.Join(mount, fields[2], file), path.Join(mount, file))
		}
	}
	return files
}

// oomKillsIn finds "oom_kill 3".
func oomKillsIn(events string) int {
	for line := range strings.Lines(events) {
		if count, ok := strings.CutPrefix(line, "oom_kill "); ok {
			n, _ := strconv.Atoi(strings.TrimSpace(count)) // 0 where it is no number
			return n
		}
	}
	return 0
}
