package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"ak-init/authentik"
	"ak-init/health"
	"ak-init/prepare"
)

// How long ak-init may take to answer, and authentik itself where nobody stands
// between. Kubernetes gives an exec probe 1 s unless told otherwise, authentik's chart 3 s.
const (
	askTimeout    = health.ProbeTimeout + 100*time.Millisecond
	directTimeout = 2900 * time.Millisecond
)

// careless writes to a descriptor and does not mind if nobody reads: os.File would end
// the process by SIGPIPE, and a health check ends with 0 or 1.
type careless uintptr

func (fd careless) Write(text []byte) (int, error) { return unix.Write(int(fd), text) }

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
// may be exec'd into a container of another uid, asks that one too. All of it takes no
// longer than one question may.
func askAround(o options, dirs []string, uid int) []health.Answer {
	deadline := time.Now().Add(askTimeout)
	for _, dir := range dirs {
		verbs := verbs(o)
		heard := make([]*health.Answer, len(verbs))
		var askers sync.WaitGroup
		for i, verb := range verbs {
			askers.Go(func() { heard[i] = askFirst(runtimeDirs(dir, uid, verb), o.question, verb, deadline) })
		}
		askers.Wait()
		var answers []health.Answer
		for _, a := range heard {
			if a != nil {
				answers = append(answers, *a)
			}
		}
		if len(answers) > 0 {
			return answers
		}
	}
	return nil
}

// runtimeDirs are ours, and for root those of other uids, each owned by the uid that is
// in its name.
func runtimeDirs(dir string, uid int, verb string) []string {
	dirs := []string{runtimeDir(dir, uid, verb)}
	if uid != 0 {
		return dirs
	}
	entries, _ := os.ReadDir(dir) // what cannot be read holds nobody to ask
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		var st unix.Stat_t
		if strings.HasPrefix(e.Name(), "ak-init-") && unix.Lstat(name, &st) == nil && name == runtimeDir(dir, int(st.Uid), verb) {
			dirs = append(dirs, name)
		}
	}
	return dirs
}

// askFirst asks the first of these directories' sockets behind which somebody is; nil
// where nobody is.
func askFirst(dirs []string, q health.Question, verb string, deadline time.Time) *health.Answer {
	for _, dir := range dirs {
		a, err := health.Ask(path.Join(dir, socketName), q, max(time.Until(deadline), time.Millisecond))
		switch {
		case err == nil:
			return &a
		case errors.Is(err, health.ErrNobody):
			continue
		default:
			return &health.Answer{Service: verb, Phase: "unknown", Reason: err.Error()}
		}
	}
	return nil
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
	config := authentik.ReadConfig(func(name string) string { return o.env[name] }, prepare.ReadSmall, "/")
	if verb.PIDFile != "" {
		if _, err := health.PIDFile(path.Join(dir, verb.PIDFile)); err != nil {
			a.Reason = err.Error()
			return a
		}
	}
	question := verb.Live
	if o.question != health.Live {
		question = verb.Ready
	}
	if question != "" {
		if err := health.HTTP(config.ProbeAddresses(), config.ProbePath(question), directTimeout); err != nil {
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
		raw, err := prepare.ReadSmall(path.Join(d, authentik.Releases()[0].Server.ModeFile))
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
