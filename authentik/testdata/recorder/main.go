// Command recorder stands in the place of every program that ak may run. By the name that it is
// called by it is
//
//	enter    a made-up root of its own: mounts, PID namespace and identity (enter_linux.go)
//	chpst    runit's: it becomes the user and groups of -u, and the program behind
//	any      a program that appends what it was started as to the file $RECORDER, one JSON line,
//	         and ends
//
// Variables that end in a list hold PATTERN:WORD;PATTERN:WORD, and the first whose pattern begins
// the command line counts:
//
//	RECORDER_ENDS  how it ends: an exit code, or the name of a signal to die of, as TERM;
//	               "waits" is to wait for TERM, record that, and die of it
//	RECORDER_SAYS  what it prints
package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// record is one line: what a program was started as.
type record struct {
	Argv   []string `json:"argv"`
	Env    []string `json:"env"`
	Cwd    string   `json:"cwd"`
	UID    int      `json:"uid"`
	GID    int      `json:"gid"`
	Groups []int    `json:"groups"`
	// Mode is what authentik's mode file held then.
	Mode string `json:"mode"`
	// Signal is set in the record of one that came later, and in no other.
	Signal string `json:"signal,omitempty"`
}

func main() {
	switch path.Base(os.Args[0]) {
	case "enter":
		os.Exit(enter(os.Args[1:]))
	case "chpst":
		fail(chpst(os.Args[1:]))
	}
	fail(note(""))
	line := strings.Join(os.Args, " ")
	if said := told("RECORDER_SAYS", line); said != "" {
		fmt.Println(said)
	}
	end(told("RECORDER_ENDS", line))
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "recorder:", err)
		os.Exit(120)
	}
}

// told finds what the variable says of this command line.
func told(variable, line string) string {
	for one := range strings.SplitSeq(os.Getenv(variable), ";") {
		if pattern, word, ok := strings.Cut(one, ":"); ok && strings.HasPrefix(line, pattern) {
			return word
		}
	}
	return ""
}

// note appends one record, in one write: those of other processes do not mix with it.
func note(signal string) error {
	cwd, err := os.Getwd()
	if err != nil {
		return err
	}
	groups, err := os.Getgroups()
	if err != nil {
		return err
	}
	slices.Sort(groups)
	mode, _ := os.ReadFile(os.Getenv("TMPDIR") + "/authentik-mode") // there may be none
	line, err := json.Marshal(record{
		Argv: os.Args, Env: os.Environ(), Cwd: cwd, UID: os.Getuid(), GID: os.Getgid(), Groups: groups,
		Mode: strings.TrimSpace(string(mode)), Signal: signal,
	})
	if err != nil {
		return err
	}
	f, err := os.OpenFile(os.Getenv("RECORDER"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.Write(append(line, '\n'))
	return err
}

func end(how string) {
	if code, err := strconv.Atoi(cmp.Or(how, "0")); err == nil {
		os.Exit(code)
	}
	if how == "waits" {
		caught := make(chan os.Signal, 1)
		signal.Notify(caught, syscall.SIGTERM)
		fail(os.WriteFile(os.Getenv("RECORDER")+".waits", nil, 0o644))
		select {
		case <-caught:
			fail(note("TERM"))
			signal.Reset(syscall.SIGTERM)
			how = "TERM"
		case <-time.After(time.Minute):
			os.Exit(121) // nobody has told it
		}
	}
	_ = syscall.Kill(os.Getpid(), unix.SignalNum("SIG"+how))
	select {} // until it is delivered
}

// chpst does what runit's does with "-u USER:GROUP... PROGRAM ARG...": the groups are the ones
// that are named and no others, the first of them is the process's own (chpst(8)).
func chpst(words []string) error {
	if len(words) < 3 || words[0] != "-u" {
		return fmt.Errorf("chpst %q is not understood", words)
	}
	names := strings.Split(words[1], ":")
	uid, err := number("/etc/passwd", names[0])
	if err != nil {
		return err
	}
	var groups []int
	for _, name := range names[1:] {
		gid, err := number("/etc/group", name)
		if err != nil {
			return err
		}
		groups = append(groups, gid)
	}
	if err := syscall.Setgroups(groups); err != nil {
		return err
	}
	if err := syscall.Setgid(groups[0]); err != nil {
		return err
	}
	if err := syscall.Setuid(uid); err != nil {
		return err
	}
	program, err := lookPath(words[2])
	if err != nil {
		return err
	}
	return syscall.Exec(program, words[2:], os.Environ())
}

// number is the third field of the line that begins with name (passwd(5), group(5)).
func number(file, name string) (int, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Split(strings.TrimSpace(line), ":"); len(fields) > 2 && fields[0] == name {
			return strconv.Atoi(fields[2])
		}
	}
	return 0, fmt.Errorf("%s has no %s", file, name)
}

func lookPath(name string) (string, error) {
	for dir := range strings.SplitSeq(os.Getenv("PATH"), ":") {
		file := path.Join(dir, name)
		if syscall.Access(file, 1) == nil {
			return file, nil
		}
	}
	return "", fmt.Errorf("%s is not in PATH", name)
}
