package supervise

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// LetGo unmaps what has been read of this program's own code and constants: a start runs
// through most of it, and who then sleeps needs little. The pages are clean and the kernel
// maps them again from its cache when they are touched (man 2 madvise, MADV_DONTNEED); what
// the process has written is left alone.
func LetGo() {
	raw, err := os.ReadFile("/proc/self/maps")
	self, linkErr := os.Readlink("/proc/self/exe")
	if err != nil || linkErr != nil {
		return
	}
	for line := range strings.Lines(string(raw)) {
		fields := strings.Fields(line)
		if len(fields) < 6 || fields[5] != self || fields[1] != "r-xp" && fields[1] != "r--p" {
			continue
		}
		first, last, _ := strings.Cut(fields[0], "-")
		from, fromErr := strconv.ParseUint(first, 16, 64)
		to, toErr := strconv.ParseUint(last, 16, 64)
		if fromErr == nil && toErr == nil {
			_, _, _ = unix.Syscall(unix.SYS_MADVISE, uintptr(from), uintptr(to-from), unix.MADV_DONTNEED)
		}
	}
}
