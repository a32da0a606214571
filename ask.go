package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

// askBound is how long PostgreSQL and its replicas may take to answer a check.
const askBound = 60 * time.Second

// askDatabase lets ak-init-database look, as a child would: with a child's environment and
// rights. Nothing else is started by a check, and nobody else waits for a process, so this is
// not supervise's.
func askDatabase(o options, f facts, p plan) []*finding {
	if p.Database.Left != "" {
		return []*finding{{Check: "database", State: fine, Found: "waiting for it is left to authentik: " + p.Database.Left}}
	}
	words := []string{"check", "--minimum", strconv.Itoa(f.release.MinimumPostgreSQL)}
	if f.layout.Version != "" {
		words = append(words, "--version", f.layout.Version)
	}
	command := p.command(p.asking(o, f, "check-database", nil, words))
	ctx, cancel := context.WithTimeout(context.Background(), askBound)
	defer cancel()
	cmd := exec.CommandContext(ctx, command.Path) //nolint:forbidigo // see above
	cmd.Args, cmd.Env, cmd.Dir = command.Argv, command.Env, command.Dir
	if id := command.Identity; id != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: id.UID, Gid: id.GID, Groups: id.Groups}}
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	all := readFindings(out)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && len(all) > 0 {
		for _, one := range all {
			one.code = exit.ExitCode()
		}
		return all
	}
	if err != nil || len(all) == 0 {
		f := bad(exitUnavailable, "run it by hand", "%s cannot be asked: %v %s", command.Path, err, bytes.TrimSpace(stderr.Bytes()))
		f.Check = "database"
		return append(all, f)
	}
	return all
}

// readFindings reads a finding a line.
func readFindings(out []byte) []*finding {
	var all []*finding
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		f := &finding{}
		if json.Unmarshal(lines.Bytes(), f) == nil && f.Check != "" {
			all = append(all, f)
		}
	}
	return all
}
