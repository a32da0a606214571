package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// status is one process as /proc has it.
type status struct {
	pid, ppid int
}

// everybody is all processes, without those that end while it looks.
func everybody() []status {
	entries, _ := filepath.Glob("/proc/[0-9]*/stat")
	var all []status
	for _, entry := range entries {
		raw, err := os.ReadFile(entry)
		if err != nil {
			continue
		}
		// "pid (comm) state ppid", and a comm may have anything in it (proc(5)).
		pid, behind, _ := bytes.Cut(raw, []byte{' '})
		behind = behind[bytes.LastIndexByte(behind, ')')+1:]
		var s status
		s.pid, _ = strconv.Atoi(string(pid))
		s.ppid, _ = strconv.Atoi(strings.Fields(string(behind))[1])
		all = append(all, s)
	}
	return all
}

// family is a process and all that descends from it, but for those that run the program
// except. It goes by the file, since a process may have any name.
func family(root int, except string) []int {
	all := everybody()
	pids := []int{root}
	for i := 0; i < len(pids); i++ {
		for _, s := range all {
			if s.ppid != pids[i] {
				continue
			}
			if exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", s.pid)); exe != except {
				pids = append(pids, s.pid)
			}
		}
	}
	return pids
}

// fields adds up the numbers that the files have behind these names, as in "Pss:  12 kB".
func fields(files []string, names ...string) (int64, error) {
	sum := int64(0)
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			return 0, err
		}
		found := 0
		for line := range strings.Lines(string(raw)) {
			words := strings.Fields(line)
			if len(words) < 2 || !slices.Contains(names, strings.TrimSuffix(words[0], ":")) {
				continue
			}
			n, err := strconv.ParseInt(words[1], 10, 64)
			if err != nil {
				return 0, fmt.Errorf("%s: %w", file, err)
			}
			sum += n
			found++
		}
		if found < len(names) {
			return 0, fmt.Errorf("%s has no %v", file, names)
		}
	}
	return sum, nil
}

// memory is what the processes have in bytes: their share of all that they map, and what
// they have written themselves.
func memory(pids []int) (pss, dirty int64, err error) {
	var files []string
	for _, pid := range pids {
		files = append(files, fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	}
	if pss, err = fields(files, "Pss"); err != nil {
		return 0, 0, err
	}
	dirty, err = fields(files, "Private_Dirty")
	return pss * 1024, dirty * 1024, err
}

// switches are the context switches of all threads of the processes so far.
func switches(pids []int) (int64, error) {
	var files []string
	for _, pid := range pids {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
		if err != nil {
			return 0, err
		}
		files = append(files, threads...)
	}
	return fields(files, "voluntary_ctxt_switches", "nonvoluntary_ctxt_switches")
}
