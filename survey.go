package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"ak-init/authentik"
	"ak-init/prepare"
)

// facts is what this machine is, as far as a plan depends on it.
type facts struct {
	self     prepare.Identity
	identity prepare.Identity
	// ownGroups are the groups of identity but for docker.sock's, which is not its own.
	ownGroups    []int
	layout       authentik.Layout
	release      authentik.Release
	releaseKnown bool
	settings     authentik.Settings
	// settingsFault is what of them could not be read.
	settingsFault error
	// userSettings is authentik's module of that name where there is one, userSettingsFault why
	// the children cannot read it.
	userSettings      string
	userSettingsFault error
	config            authentik.Config
	// onIPv4 are addresses, by their variables, that this machine has no IPv6 for.
	onIPv4 map[string]string
	// identityFailed: who they are to be cannot be had, and identity is who we are.
	identityFailed bool
	// identityBy is what decided who the children are, empty for nothing.
	identityBy string
	docker     dockerSocket
	listeners  []listener
	// freePorts is the first port that needs no privilege, bindsLow tells whether we may take
	// those below; both only where an address has one.
	freePorts int
	bindsLow  bool
	// now is this machine's clock.
	now time.Time
	// mounts are those of some paths that are mounts of their own.
	mounts map[string]bool
	// openFiles and openFilesMax are the limits of descriptors that we were started with.
	openFiles, openFilesMax uint64
	// running: an ak-init that has these addresses is at work here. It is asked for only where
	// one is in use.
	running  bool
	tempDirs []tempDir
	room     prepare.Space
	find     finder
	// databaseProgram is ak-init-database beside ak-init, empty where it is not.
	databaseProgram string
	// databaseFilesHung is the first of the files that PostgreSQL's settings name that does not
	// answer: who opens it hangs.
	databaseFilesHung error
	// httpProgram is ak-init-http, if it is asked for, httpForeign says that it is none for this
	// machine, and healthListeners are where it is to listen.
	httpProgram     string
	httpForeign     bool
	healthListeners []listener
	// view is how authentik's files are looked at.
	view authentik.View
	// hung are paths that did not answer so far: what looks by view or find may meet more.
	hung func() []error
}

// dockerSocket is a container engine's, and why the children cannot use it.
type dockerSocket struct {
	path string
	err  error
}

// listener is an address that a service will listen on.
type listener struct {
	service, setting, address string
	// onIPv4 tells that it is there in the place of IPv6's, which this machine has not.
	onIPv4 bool
	// vital: people log in by one of these.
	vital bool
	err   error
}

// Where a TMPDIR may come from, beside a flag.
const (
	originEnvironment = "TMPDIR in the environment"
	originDefault     = "a default for TMPDIR"
)

// originNoIPv6 is why an address that nobody has set is IPv4's.
const originNoIPv6 = "this machine has no IPv6"

// survey looks and changes nothing. unusable are directories that could not be written
// after all. Where it finds a fault it looks on as far as that makes sense: facts without a
// layout are of no use, others are.
func survey(o options, unusable map[string]error, reader *prepare.Reader) (facts, error) {
	f := facts{self: prepare.Self(), find: reader.Executable, hung: reader.Faults, releaseKnown: true}
	ofAuthentik := o.command != "run"
	if ofAuthentik {
		if err := f.surveyLayout(o, reader); err != nil {
			return f, err
		}
	}
	identityErr := f.surveyIdentity(o, reader)
	f.identityFailed = identityErr != nil
	if ofAuthentik {
		f.settings, f.settingsFault = readSettings(o, f.layout.Root, reader.For(f.identity))
		verb, _ := f.release.Verb(o.command) // of all it is the server's
		f.config = f.release.Config(f.settings, verb, f.layout.Root)
		f.surveyUserSettings(reader)
		f.databaseProgram = programBeside(databaseName, reader)
		f.surveyDatabaseFiles(reader)
	}
	tempDirErr := f.surveyTempDirs(o, unusable, reader)
	if ofAuthentik {
		f.surveyHost(o, reader)
	} else {
		tempDirErr = nil // it does without
	}
	f.surveyHTTP(o, reader)
	return f, merged(identityErr, tempDirErr)
}

func (f *facts) surveyTempDirs(o options, unusable map[string]error, reader *prepare.Reader) error {
	candidates, err := tempDirCandidates(o)
	for _, c := range candidates {
		c.unusable = unusable[c.Path]
		if c.unusable == nil {
			c.unusable = reader.LookAt(c.Path, c.Origin, f.identity)
			if errors.Is(c.unusable, fs.ErrPermission) && c.isTheirs() && reader.MayGive(c.Path, f.identity) {
				c.unusable = nil
			}
		}
		f.tempDirs = append(f.tempDirs, c)
		if c.unusable == nil {
			f.room, _ = reader.Room(c.Path) // what is still to be made has none
			break                           // the rest is looked at when writing there fails after all
		}
	}
	return err
}

func (f *facts) surveyUserSettings(reader *prepare.Reader) {
	file := authentik.UserSettings(f.layout)
	if there, err := reader.For(f.identity).Listed(file); there || err != nil {
		f.userSettings, f.userSettingsFault = file, err
	}
}

// surveyDatabaseFiles looks whether what PostgreSQL's settings name answers: certificates, a
// key, and the directories of sockets.
func (f *facts) surveyDatabaseFiles(reader *prepare.Reader) {
	primary, _ := f.settings.PostgreSQL() // what is wrong with them is told elsewhere
	replicas, _ := f.settings.Replicas()
	for _, server := range append(replicas, primary) {
		for _, file := range append([]string{server.SSLRootCert, server.SSLCert, server.SSLKey}, strings.Split(server.Host, ",")...) {
			if !filepath.IsAbs(file) {
				continue
			}
			// One byte: a server may know the file and not give it.
			if _, err := reader.For(f.identity).Head(file, 1); errors.Is(err, prepare.ErrHung) {
				f.databaseFilesHung = err
				return
			}
		}
	}
}

// hungForDatabase is why whoever asks PostgreSQL would hang, nil where nothing is known to.
func (f facts) hungForDatabase() error {
	for _, err := range each(f.settingsFault) {
		if errors.Is(err, prepare.ErrHung) {
			return err
		}
	}
	for _, s := range f.settings.Secrets { // all are read, whatever they are for
		if errors.Is(s.Err, prepare.ErrHung) {
			return fmt.Errorf("%s is %s: %w", authentik.Variable(s.Setting), s, s.Err)
		}
	}
	return f.databaseFilesHung
}

// readSettings reads authentik's configuration.
func readSettings(o options, root string, reader *prepare.Reader) (authentik.Settings, error) {
	return authentik.ReadSettings(authentik.Sources{Env: o.env, Read: reader.Read, Glob: reader.Glob, Root: root})
}

func (f *facts) surveyLayout(o options, reader *prepare.Reader) error {
	roots := []string{o.root}
	if o.root == "" {
		roots = authentik.Roots(reader.WorkingDir(), o.env["PATH"])
	} else if abs, err := filepath.Abs(o.root); err == nil {
		roots = []string{abs}
	}
	f.view = authentik.View{
		Exists: reader.Exists, Read: reader.Read,
		Head:  func(path string) ([]byte, error) { return reader.Head(path, authentik.HeadSize) },
		Names: reader.Names, Readlink: reader.Readlink, Executable: reader.IsExecutable,
		SameFile: reader.SameFile, Self: "/proc/self/exe",
	}
	env := maps.Clone(o.env)
	env["PATH"] = cmp.Or(env["PATH"], defaultPath) // as the children will have it
	layout, err := authentik.Find(f.view, roots, env)
	if err != nil {
		err = fmt.Errorf("%w; give the root that holds it by --root", err)
		return failed("layout", exitConfig, append(reader.Faults(), err)...)
	}
	f.layout = layout
	release, known := authentik.ReleaseOf(layout.Version)
	f.release, f.releaseKnown = layout.Adapt(release), known
	return nil
}

// surveyIdentity decides who the children are: --user, or for a root worker what the
// release says, else ourselves.
func (f *facts) surveyIdentity(o options, reader *prepare.Reader) error {
	verb, _ := f.release.Verb(o.command)
	if o.command == "all" {
		// Both as one user, since both write to the same data.
		verb = f.release.Worker
	}
	dropsRoot := f.self.UID == 0 && verb.DropsRoot
	socket := cmp.Or(strings.TrimPrefix(o.env["DOCKER_HOST"], "unix://"), f.release.DockerSocket)
	wanted, by := wantedUser(o, f.self, verb)
	if dropsRoot && wanted == "" {
		wanted, by = f.release.DropsTo, "authentik's rule for root's worker"
	}
	f.identity, f.identityBy = f.self, by
	if wanted != "" {
		id, err := reader.Become(f.self, wanted)
		if err != nil {
			return failed("identity", exitNoPermission, err)
		}
		f.ownGroups = id.Groups
		if dropsRoot && id.UID != 0 {
			id = reader.WithGroupOf(id, socket)
		}
		if err := prepare.MayTake(id); err != nil {
			return failed("identity", exitNoPermission, err)
		}
		f.identity = id
	}
	if verb.DropsRoot { // the server asks nothing of it
		if f.docker.path, f.docker.err = reader.Socket(socket, f.identity); f.docker.err != nil {
			f.docker.path = socket // which may not even answer
		}
	}
	return nil
}

// isID tells whether a text is a uid or gid.
func isID(text string) bool {
	_, err := strconv.ParseUint(text, 10, 31)
	return err == nil
}

// wantedUser is who the children are to be: by the flag, or, for a service that root starts, by
// PUID and PGID, as many images take them.
func wantedUser(o options, self prepare.Identity, verb authentik.Verb) (user, by string) {
	uid, gid := o.env["PUID"], o.env["PGID"]
	switch {
	case o.user != "":
		return o.user, o.origin("user")
	case self.UID != 0 || verb.Interactive || o.command == "run" || uid == "" && gid == "":
		return "", ""
	case !isID(uid) || gid != "" && !isID(gid):
		return "", "" // a group alone is no user, and authentik knows neither name
	case gid == "":
		return uid, "PUID"
	default:
		return uid + ":" + gid, "PUID and PGID"
	}
}

// sharedDirs are for everybody (Filesystem Hierarchy Standard; shm_overview(7)).
func sharedDirs() []string { return []string{"/dev/shm", "/tmp", "/var/tmp"} }

// tempDirCandidates is the chain in which TMPDIR is looked for. One that could be
// right nowhere is refused: authentik would write to /authentik-mode, or relative to
// wherever it stands.
func tempDirCandidates(o options) ([]tempDir, error) {
	if o.tmpdir != "" {
		return []tempDir{{Path: filepath.Clean(o.tmpdir), Origin: o.origin("tmpdir"), explicit: true}}, nil
	}
	var chain []tempDir
	if dir, set := o.env["TMPDIR"]; set {
		if !filepath.IsAbs(dir) {
			return nil, failed("tmpdir", exitConfig, fmt.Errorf("TMPDIR is %q in the %s: unset it or set an absolute path", dir, cmp.Or(o.fromFile["TMPDIR"], "environment")))
		}
		chain = append(chain, tempDir{Path: filepath.Clean(dir), Origin: originEnvironment})
	}
	for _, dir := range append(sharedDirs(), o.env["XDG_RUNTIME_DIR"]) {
		if filepath.IsAbs(dir) {
			chain = append(chain, tempDir{Path: filepath.Clean(dir), Origin: originDefault})
		}
	}
	return chain, nil
}
