package main

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ak-init/bench/clock"
)

// patience is how long a candidate may take for whatever it is waited for.
const patience = 20 * time.Second

// process is a candidate that runs.
type process struct {
	cmd  *exec.Cmd
	bed  *bed
	pid1 bool
	// out is the end of its stdout that we read, stamps that of what enter says.
	out, stamps int
}

// start runs argv by way of enter, as PID 1 of a namespace of its own or as it is. Who
// calls it calls wait or kill.
func (b *bed) start(ctx context.Context, pid1 bool, env []string, argv ...string) (*process, error) {
	p := &process{bed: b, pid1: pid1}
	var ends [4]int // two pipes, for stdout and for the stamps
	for _, pipe := range [][]int{ends[:2], ends[2:]} {
		// They block, unlike os.Pipe's: reading goes straight to the kernel.
		if err := unix.Pipe2(pipe, unix.O_CLOEXEC); err != nil {
			return nil, err
		}
	}
	p.out, p.stamps = ends[0], ends[2]
	stdout, stamps := os.NewFile(uintptr(ends[1]), "stdout"), os.NewFile(uintptr(ends[3]), "stamps")
	defer func() { _, _ = stdout.Close(), stamps.Close() }()
	p.cmd = exec.CommandContext(ctx, b.enter, argv...)
	p.cmd.Env = slices.Concat(b.env, env)
	p.cmd.Stdout, p.cmd.Stderr = stdout, b.faults
	p.cmd.ExtraFiles = []*os.File{stamps}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if pid1 {
		p.cmd.SysProcAttr.Cloneflags = unix.CLONE_NEWPID | unix.CLONE_NEWNS
	}
	if err := p.cmd.Start(); err != nil {
		p.close()
		return nil, err
	}
	b.live[p.pid()] = true
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) close() { _, _ = unix.Close(p.out), unix.Close(p.stamps) }

// wait lets it end by itself.
func (p *process) wait() error {
	deadline := time.AfterFunc(patience, func() { _ = p.cmd.Process.Kill() })
	defer deadline.Stop()
	defer p.close()
	err := p.cmd.Wait()
	delete(p.bed.live, p.pid())
	if err != nil {
		return fmt.Errorf("%v: %w%s", p.cmd.Args[1:], err, p.bed.said())
	}
	return nil
}

// kill ends it and all that it started. With PID 1 the kernel ends the namespace.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait() // it says that it was killed
	p.close()
	delete(p.bed.live, p.pid())
	if !p.pid1 {
		p.bed.sweep()
	}
}

// sweep ends those that have been re-parented to us, and then those that this re-parents,
// until there are none.
func (b *bed) sweep() {
	for again := true; again; {
		again = false
		for _, s := range everybody() {
			if s.ppid != os.Getpid() || b.live[s.pid] {
				continue
			}
			_ = unix.Kill(s.pid, unix.SIGKILL)
			if _, err := unix.Wait4(s.pid, nil, 0, nil); err == nil {
				again = true
			}
		}
	}
}

// said is the last that candidates wrote to stderr, for a message.
func (b *bed) said() string {
	raw, _ := os.ReadFile(b.faults.Name())
	if raw = raw[max(0, len(raw)-400):]; len(raw) == 0 {
		return ""
	}
	return ": … " + string(raw)
}

// read fills message from its stdout, and gives the moment when the first of it was there.
func (p *process) read(message []byte) (first time.Duration, err error) {
	end := clock.Now() + patience
	for done := 0; done < len(message); {
		n, at, err := p.readSome(message[done:], end)
		if n == 0 {
			return 0, fmt.Errorf("%v: %w%s", p.cmd.Args[1:], cmp.Or(err, io.ErrUnexpectedEOF), p.bed.said())
		}
		if done == 0 {
			first = at
		}
		done += n
	}
	return first, nil
}

// awaitEnd gives the moment when it ended: the kernel closes its stdout then.
func (p *process) awaitEnd() (time.Duration, error) {
	end := clock.Now() + patience
	for {
		n, at, err := p.readSome(make([]byte, 512), end)
		if err != nil {
			return 0, fmt.Errorf("%v: %w%s", p.cmd.Args[1:], err, p.bed.said())
		}
		if n == 0 {
			return at, nil
		}
	}
}

// readSome reads what there is, nothing at the end of it, and gives the moment when it was
// there.
func (p *process) readSome(message []byte, end time.Duration) (n int, at time.Duration, err error) {
	if err := awaitInput(p.out, end); err != nil {
		return 0, 0, err
	}
	at = clock.Now()
	n, err = unix.Read(p.out, message)
	return max(n, 0), at, err
}

// awaitInput waits until there is something to read, or the end of it.
func awaitInput(fd int, end time.Duration) error {
	for {
		left := end - clock.Now()
		if left <= 0 {
			return errors.New("it takes too long")
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		if n > 0 {
			return nil
		}
		if err != nil && err != unix.EINTR {
			return err
		}
	}
}

// stamp is what enter said before it became the candidate.
func (p *process) stamp() (cpu, at time.Duration, err error) {
	var message [16]byte
	if n, err := unix.Read(p.stamps, message[:]); err != nil || n != len(message) {
		return 0, 0, fmt.Errorf("%v was not started: %w%s", p.cmd.Args[1:], errors.Join(err, io.ErrUnexpectedEOF), p.bed.said())
	}
	cpu = time.Duration(binary.LittleEndian.Uint64(message[:]))
	return cpu, time.Duration(binary.LittleEndian.Uint64(message[8:])), nil
}
