package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// peer is one init.
type peer struct {
	name string
	// binaries are its programs; the first is the init itself.
	binaries []string
	// command is what to run so that it runs a program.
	command func(b *bed, pid1 bool, program ...string) ([]string, error)
	// supervisor: it starts a service again when it ends, so it never ends by itself, and
	// hands no signals on.
	supervisor bool
	// slow is for one that takes hundreds of milliseconds to start.
	slow bool
}

// names of those that are compared with.
const (
	akInitRun = "ak-init run"
	tini      = "tini"
	dumbInit  = "dumb-init"
)

// peers are ak-init and all others that are installed; missing are the names of the rest.
func (b *bed) peers() (found []peer, missing []string) {
	for _, p := range []peer{
		{name: akInitRun, binaries: []string{b.akInit}, command: plain("run", "--")},
		{name: tini, binaries: []string{"tini"}, command: tiniCommand},
		{name: dumbInit, binaries: []string{"dumb-init"}, command: plain("--")},
		{name: "catatonit", binaries: []string{"catatonit"}, command: plain("--")},
		{name: "s6", binaries: []string{"s6-svscan", "s6-supervise"}, command: s6Command, supervisor: true},
		{name: "supervisord", binaries: []string{"supervisord"}, command: supervisordCommand, supervisor: true, slow: true},
	} {
		p, err := p.installed()
		if err != nil {
			missing = append(missing, p.name)
			continue
		}
		found = append(found, p)
	}
	return found, missing
}

// noteMissing says who is not there.
func (t *table) noteMissing(missing []string) {
	if len(missing) > 0 {
		t.note("Not installed, and left out: %s.", strings.Join(missing, ", "))
	}
}

// installed resolves its programs.
func (p peer) installed() (peer, error) {
	for i, name := range p.binaries {
		path, err := exec.LookPath(name)
		if err != nil {
			return p, err
		}
		p.binaries[i] = path
	}
	command := p.command
	p.command = func(b *bed, pid1 bool, program ...string) ([]string, error) {
		args, err := command(b, pid1, program...)
		return append([]string{p.binaries[0]}, args...), err
	}
	return p, nil
}

// plain is for an init that takes the program behind words of its own.
func plain(words ...string) func(*bed, bool, ...string) ([]string, error) {
	return func(_ *bed, _ bool, program ...string) ([]string, error) {
		return append(slices.Clip(words), program...), nil
	}
}

// tiniCommand asks for a subreaper where that is not the kernel's doing: the others are
// one unasked, but for dumb-init.
func tiniCommand(_ *bed, pid1 bool, program ...string) ([]string, error) {
	if pid1 {
		return append([]string{"--"}, program...), nil
	}
	return append([]string{"-s", "--"}, program...), nil
}

// s6Command makes a scan directory with one service, whose run file is the program itself.
func s6Command(b *bed, _ bool, program ...string) ([]string, error) {
	dir, err := os.MkdirTemp(b.dir, "s6-")
	if err != nil {
		return nil, err
	}
	service := filepath.Join(dir, "service")
	if err := os.Mkdir(service, 0o700); err != nil {
		return nil, err
	}
	return []string{dir}, os.Symlink(program[0], filepath.Join(service, "run"))
}

// supervisordCommand writes a configuration as containers have it: in the foreground, no
// log file, the service's output handed on.
func supervisordCommand(b *bed, _ bool, program ...string) ([]string, error) {
	f, err := os.CreateTemp(b.dir, "supervisord-*.conf")
	if err != nil {
		return nil, err
	}
	_, err = fmt.Fprintf(f, `[supervisord]
nodaemon=true
silent=true
logfile=/dev/null
logfile_maxbytes=0
pidfile=%s.pid

[program:service]
command=%s
autorestart=false
startsecs=0
stdout_logfile=/dev/stdout
stdout_logfile_maxbytes=0
`, f.Name(), program[0])
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return []string{"-c", f.Name()}, f.Close()
}
