package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"ak-init/supervise"
)

// askBound is how long PostgreSQL and its replicas may take to answer a check.
const askBound = 60 * time.Second

// askDatabase lets ak-init-database look, as a child would: with a child's environment and
// rights. Nothing else is started by a check, and nobody else waits for a process, so this is
// not supervise's.
func askDatabase(ctx context.Context, o options, f facts, p plan) []*finding {
	if p.Database.Left != "" {
		return []*finding{okay("waiting for it is left to authentik: %s", p.Database.Left).of("database")}
	}
	words := asVersion(f, "check", "--minimum", strconv.Itoa(f.release.MinimumPostgreSQL))
	return ask(ctx, p.command(p.asking(o, f, "check-database", nil, words)), askBound)
}

// ask gives what the program finds, or that it cannot say.
func ask(ctx context.Context, command supervise.Command, bound time.Duration) []*finding {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	cmd := exec.CommandContext(ctx, command.Path) //nolint:forbidigo // see above
	cmd.Args, cmd.Env, cmd.Dir = command.Argv, command.Env, command.Dir
	cmd.WaitDelay = goneWithin // for what it may have started
	if id := command.Identity; id != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: id.UID, Gid: id.GID, Groups: id.Groups}}
	}
	out, stderr, err := outputOf(ctx, cmd)
	exit, failed := errors.AsType[*exec.ExitError](err)
	code, ended := exitUnavailable, failed && exit.Exited()
	if ended {
		code = exit.ExitCode()
	}
	all := readFindings(out, code)
	var why string
	switch {
	case ended && refusalOf(all, false) != nil:
		return all
	case ctx.Err() != nil:
		why = "it has not ended within " + bound.String()
	case err != nil:
		why = strings.TrimSpace(oneLine(fmt.Errorf("%w %s", err, bytes.TrimSpace(stderr))))
	case len(all) == 0:
		why = "it says nothing"
	default:
		return all
	}
	return append(all, bad(exitUnavailable, "run it by hand", "%s cannot be asked: %s", command.Path, why).of("database"))
}

// goneWithin is how long who was killed may take to be gone.
const goneWithin = time.Second

// outputOf gives what a command says. KILL does not end one that is in a system call on a mount
// that hangs: when ctx has ended it is left behind with its goroutine.
func outputOf(ctx context.Context, cmd *exec.Cmd) (out, stderr []byte, err error) {
	type said struct {
		out, stderr []byte
		err         error
	}
	done := make(chan said, 1)
	go func() { // ends with the command
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		done <- said{out, stderr.Bytes(), err}
	}()
	select {
	case s := <-done:
		return s.out, s.stderr, s.err
	case <-ctx.Done():
	}
	select {
	case s := <-done:
		return s.out, s.stderr, s.err
	case <-time.After(2 * goneWithin):
		return nil, nil, ctx.Err()
	}
}

// readFindings reads a finding a line. Errors get this exit code.
func readFindings(out []byte, code int) []*finding {
	var all []*finding
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		f := &finding{}
		if json.Unmarshal(lines.Bytes(), f) == nil && f.Check != "" {
			if f.State == wrong {
				f.code = code
			}
			all = append(all, f)
		}
	}
	return all
}
