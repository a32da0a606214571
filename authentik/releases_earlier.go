package authentik

import (
	"slices"
	"strings"
	"time"
)

// earlier is a release by what it does otherwise than the next newer one.
type earlier struct {
	name string
	// patch is the first patch level that it is for.
	patch     int
	published time.Time
	// differs is given a copy. It puts new slices and pointers in the place of old ones: the
	// newer release has these, too.
	differs func(r *Release)
}

// earlierReleases are those before the newest, newest first. What no start and no question
// depends on is left out.
func earlierReleases() []earlier {
	return []earlier{
		// Before 2026.2.2 nothing keeps a service from migrating.
		{"2026.2", 0, day(2026, 2, 24), func(r *Release) { r.SkipMigrations = "" }},
		{"2025.12", 0, day(2026, 1, 13), func(r *Release) { r.Server.HealthSocket = "" }},
		{"2025.10", 4, day(2025, 10, 27), func(r *Release) {
			// authentik/root/{settings,storages}.py; public is the schema of the one tenant that there
			// always is, and has no settings of its own.
			r.Uploads = Uploads{
				Path: "storage.media.file.path", Backend: "storage.media.backend", Default: "./media", Below: []string{"public"},
			}
		}},
		// Before, the Go server says yes to the live question whatever becomes of gunicorn
		// (internal/web/proxy.go), which answers it at its own socket (authentik/root/monitoring.py).
		{"2025.10", 0, day(2025, 10, 27), func(r *Release) { r.Server.LiveAlone = true }},
		// From 2025.8.4 on the worker listens where the server does.
		{"2025.8", 4, day(2025, 8, 20), func(r *Release) {
			r.MinimumPostgreSQL = 13 // Django 5.1's
			r.Unset = nil            // no such variable is read
			// authentik/lib/config.py, which moves some of them from one table to another.
			r.know([]string{"redis.", "cache."}, "redis.", "cache.url")
		}},
		{"2025.8", 0, day(2025, 8, 20), func(r *Release) {
			// The Go server reads listen.http from the environment and listen.listen_http from files
			// (internal/config/struct.go), Python the latter from both (authentik/tasks/forks.py).
			r.Worker.Listen = "listen.listen_"
			r.know(
				[]string{"listen.http", "listen.https", "listen.metrics", "listen.debug"},
				"listen.listen_http", "listen.listen_https", "listen.listen_metrics", "listen.listen_debug", "listen.listen_debug_py",
			)
		}},
		{"2025.6", 0, day(2025, 6, 3), func(r *Release) {
			r.Server.Scratch = "authentik_worker_tmp"
			// The server's, and fatal (lifecycle/ak). It migrates first (manage.py).
			r.Server.Bootstrap = &Bootstrap{
				Program: "python", Args: []string{"-m", "manage", "bootstrap_tasks"},
				Triggers: r.Worker.Bootstrap.Triggers, Needed: true, Migrates: true,
			}
			// Celery: it listens nowhere, and touches its file every 10 s (authentik/root/celery.py);
			// 30 s are too old (cmd/server/healthcheck.go). PROMETHEUS_MULTIPROC_DIR is gunicorn's alone
			// (lifecycle/gunicorn.conf.py): nobody would read Celery's metric files, and it has a new
			// process each 50 tasks (authentik/root/settings.py), which would leave its own.
			r.Worker = Verb{
				Name: r.Worker.Name, Program: r.Worker.Program, Args: []string{"-m", "manage", "worker"}, TakesArgs: true,
				DropsRoot: true, ModeFile: r.Worker.ModeFile, Heartbeat: "authentik-worker", HeartbeatAge: 30 * time.Second,
				NoMetrics: true,
			}
			r.Others = append(slices.Clone(r.Others), Verb{
				Name: "worker-status", Program: "celery", Args: []string{"-A", "authentik.root.celery", "flower", "--port=9000"},
				Interactive: true, Before: []Step{{WaitName, "python", []string{"-m", "lifecycle.wait_for_db"}, false}},
			})
			r.know([]string{"broker.", "result_backend."}, "broker.", "result_backend.", "worker.concurrency")
		}},
		{"2025.4", 2, day(2025, 4, 29), func(*Release) {}},
		// Before, lifecycle/ak drops the worker's words.
		{"2025.4", 1, day(2025, 4, 29), func(r *Release) { r.Worker.TakesArgs = false }},
		// Before, dump_config gets its own name as a word (lifecycle/ak).
		{"2025.4", 0, day(2025, 4, 29), func(r *Release) {
			r.Others = slices.Clone(r.Others)
			i := slices.IndexFunc(r.Others, func(v Verb) bool { return v.Name == "dump_config" })
			r.Others[i].Args = append(slices.Clip(r.Others[i].Args), "dump_config")
		}},
		{"2025.2", 0, day(2025, 2, 24), func(r *Release) {
			r.MinimumPostgreSQL = 12 // Django 5.0's
			// default.yml still has it in 2025.4, and nobody reads it there.
			r.know([]string{"session_storage"}, "session_storage")
			r.Tools = slices.Clone(r.Tools)
			r.Tools[2] = Step{r.Tools[2].Name, "poetry", []string{"install", "--no-ansi", "--no-interaction"}, true}
		}},
	}
}

func day(year int, month time.Month, day int) time.Time {
	return time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
}

// before gives the release before r.
func (r Release) before(e earlier) Release {
	r.Name, r.Patch, r.Published = e.name, e.patch, e.published
	e.differs(&r)
	return r
}

// know adds settings that are no more, or not by this name, in the next newer release, and
// takes away what it says of them.
func (r *Release) know(settings []string, from ...string) {
	r.Settings = slices.Concat(r.Settings, settings)
	r.Renamed = slices.DeleteFunc(slices.Clone(r.Renamed), func(rename Rename) bool { return slices.Contains(from, rename.From) })
}

// isOf tells whether the row is for such a version, be it "2025.8.3" or "2025.8", which is its
// first.
func (r Release) isOf(version string) bool {
	if version != r.Name && !strings.HasPrefix(version, r.Name+".") {
		return false
	}
	n, ok := numbers(version)
	return ok && n[2] >= r.Patch
}
