package prepare

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// heldIn gives the names of files in an opened directory that processes have open or mapped,
// as far as /proc shows them to us (proc_pid_maps(5), proc_pid_fd(5)): it asks for names alone
// and touches no file. prometheus_client maps its files for as long as the process lives
// (mmap_dict.py of 0.26). It reads hundreds of small files, and stops when ctx ends.
func heldIn(ctx context.Context, fd int) map[string]bool {
	held := map[string]bool{}
	dir, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return held
	}
	hold := func(path string) {
		if rest, ok := strings.CutPrefix(path, dir+"/"); ok && !strings.Contains(rest, "/") {
			held[rest] = true
		}
	}
	processes, _ := filepath.Glob("/proc/[0-9]*") // the pattern is sound
	for _, process := range processes {
		if ctx.Err() != nil {
			break
		}
		maps, _ := os.ReadFile(process + "/maps") // it is gone, or not ours to see
		for line := range strings.Lines(string(maps)) {
			if at := strings.IndexByte(line, '/'); at >= 0 {
				hold(strings.TrimSuffix(line[at:], "\n"))
			}
		}
		files, _ := os.ReadDir(process + "/fd")
		for _, file := range files {
			to, _ := os.Readlink(process + "/fd/" + file.Name())
			hold(to)
		}
	}
	return held
}
