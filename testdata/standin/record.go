package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// recorder tells a test what happened. Every process writes ROLE-PID.json once,
// complete as soon as it has that name, and appends its events, one line each, to
// the file "events" that all processes share:
//
//	<unix nanoseconds> <role> <pid> <words>
//
// Words are: started; listening ADDRESS; alive (server: the backend has answered);
// signal NAME; request begin PATH and request end PATH (all but health checks); health PATH;
// task begin, task end and task dropped; promoted (gunicorn's new master is the only
// one); exec (the worker replaces itself after HUP); exit CODE.
// Without a directory it does nothing.
type recorder struct {
	dir, role string
}

// snapshot is what a process was given by whoever started it.
type snapshot struct {
	Role   string            `json:"role"`
	Argv   []string          `json:"argv"`
	Env    map[string]string `json:"env"`
	Cwd    string            `json:"cwd"`
	UID    int               `json:"uid"`
	GID    int               `json:"gid"`
	Groups []int             `json:"groups"`
	PID    int               `json:"pid"`
	PPID   int               `json:"ppid"`
	PGID   int               `json:"pgid"`
	Start  int64             `json:"start"`
}

// started writes the process's snapshot and its first event.
func (r *recorder) started() {
	if r.dir == "" {
		return
	}
	if err := r.writeSnapshot(); err != nil {
		fmt.Fprintf(os.Stderr, "stand-in: cannot record: %v\n", err)
	}
	r.event("started")
}

func (r *recorder) writeSnapshot() error {
	cwd, err := os.Getwd()
	if err != nil {
		return err
	}
	groups, err := os.Getgroups()
	if err != nil {
		return err
	}
	groups = append([]int{}, groups...) // none is [], not null
	slices.Sort(groups)
	env := map[string]string{}
	for _, pair := range os.Environ() {
		name, value, _ := strings.Cut(pair, "=")
		env[name] = value
	}
	text, err := json.MarshalIndent(snapshot{
		Role: r.role, Argv: os.Args, Env: env, Cwd: cwd,
		UID: os.Getuid(), GID: os.Getgid(), Groups: groups,
		PID: os.Getpid(), PPID: os.Getppid(), PGID: syscall.Getpgrp(),
		Start: time.Now().UnixNano(),
	}, "", "  ")
	if err != nil {
		return err
	}
	return writeAtomically(filepath.Join(r.dir, fmt.Sprintf("%s-%d.json", r.role, os.Getpid())), string(text)+"\n")
}

// event appends one line. One write to a file opened for appending is whole, so
// lines of different processes never mix.
func (r *recorder) event(format string, args ...any) {
	if r.dir == "" {
		return
	}
	line := fmt.Sprintf("%d %s %d %s\n", time.Now().UnixNano(), r.role, os.Getpid(), fmt.Sprintf(format, args...))
	f, err := os.OpenFile(filepath.Join(r.dir, "events"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o666)
	if err != nil {
		fmt.Fprintf(os.Stderr, "stand-in: cannot record: %v\n", err)
		return
	}
	defer f.Close()
	// For processes of other users, whatever the umask; only the owner succeeds.
	_ = f.Chmod(0o666)
	if _, err := f.WriteString(line); err != nil {
		fmt.Fprintf(os.Stderr, "stand-in: cannot record: %v\n", err)
	}
}

// writeAtomically gives a file its name only when its content is there. Its mode
// is 0644, gunicorn's for a pid file.
func writeAtomically(path, content string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".standin-*")
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}
