package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"ak-init/authentik"
	"ak-init/health"
	"ak-init/prepare"
)

// How long ak-init may take to answer, and all of it may where authentik itself has to be
// asked. Kubernetes gives an exec probe 1 s unless told otherwise, authentik's chart 3 s, and so
// does the image's HEALTHCHECK: who is ended by Docker cannot say why.
const (
	askTimeout    = health.AnswerTimeout + 100*time.Millisecond
	directTimeout = 2500 * time.Millisecond
)

// careless writes to a descriptor and does not mind if nobody reads: os.File would end
// the process by SIGPIPE, and a health check ends with 0 or 1.
type careless uintptr

func (fd careless) Write(text []byte) (int, error) { return unix.Write(int(fd), text) }

// healthcheck asks the running ak-init, or authentik itself where there is none. It
// says why in one line for each service, or all of it as JSON, and gives 0 or 1.
func healthcheck(o options, stdout, stderr io.Writer) int {
	begun := time.Now()
	dirs := tempDirs(o)
	answers, mute := askAround(o, dirs, os.Geteuid())
	if len(answers) == 0 {
		a := askAuthentik(o, dirs, begun.Add(directTimeout))
		if !a.Healthy && mute != nil {
			a.Reason = oneLine(mute) + "; " + a.Reason
		}
		answers = []health.Answer{a}
	}
	return reportHealth(o, answers, stdout, stderr)
}

// tempDirs are the directories where a server or worker of this environment has its
// TMPDIR. A malformed TMPDIR is passed over: this asks only.
func tempDirs(o options) []string {
	chain, err := tempDirCandidates(o)
	if err != nil {
		delete(o.env, "TMPDIR")
		chain, _ = tempDirCandidates(o)
	}
	var dirs []string
	for _, c := range chain {
		if !slices.Contains(dirs, c.Path) {
			dirs = append(dirs, c.Path)
		}
	}
	return dirs
}

// commandsFor are the commands under which what is asked for runs, likeliest first. A
// program of somebody's own is asked for by name only: it may run beside a server, and says
// nothing of that one's health.
func commandsFor(o options) []string {
	switch {
	case o.command == "status" && len(o.args) == 0:
		return []string{"server", "worker", "all", "migrate", "run"}
	case len(o.args) == 0:
		return []string{"server", "worker", "all", "migrate"}
	case o.args[0] == "run":
		return []string{"run"}
	default:
		return []string{o.args[0], "all"}
	}
}

// askAround asks every ak-init of ours in the first directory that has one. All of it
// takes no longer than one question may. mute are directories that do not answer.
func askAround(o options, dirs []string, uid int) (answers []health.Answer, mute error) {
	deadline := time.Now().Add(askTimeout)
	for _, dir := range dirs {
		sockets, err := sockets(o, dir, uid)
		mute = errors.Join(mute, err)
		heard := make([][]health.Answer, len(sockets))
		var askers sync.WaitGroup
		for i, socket := range sockets[min(1, len(sockets)):] { // most often there is none
			askers.Go(func() { heard[i+1] = askOne(socket, o, deadline) })
		}
		if len(sockets) > 0 {
			heard[0] = askOne(sockets[0], o, deadline)
		}
		askers.Wait()
		if answers := slices.Concat(heard...); len(answers) > 0 {
			return answers, nil
		}
	}
	return nil, mute
}

// socketsBound is how long a directory may take to say which sockets it has. It may be a TMPDIR
// that hangs, in whose place ak-init has taken the next.
const socketsBound = askTimeout / 3

// sockets are those of ours, and for root, who may be exec'd into a container of another
// uid, those of other uids.
func sockets(o options, dir string, uid int) ([]string, error) {
	return prepare.Within(socketsBound, dir, func() ([]string, error) { return socketsIn(o, dir, uid), nil })
}

func socketsIn(o options, dir string, uid int) (found []string) {
	for _, command := range commandsFor(o) {
		for _, runtime := range runtimeDirs(dir, uid, command) {
			socket := path.Join(runtime, socketName)
			if unix.Access(socket, unix.F_OK) == nil && ownedAsNamed(runtime, command) {
				found = append(found, socket)
			}
		}
	}
	return found
}

// ownedAsNamed tells whether a runtime directory belongs to the uid that is in its name: in a
// TMPDIR like /tmp anybody can make one in anybody's name.
func ownedAsNamed(dir, command string) bool {
	var st unix.Stat_t
	return unix.Lstat(dir, &st) == nil && dir == runtimeDir(path.Dir(dir), int(st.Uid), command)
}

// runtimeDirs are ours, and for root those of other uids.
func runtimeDirs(dir string, uid int, command string) []string {
	dirs := []string{runtimeDir(dir, uid, command)}
	if uid != 0 {
		return dirs
	}
	entries, _ := os.ReadDir(dir) // what cannot be read holds nobody to ask
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		if strings.HasPrefix(e.Name(), runtimePrefix) && strings.HasSuffix(name, "-"+command) && name != dirs[0] {
			dirs = append(dirs, name)
		}
	}
	return dirs
}

// askOne gives what the ak-init behind a socket answers, for the service that was asked
// for; nothing where nobody is.
func askOne(socket string, o options, deadline time.Time) []health.Answer {
	answers, err := health.Ask(socket, o.question, max(time.Until(deadline), time.Millisecond))
	if errors.Is(err, health.ErrNobody) {
		return nil
	}
	if err != nil {
		return []health.Answer{{Service: path.Base(path.Dir(socket)), Phase: "unknown", Reason: err.Error()}}
	}
	return slices.DeleteFunc(answers, func(a health.Answer) bool {
		return len(o.args) == 1 && o.args[0] != "run" && a.Service != o.args[0]
	})
}

// askAuthentik does what "authentik healthcheck MODE" does (cmd/server/healthcheck.go,
// 2026.2), and comes back by the deadline, also where a file does not answer.
func askAuthentik(o options, dirs []string, deadline time.Time) health.Answer {
	a, err := prepare.Within(time.Until(deadline), "a file of authentik's", func() (health.Answer, error) {
		// Behind a file that hangs there is still time for the question, and behind that for its
		// answer, be there little processor time.
		return askService(o, dirs, deadline.Add(-directTimeout/10), prepare.NewReader(directTimeout/3)), nil
	})
	if err != nil {
		return health.Answer{Service: "authentik", Phase: "unknown", Reason: err.Error()}
	}
	return a
}

// askService asks the service that was named, or that the mode file names.
func askService(o options, dirs []string, deadline time.Time, reader *prepare.Reader) health.Answer {
	mode, dir, file := findMode(o, dirs, reader)
	a := health.Answer{Service: mode, Phase: "without ak-init"}
	release, verb, ok := releaseIn(dir, mode)
	switch {
	case !ok && file != "":
		return health.Answer{Service: "authentik", Phase: "unknown", Reason: fmt.Sprintf("no ak-init, and %s holds %.40q, which is neither server nor worker", file, mode)}
	case !ok:
		a.Service, a.Phase = cmp.Or(mode, "authentik"), "not running"
		a.Reason = fmt.Sprintf("no ak-init and no %s in %s", release.Server.ModeFile, strings.Join(dirs, ", "))
		return a
	}
	settings, _ := readSettings(o, "/", reader) // what can be read says enough
	if err := probe(verb, release.Config(settings, verb, "/"), dir, o.question, deadline); err != nil {
		a.Reason = err.Error()
		return a
	}
	a.Healthy = true
	return a
}

// releaseIn gives the newest release whose service leaves in its TMPDIR what lies there: a pid
// file, a heartbeat, or Rust's socket. Where nothing does it is the newest of all.
func releaseIn(dir, mode string) (r authentik.Release, verb authentik.Verb, ok bool) {
	for r := range authentik.Releases() {
		verb, ok := serviceOf(r, mode)
		mark := cmp.Or(verb.PIDFile, verb.Heartbeat)
		if mark == "" { // a server: what differs, LiveSocket, is asked by ak-init alone (docs/decisions/0017)
			break
		}
		if unix.Access(path.Join(dir, mark), unix.F_OK) == nil {
			return r, verb, ok
		}
	}
	r = authentik.Newest()
	if socket := r.Server.HealthSocket; mode == r.Worker.Name && unix.Access(path.Join(dir, socket), unix.F_OK) == nil {
		// As authentik's own health check asks from 2026.5 on: no other worker has it.
		r = authentik.Layout{Programs: authentik.Programs{Row: authentik.RowRust}}.Adapt(r)
	}
	verb, ok = serviceOf(r, mode)
	return r, verb, ok
}

// serviceOf finds a service by its mode. Other verbs run for as long as somebody works with
// them, and answer nobody.
func serviceOf(r authentik.Release, mode string) (authentik.Verb, bool) {
	for _, verb := range []authentik.Verb{r.Server, r.Worker} {
		if verb.Name == mode {
			return verb, true
		}
	}
	return authentik.Verb{}, false
}

// probe asks a service by all that its verb has: the pid file, the heartbeat, and HTTP.
func probe(verb authentik.Verb, config authentik.Config, dir string, q health.Question, deadline time.Time) error {
	if verb.PIDFile != "" {
		if _, err := health.PIDFile(path.Join(dir, verb.PIDFile)); err != nil {
			return err
		}
	}
	if verb.Heartbeat != "" {
		if err := health.Heartbeat(path.Join(dir, verb.Heartbeat), verb.HeartbeatAge); err != nil {
			return err
		}
	}
	below := verb.Live
	if q != health.Live {
		below = verb.Ready
	}
	if below == "" {
		return nil
	}
	addresses := config.ProbeAddresses()
	switch {
	case verb.SocketAlone:
		addresses, config.WebPath = []string{path.Join(dir, verb.HealthSocket)}, "/"
	case verb.HealthSocket != "":
		addresses = slices.Insert(addresses, 0, path.Join(dir, verb.HealthSocket))
	}
	return health.HTTP(addresses, config.ProbePath(below), time.Until(deadline))
}

// findMode gives the mode that was named or that a mode file holds, and the TMPDIR
// that goes with it; file is the one that holds it, if any. Newer releases write the file
// without a newline.
func findMode(o options, dirs []string, reader *prepare.Reader) (mode, dir, file string) {
	if len(o.args) == 1 {
		mode = o.args[0]
	}
	for _, d := range dirs {
		file := path.Join(d, authentik.Newest().Server.ModeFile)
		raw, err := reader.Read(file)
		if err != nil {
			continue
		}
		if found := strings.TrimSpace(string(raw)); mode == "" || mode == found {
			return found, d, file
		}
	}
	if len(dirs) > 0 {
		dir = dirs[0]
	}
	return mode, dir, ""
}
