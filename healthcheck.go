package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ak-init/authentik"
	"ak-init/health"
)

// How long ak-init may take to answer, and authentik itself where nobody stands
// between. Kubernetes gives an exec probe 1 s unless told otherwise, authentik's chart 3 s.
const (
	askTimeout    = health.ProbeTimeout + 100*time.Millisecond
	directTimeout = 2900 * time.Millisecond
)

// healthcheck asks the running ak-init, or authentik itself where there is none. It
// says why in one line and gives 0 or 1.
func healthcheck(o options, stderr io.Writer) int {
	dirs := tempDirs(o)
	answers := askAround(o, dirs, os.Geteuid())
	if len(answers) == 0 {
		answers = []health.Answer{askAuthentik(o, dirs)}
	}
	code := exitHealthy
	for _, a := range answers {
		word := "healthy"
		if !a.Healthy {
			word, code = "unhealthy", exitUnhealthy
		}
		_, _ = fmt.Fprintf(stderr, "%s: %s\n", word, a)
	}
	return code
}

// tempDirs are the directories where a server or worker of this environment has its
// TMPDIR. A malformed TMPDIR is passed over: this asks only.
func tempDirs(o options) []string {
	chain, err := tempDirCandidates(o)
	if err != nil {
		delete(o.env, "TMPDIR")
		chain, _ = tempDirCandidates(o)
	}
	dirs := make([]string, len(chain))
	for i, c := range chain {
		dirs[i] = c.Path
	}
	return dirs
}

func verbs(o options) []string {
	if len(o.args) == 1 {
		return o.args
	}
	return []string{"server", "worker"}
}

// askAround asks every ak-init of ours in the first directory that has one. Root, who
// may be exec'd into a container of another uid, asks that one too.
func askAround(o options, dirs []string, uid int) []health.Answer {
	for _, dir := range dirs {
		var answers []health.Answer
		for _, verb := range verbs(o) {
			sockets := []string{path.Join(runtimeDir(dir, uid, verb), socketName)}
			if uid == 0 {
				others, _ := filepath.Glob(path.Join(dir, "ak-init-*-"+verb, socketName)) // the pattern is sound
				sockets = append(sockets, others...)
			}
			if a, ok := askFirst(sockets, o.question, verb); ok {
				answers = append(answers, a)
			}
		}
		if len(answers) > 0 {
			return answers
		}
	}
	return nil
}

// askFirst asks the first of these sockets behind which somebody is.
func askFirst(sockets []string, q health.Question, verb string) (health.Answer, bool) {
	for _, socket := range sockets {
		a, err := health.Ask(socket, q, askTimeout)
		switch {
		case err == nil:
			return a, true
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission),
			errors.Is(err, unix.ECONNREFUSED), errors.Is(err, health.ErrElsewhere):
			continue
		default:
			return health.Answer{Service: verb, Phase: "unknown", Reason: err.Error()}, true
		}
	}
	return health.Answer{}, false
}

// askAuthentik does what "authentik healthcheck MODE" does (cmd/server/healthcheck.go,
// 2026.2), with a time-out.
func askAuthentik(o options, dirs []string) health.Answer {
	mode, dir := findMode(o, dirs)
	a := health.Answer{Service: mode, Phase: "without ak-init"}
	release := authentik.Releases()[0]
	verb, ok := release.Verb(mode)
	if !ok {
		a.Service, a.Phase = "authentik", "not running"
		a.Reason = fmt.Sprintf("no ak-init and no %s in %s", release.Server.ModeFile, strings.Join(dirs, ", "))
		return a
	}
	config := authentik.ReadConfig(func(name string) string { return o.env[name] }, readSmall, "/")
	if verb.PIDFile != "" {
		if _, err := health.PIDFile(path.Join(dir, verb.PIDFile), verb.PIDFileHolder); err != nil {
			a.Reason = err.Error()
			return a
		}
	}
	question := verb.Live
	if o.question != health.Live {
		question = verb.Ready
	}
	if question != "" {
		if err := health.HTTP(config.ProbeAddress(), config.ProbePath(question), directTimeout); err != nil {
			a.Reason = err.Error()
			return a
		}
	}
	a.Healthy = true
	return a
}

// findMode gives the mode that was named or that a mode file holds, and the TMPDIR
// that goes with it. Newer releases write the file without a newline.
func findMode(o options, dirs []string) (mode, dir string) {
	if len(o.args) == 1 {
		mode = o.args[0]
	}
	for _, d := range dirs {
		raw, err := readSmall(path.Join(d, authentik.Releases()[0].Server.ModeFile))
		if err != nil {
			continue
		}
		if found := strings.TrimSpace(string(raw)); mode == "" || mode == found {
			return found, d
		}
	}
	if len(dirs) > 0 {
		dir = dirs[0]
	}
	return mode, dir
}
