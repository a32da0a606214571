// Command noipv6 runs a program on a machine without IPv6, as far as it can tell: no namespace
// takes IPv6 out of a kernel, but a seccomp filter lets socket(2) say of it what a kernel that was
// started with ipv6.disable=1 says. It stays with all that the program starts.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Offsets in struct seccomp_data (linux/seccomp.h); the lower half of an argument comes first on
// both architectures that are known here.
const (
	atNumber = 0
	atArch   = 4
	atFirst  = 16
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "noipv6:", err)
		os.Exit(125)
	}
}

func run(argv []string) error {
	if len(argv) == 0 {
		return fmt.Errorf("give a program")
	}
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return err
	}
	runtime.LockOSThread() // a filter is a thread's, and goes with exec
	if err := forbid(); err != nil {
		return err
	}
	return unix.Exec(path, argv, os.Environ())
}

// forbid makes socket(AF_INET6, ...) fail with EAFNOSUPPORT from now on (man 2 seccomp).
func forbid() error {
	arch, ok := map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}[runtime.GOARCH]
	if !ok {
		return fmt.Errorf("no filter for %s", runtime.GOARCH)
	}
	const equal, load, answer = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_RET | unix.BPF_K
	filter := []unix.SockFilter{
		{Code: load, K: atArch},
		{Code: equal, K: arch, Jf: 5},
		{Code: load, K: atNumber},
		{Code: equal, K: unix.SYS_SOCKET, Jf: 3},
		{Code: load, K: atFirst},
		{Code: equal, K: unix.AF_INET6, Jf: 1},
		{Code: answer, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EAFNOSUPPORT)},
		{Code: answer, K: unix.SECCOMP_RET_ALLOW},
	}
	// Who is not root may only filter what gains no privileges.
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0); err != nil {
		return fmt.Errorf("seccomp: %w", err)
	}
	runtime.KeepAlive(filter)
	return nil
}
