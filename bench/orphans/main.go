// Command orphans is the child of an init that makes orphans for it, and says how long the
// init took to reap them, and how much processor time, in nanoseconds.
//
//	orphans burst N     N zombies become the init's in one moment
//	orphans stream N    N processes die one after the other, as fast as they can be made
package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"ak-init/bench/clock"
)

// patience is how long an init may take for all. It is less than who started us has.
const patience = 15 * time.Second

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "orphans:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return errors.New("want a word and a number")
	}
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	switch args[0] {
	case "burst":
		return burst(n)
	case "stream":
		return stream(n)
	case "parent":
		return parent(n)
	}
	return fmt.Errorf("unknown: %s", args[0])
}

// parent has n dead children that it does not wait for, says their pids, and ends when
// its stdin does.
func parent(n int) error {
	out := bufio.NewWriter(os.Stdout)
	for range n {
		pid, err := makeDead(0)
		if err == nil {
			err = binary.Write(out, binary.LittleEndian, int32(pid))
		}
		if err != nil {
			return err
		}
	}
	if err := out.Flush(); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// burst lets a parent of n zombies end: they are the init's then.
func burst(n int) error {
	cmd := exec.Command("/proc/self/exe", "parent", strconv.Itoa(n))
	cmd.Stderr = os.Stderr
	hold, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	raw := make([]int32, n)
	if err := binary.Read(out, binary.LittleEndian, raw); err != nil {
		_ = hold.Close()
		return errors.Join(err, cmd.Wait())
	}
	pids := make([]int, n)
	for i, pid := range raw {
		pids[i] = int(pid)
	}
	begin, cpu := clock.Now(), initCPU()
	_ = hold.Close()
	if err := cmd.Wait(); err != nil {
		return err
	}
	return finish(pids, begin, cpu)
}

// stream makes n processes that are the init's own children from the beginning, and
// unknown to it as any orphan: making a parent for each, that ends first, would take
// longer than to reap both.
func stream(n int) error {
	pids := make([]int, n)
	begin, cpu := clock.Now(), initCPU()
	for i := range pids {
		pid, err := makeDead(unix.CLONE_PARENT)
		if err != nil {
			return err
		}
		pids[i] = pid
	}
	return finish(pids, begin, cpu)
}

// finish waits until none of pids is there any more, and says what that took.
func finish(pids []int, begin, cpu time.Duration) error {
	for clock.Now()-begin < patience {
		// The kernel shows an init its children in order of birth, so the last is a good
		// one to ask for; all are asked for before the end.
		if !gone(pids[len(pids)-1]) {
			_ = unix.Nanosleep(&unix.Timespec{Nsec: 100_000}, nil) // a signal only makes it shorter
			continue
		}
		end := clock.Now()
		if pids = slices.DeleteFunc(pids, gone); len(pids) == 0 {
			_, err := fmt.Println(int64(end-begin), int64(initCPU()-cpu))
			return err
		}
	}
	return fmt.Errorf("%d of them are still there after %s", len(pids), patience)
}

// gone tells that a process has been reaped: a zombie can still be sent signal 0.
func gone(pid int) bool { return unix.Kill(pid, 0) == unix.ESRCH }
