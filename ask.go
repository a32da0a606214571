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
	words := []string{"check", "--minimum", strconv.Itoa(f.release.MinimumPostgreSQL)}
	if f.layout.Version != "" {
		words = append(words, "--version", f.layout.Version)
	}
	return ask(ctx, p.command(p.asking(o, f, "check-database", nil, words)), askBound)
}

// ask gives what the program finds, or that it cannot say.
func ask(ctx context.Context, command supervise.Command, bound time.Duration) []*finding {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	cmd := exec.CommandContext(ctx, command.Path) //nolint:forbidigo // see above
	cmd.Args, cmd.Env, cmd.Dir = command.Argv, command.Env, command.Dir
	cmd.WaitDelay = time.Second // for what it may have started
	if id := command.Identity; id != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: id.UID, Gid: id.GID, Groups: id.Groups}}
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
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
		why = strings.TrimSpace(oneLine(fmt.Errorf("%w %s", err, bytes.TrimSpace(stderr.Bytes()))))
	case len(all) == 0:
		why = "it says nothing"
	default:
		return all
	}
	return append(all, bad(exitUnavailable, "run it by hand", "%s cannot be asked: %s", command.Path, why).of("database"))
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
