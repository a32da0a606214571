// Package authentik is the contract with each authentik release, as data: what a
// verb runs, reads, writes and listens on, and where an installation keeps its
// parts. It starts nothing and writes nothing; what it has to look at comes in as
// functions.
package authentik

import (
	"iter"
	"strings"
	"syscall"
	"time"
)

// Release is what one authentik release expects of whoever starts it. A field that
// two releases do not share belongs here, not into an if.
type Release struct {
	// Name is the release without its patch level, as "2026.2".
	Name string
	// Patch is the first patch level that the row is for.
	Patch  int
	Server Verb
	Worker Verb
	// Others are verbs that run something and end with it.
	Others []Verb
	// Migrate are the steps that bring the database up to date, once for all who
	// start afterwards.
	Migrate []Step
	// SkipMigrations is the variable that keeps a service from doing the same again, empty
	// where there is none: it finds nothing left to do then.
	SkipMigrations string
	// Tools are what installs the packages for debugging, by root in an image.
	Tools []Step
	// DropsTo is the user that children get instead of root where a verb says so.
	DropsTo string
	// DockerSocket is the socket whose group such children get as well.
	DockerSocket string
	// Unset are variables that must not reach any child.
	Unset []string
	// Settings are those that are known beside what the release's own file names
	// (authentik/lib/default.yml); one that ends in a dot is a whole table.
	Settings []string
	// Renamed are settings of earlier releases.
	Renamed []Rename
	// Uploads are where it writes what users upload.
	Uploads Uploads
	// Published is the day of the release's first version: no clock is right before it.
	Published time.Time
	// MinimumPostgreSQL is the oldest major version that the release works with.
	MinimumPostgreSQL int
	// DataFiles are what its code opens below its root, beside the code itself.
	DataFiles []DataFile
}

// Verb is one word that a container is started with.
type Verb struct {
	Name string
	// Program is looked up in the children's PATH. Argv[0] is this word too.
	Program string
	// Args may hold {tmpdir}.
	Args []string
	// TakesArgs: words behind the verb are handed on.
	TakesArgs bool
	// Migrates: it brings the database up to date and ends.
	Migrates bool
	// Interactive: somebody sits at its terminal, or may. It does not keep a container
	// going, and any number of them may run beside each other.
	Interactive bool
	// Pauses: there is no program, and it goes on until it is told to stop.
	Pauses bool
	// WantsTools: it needs the packages for debugging, whatever the debugger setting says.
	WantsTools bool
	// Before are steps of its own.
	Before []Step
	// Bootstrap is run before, when one of its triggers is set.
	Bootstrap *Bootstrap
	// DropsRoot: root gives its place to DropsTo.
	DropsRoot bool
	// ModeFile and PIDFile are names in TMPDIR. authentik's own health check reads
	// the mode file; the pid file is written by the service, on whose command line it
	// stands.
	ModeFile, PIDFile string
	// Heartbeat is the name in TMPDIR of a file that the service touches while it is at work,
	// HeartbeatAge how old it may become. Empty: it touches none.
	Heartbeat    string
	HeartbeatAge time.Duration
	// Sockets and StalePIDFiles are patterns (path.Match) of names in TMPDIR that an earlier
	// run may leave behind.
	Sockets, StalePIDFiles []string
	// Keys are such patterns of files that are written anew at each start, and can be by who
	// owns them alone; Scratch is a directory in TMPDIR that is made once and kept.
	Keys    []string
	Scratch string
	// Drain is the word by which helpers that must end first are known.
	Drain string
	// HealthSocket is a name in TMPDIR of a socket that answers what listen.http does. A
	// release that has none leaves none there, so it is asked where there is one.
	HealthSocket string
	// SocketAlone: HealthSocket is where it is asked and nowhere else, at paths that web.path does
	// not move.
	SocketAlone bool
	// Live and Ready are paths below web.path that answer at listen.http.
	// An empty Live: the verb is live by its processes alone.
	Live, Ready string
	// LiveSocket is a name in TMPDIR of the socket of what lies behind listen.http, which answers
	// Live, too.
	LiveSocket string
	// LiveAlone: listen.http answers Live without asking what lies behind.
	LiveAlone bool
	// Messages are signals by which its own children speak to it: from anybody else it takes them
	// for theirs.
	Messages []syscall.Signal
	// WaitFirst: it does not wait for the database by itself.
	WaitFirst bool
	// NoMetrics: its processes share no metric files.
	NoMetrics bool
	// Listen begins the settings of its addresses, as "listen." does listen.http and
	// listen.metrics. Empty: it listens nowhere.
	Listen string
}

// Step is a program that runs to its end before the service.
type Step struct {
	Name    string
	Program string
	Args    []string
	// Root: it is root's, whoever the children are, and nobody else's.
	Root bool
}

// Bootstrap is the step that applies the credentials of a first start.
type Bootstrap struct {
	Program string
	Args    []string
	// Triggers are variables; one that is set and not empty is enough.
	Triggers []string
	// Needed: the service is not started where it fails.
	Needed bool
	// Migrates: it brings the database up to date before.
	Migrates bool
}

// Uploads are the settings of the directory for uploads.
type Uploads struct {
	// Path and Backend are the settings' names, Default is the former's value where it has none.
	Path, Backend, Default string
	// Below are the directories in there. Each may have settings of its own, as
	// storage.media.file.path and storage.media.backend for media.
	Below []string
}

// Argv is a verb's command line; its first word is looked up in PATH.
func (v Verb) Argv(tmpdir string, args []string) []string {
	argv := []string{v.Program}
	for _, a := range v.Args {
		argv = append(argv, strings.ReplaceAll(a, "{tmpdir}", tmpdir))
	}
	if v.TakesArgs {
		argv = append(argv, args...)
	}
	return argv
}

// ManageName is the verb that a word is handed to which is none.
const ManageName = "manage"

// The names of what comes before a service, or is done for itself.
const (
	WaitName    = "wait-for-database"
	MigrateName = "migrate"
)

// Releases are the known ones, newest first.
//
// Sources: lifecycle/ak, cmd/server/{server,healthcheck}.go, internal/web/{web,proxy}.go,
// internal/gounicorn/gounicorn.go, internal/config/config.go and
// packages/django-dramatiq-postgres, each at the tag of the release.
func Releases() iter.Seq[Release] {
	return func(yield func(Release) bool) {
		r := Newest()
		if !yield(r) {
			return
		}
		for _, e := range earlierReleases() {
			if r = r.before(e); !yield(r) {
				return
			}
		}
	}
}

// Newest is the one that the others are told from.
func Newest() Release {
	return Release{
		Name:  "2026.2",
		Patch: 2,
		Server: Verb{
			Name:     "server",
			Program:  "authentik",
			ModeFile: "authentik-mode",
			// gunicorn's socket and pid files; a reload has a second one
			// (internal/gounicorn/gounicorn.go, internal/web/web.go).
			Sockets:       []string{"authentik-core.sock"},
			StalePIDFiles: []string{"authentik-gunicorn.*.pid", "authentik-gunicorn.*.pid.2"},
			// internal/web/metrics.go, internal/web/web.go: without them there are no metrics, and
			// its calls of the API are refused. worker_tmp_dir of lifecycle/gunicorn.conf.py, which
			// leaves gunicorn no worker where it cannot be written.
			Keys:    []string{"authentik-core-metrics.key", "authentik-core-ipc.key"},
			Scratch: "authentik_gunicorn_tmp",
			// The Go process ends at once on TERM and cuts what it proxies; gunicorn must
			// have finished before (internal/web/web.go, cmd/server/server.go).
			Drain: "gunicorn",
			// From 2026.5 on, which is taken for this release (internal/web/web.go,
			// cmd/server/healthcheck.go, main branch of April 2026).
			HealthSocket: "authentik.sock",
			Live:         "-/health/live/",
			LiveSocket:   "authentik-core.sock",
			Ready:        "-/health/ready/",
			Listen:       "listen.",
		},
		Worker: Verb{
			Name:      "worker",
			Program:   "python",
			Args:      []string{"-m", "manage", "worker", "--pid-file", "{tmpdir}/authentik-worker.pid"},
			TakesArgs: true,
			DropsRoot: true,
			ModeFile:  "authentik-mode",
			PIDFile:   "authentik-worker.pid",
			// The worker's health server answers every path alike: 200 when its database
			// does (authentik/tasks/middleware.py).
			Ready:  "-/health/ready/",
			Listen: "listen.",
			// From 2025.8 on the worker's, and its failure is ignored (lifecycle/ak).
			Bootstrap: &Bootstrap{
				Program:  "python",
				Args:     []string{"-m", "manage", "apply_blueprint", "system/bootstrap.yaml"},
				Triggers: []string{"AUTHENTIK_BOOTSTRAP_PASSWORD", "AUTHENTIK_BOOTSTRAP_TOKEN"},
			},
		},
		Others: []Verb{
			{Name: "bash", Program: "bash", Interactive: true},
			{Name: "dump_config", Program: "python", Args: []string{"-m", "authentik.lib.config"}, TakesArgs: true, Interactive: true},
			{Name: "debug", Pauses: true, Interactive: true},
			{
				Name: "test-all", Program: "python", Args: []string{"-m", "manage", "test", "authentik"},
				DropsRoot: true, Interactive: true, WantsTools: true, Before: []Step{{"chmod-home", "chmod", []string{"777", "/root"}, true}},
			},
			{Name: ManageName, Program: "python", Args: []string{"-m", "manage"}, TakesArgs: true, Interactive: true},
			{Name: MigrateName, Program: "python", Args: []string{"-m", "lifecycle.migrate"}, DropsRoot: true, Migrates: true},
		},
		// What both services do first by themselves (manage.py, lifecycle/gunicorn.conf.py).
		Migrate: []Step{
			{Name: WaitName, Program: "python", Args: []string{"-m", "lifecycle.wait_for_db"}},
			{Name: MigrateName, Program: "python", Args: []string{"-m", "lifecycle.migrate"}},
		},
		// lifecycle/migrate.py, 2026.2.2.
		SkipMigrations: "AUTHENTIK_SKIP_MIGRATIONS",
		// prepare_debug (lifecycle/ak).
		Tools: []Step{
			{"tools-update", "apt-get", []string{"update"}, true},
			{"tools-install", "apt-get", []string{
				"install", "-y", "--no-install-recommends", "krb5-kdc", "krb5-user", "krb5-admin-server", "libkrb5-dev", "gcc",
			}, true},
			{"tools-python", "uv", []string{"sync", "--active", "--frozen"}, true},
			{"tools-report", "touch", []string{"/unittest.xml"}, true},
			{"tools-report-owner", "chown", []string{"authentik:authentik", "/unittest.xml"}, true},
		},
		DropsTo:      "authentik",
		DockerSocket: "/var/run/docker.sock",
		// The Go server changes its directory to it (internal/config/config.go).
		Unset:    []string{"WORKSPACE_DIR"},
		Settings: settings2026(),
		Renamed:  renamed2026(),
		// authentik/admin/files/backends/file.py: files lie in <path>/<use>.
		Uploads: Uploads{
			Path: "storage.file.path", Backend: "storage.backend", Default: "./data", Below: []string{"media", "reports"},
		},
		Published: day(2026, 2, 24),
		// Django 5.2's (its release notes, "Dropped support for PostgreSQL 13").
		MinimumPostgreSQL: 14,
		DataFiles:         dataFiles(),
	}
}

// ReleaseOf finds the row for an authentik version such as "2026.2.2". known is
// false where there is none: the newest is given then.
func ReleaseOf(version string) (r Release, known bool) {
	for r := range Releases() {
		if r.isOf(version) {
			return r, true
		}
	}
	return Newest(), false
}

// ScriptVerbs are the words that lifecycle/ak knows in some release; all others, and none at all,
// it hands to Django.
func ScriptVerbs() []string {
	return []string{"server", "worker", "worker-status", "healthcheck", "bash", "test-all", "dump_config", "debug"}
}

// Verb finds a verb by its word.
func (r Release) Verb(word string) (Verb, bool) {
	for _, v := range append([]Verb{r.Server, r.Worker}, r.Others...) {
		if v.Name == word {
			return v, true
		}
	}
	return Verb{}, false
}
