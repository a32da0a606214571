package supervise

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// injectFaults makes this process, and those below it, meet what the spec asks for.
func (s initSpec) injectFaults() {
	if len(s.Refused) > 0 {
		if err := s.refuse(); err != nil {
			panic(err)
		}
	}
	if s.Processes != nil {
		haveThreads(16)
		if err := limitProcesses(*s.Processes); err != nil {
			panic(err)
		}
	}
}

// refuse makes system calls fail (man 2 seccomp, SECCOMP_RET_ERRNO): the only way to
// meet an old kernel, or one without memory, at will.
func (s initSpec) refuse() error {
	program := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}} // struct seccomp_data begins with the number
	for number, errno := range s.Refused {
		program = append(program,
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: number},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(errno)})
	}
	program = append(program, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW})
	runtime.LockOSThread() // both calls are about one thread
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	filter := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	failed, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC,
		uintptr(unsafe.Pointer(&filter)))
	if errno != 0 || failed != 0 {
		return fmt.Errorf("seccomp: %w, thread %d", errno, failed)
	}
	return nil
}

// haveThreads makes Go start threads, and comes back when they sleep until they are needed:
// Go ends the process when it cannot start one that it needs.
func haveThreads(n int) {
	var begun, over sync.WaitGroup
	begun.Add(n)
	for range n {
		over.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			begun.Done()
			begun.Wait() // each has a thread of its own
		})
	}
	over.Wait()
	for awake := 2; awake > 1; { // one is ours
		awake = 0
		tasks, _ := filepath.Glob("/proc/self/task/*/stat") // the pattern is sound
		for _, file := range tasks {
			if raw, err := os.ReadFile(file); err == nil && bytes.Contains(raw, []byte(") R ")) {
				awake++
			}
		}
	}
}

// limitProcesses sets our soft RLIMIT_NPROC.
func limitProcesses(most uint64) error {
	var now unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NPROC, &now); err != nil {
		return err
	}
	now.Cur = min(most, now.Max)
	return unix.Setrlimit(unix.RLIMIT_NPROC, &now)
}
