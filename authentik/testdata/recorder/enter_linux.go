package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path"
	"strconv"
	"syscall"
)

// machineDirs are seen in the made-up root as they are on this machine, and cannot be written
// there. Where one is a link (usr-merge), so is the one in the root. /bin is the root's own.
func machineDirs() []string { return []string{"/usr", "/sbin", "/lib", "/lib64"} }

// devices are files of their own in the root's /dev, which is a plain directory.
func devices() []string { return []string{"/dev/null", "/dev/zero", "/dev/urandom"} }

// enter is "enter ROOT UID GID PROGRAM ARG...": it runs the program in ROOT, as PID 2 or so of a
// PID namespace in which it is the init itself. It was started in new mount and PID namespaces,
// so mounts and processes end with it.
func enter(words []string) int {
	root := words[0]
	uid, uidErr := strconv.ParseUint(words[1], 10, 32)
	gid, gidErr := strconv.ParseUint(words[2], 10, 32)
	if err := errors.Join(uidErr, gidErr, mountAll(root)); err != nil {
		fmt.Fprintln(os.Stderr, "enter:", err)
		return 122
	}
	cmd := exec.Command(words[3], words[4:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Chroot:     root,
		Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid), Groups: []uint32{uint32(gid)}},
	}
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGTERM) // as soon as it runs somebody may send one
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "enter:", err)
		return 122
	}
	go func() { // ends with the process
		for sig := range caught {
			_ = cmd.Process.Signal(sig)
		}
	}()
	_ = cmd.Wait() // its state says all
	if status := cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signaled() {
		return 128 + int(status.Signal())
	}
	return cmd.ProcessState.ExitCode()
}

func mountAll(root string) error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private mounts: %w", err)
	}
	for _, dir := range machineDirs() {
		if err := show(root, dir); err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
	}
	for _, file := range devices() {
		if err := syscall.Mount(file, root+file, "", syscall.MS_BIND, ""); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	if err := syscall.Mount("proc", root+"/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("/proc: %w", err)
	}
	return nil
}

func show(root, dir string) error {
	info, err := os.Lstat(dir)
	if err != nil || info.Mode()&os.ModeSymlink != 0 {
		return nil //nolint:nilerr // the root's maker has made the same link
	}
	at := path.Join(root, dir)
	if err := syscall.Mount(dir, at, "", syscall.MS_BIND|syscall.MS_REC, ""); err != nil {
		return err
	}
	return syscall.Mount("", at, "", syscall.MS_REMOUNT|syscall.MS_BIND|syscall.MS_RDONLY, "")
}
