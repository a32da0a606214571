package authentik

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// All that a start takes from a row, in one line for each patch level that has one of its own.
func TestEveryReleaseHasItsRow(t *testing.T) {
	const (
		dramatiq = "python -m manage worker --pid-file /t/authentik-worker.pid"
		celery   = "python -m manage worker"
		listen   = "listen."
	)
	for _, tt := range []struct {
		versions, worker, takes, file, listen, bootstrap, uploads string
		postgresql                                                int
		skip, unset, socket                                       bool
		published                                                 string
	}{
		{"2026.2.2 2026.2.3-rc1", dramatiq, "words", "pid authentik-worker.pid", listen, "worker", "storage.file.path ./data", 14, true, true, true, "2026-02-24"},
		{"2026.2 2026.2.0-rc1 2026.2.1", dramatiq, "words", "pid authentik-worker.pid", listen, "worker", "storage.file.path ./data", 14, false, true, true, "2026-02-24"},
		{"2025.12.0 2025.12.4", dramatiq, "words", "pid authentik-worker.pid", listen, "worker", "storage.file.path ./data", 14, false, true, false, "2026-01-13"},
		{"2025.10.0 2025.10.3 2025.10.4", dramatiq, "words", "pid authentik-worker.pid", listen, "worker", "storage.media.file.path ./media", 14, false, true, false, "2025-10-27"},
		{"2025.8.4 2025.8.6", dramatiq, "words", "pid authentik-worker.pid", listen, "worker", "storage.media.file.path ./media", 13, false, false, false, "2025-08-20"},
		{"2025.8 2025.8.0 2025.8.3", dramatiq, "words", "pid authentik-worker.pid", "listen.listen_", "worker", "storage.media.file.path ./media", 13, false, false, false, "2025-08-20"},
		{"2025.6.0 2025.6.4", celery, "words", "beat authentik-worker 30s", "", "server needed", "storage.media.file.path ./media", 13, false, false, false, "2025-06-03"},
		{"2025.4.2 2025.4.4", celery, "words", "beat authentik-worker 30s", "", "server needed", "storage.media.file.path ./media", 13, false, false, false, "2025-04-29"},
		{"2025.4.0 2025.4.1", celery, "", "beat authentik-worker 30s", "", "server needed", "storage.media.file.path ./media", 13, false, false, false, "2025-04-29"},
		{"2025.2.0 2025.2.4", celery, "", "beat authentik-worker 30s", "", "server needed", "storage.media.file.path ./media", 12, false, false, false, "2025-02-24"},
	} {
		for version := range strings.FieldsSeq(tt.versions) {
			r, known := ReleaseOf(version)
			if !known || !strings.HasPrefix(version, r.Name) {
				t.Errorf("%s is taken for %s, known %t", version, r.Name, known)
			}
			want := []string{
				tt.worker, tt.takes, tt.file, tt.listen, tt.bootstrap, tt.uploads,
				fmt.Sprint(tt.postgresql, tt.skip, tt.unset, tt.socket), tt.published,
			}
			if got := told(r); !slices.Equal(got, want) {
				t.Errorf("%s:\n got %q\nwant %q", version, got, want)
			}
		}
	}
}

// told is what the table of the test has of a row.
func told(r Release) []string {
	takes, file, bootstrap := "", "pid "+r.Worker.PIDFile, ""
	if r.Worker.TakesArgs {
		takes = "words"
	}
	if r.Worker.Heartbeat != "" {
		file = fmt.Sprintf("beat %s %s", r.Worker.Heartbeat+r.Worker.PIDFile, r.Worker.HeartbeatAge)
	}
	for _, v := range []Verb{r.Server, r.Worker} {
		if v.Bootstrap != nil {
			bootstrap += v.Name
			if v.Bootstrap.Needed {
				bootstrap += " needed"
			}
		}
	}
	return []string{
		strings.Join(r.Worker.Argv("/t", nil), " "), takes, file, r.Worker.Listen, bootstrap, r.Uploads.Path + " " + r.Uploads.Default,
		fmt.Sprint(r.MinimumPostgreSQL, r.SkipMigrations != "", len(r.Unset) > 0, r.Server.HealthSocket != ""), r.Published.Format(time.DateOnly),
	}
}

func TestRowsAreNewestFirst(t *testing.T) {
	var all [][]int
	for r := range Releases() {
		n, ok := numbers(fmt.Sprintf("%s.%d", r.Name, r.Patch))
		if !ok {
			t.Errorf("%s is no release", r.Name)
		}
		all = append(all, n)
	}
	if !slices.IsSortedFunc(all, func(a, b []int) int { return -slices.Compare(a, b) }) {
		t.Errorf("%v", all)
	}
}

func TestAnEarlierRowLeavesNewerOnesAlone(t *testing.T) {
	all := slices.Collect(Releases())
	if diff := cmp.Diff(Newest(), all[0]); diff != "" {
		t.Errorf("the newest row has changed (-want +got):\n%s", diff)
	}
	r := all[0]
	for i, e := range earlierReleases() {
		r = r.before(e)
		if diff := cmp.Diff(r, all[i+1]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", r.Name, diff)
		}
	}
}

func TestConfigOfEarlierReleases(t *testing.T) {
	for _, tt := range []struct {
		version, file, env, wantHTTP, wantData string
		worker                                 bool
	}{
		{"2025.6.4", "listen: {listen_http: '0.0.0.0:9000'}", "", "0.0.0.0:9000", "/srv/media /srv/media/public", false},
		{"2025.8.3", "listen: {listen_http: '0.0.0.0:8000'}", "", "0.0.0.0:8000", "/srv/media /srv/media/public", false},
		{"2025.6.4", "listen: {listen_http: '0.0.0.0:9000'}", "AUTHENTIK_LISTEN__HTTP=[::]:1", "[::]:1", "/srv/media /srv/media/public", false},
		{"2025.8.4", "listen: {http: '0.0.0.0:8000'}", "AUTHENTIK_STORAGE__MEDIA__BACKEND=s3", "0.0.0.0:8000", "", false},
		{"2025.10.4", "listen: {http: '0.0.0.0:8000'}", "AUTHENTIK_STORAGE__MEDIA__FILE__PATH=/files", "0.0.0.0:8000", "/files /files/public", false},
		{"2025.12.4", "listen: {http: '0.0.0.0:8000'}", "", "0.0.0.0:8000", "/srv/data /srv/data/media /srv/data/reports", false},
		{"2026.2.2", "listen: {http: '0.0.0.0:8000'}", "AUTHENTIK_LISTEN__LISTEN_HTTP=[::]:1", "0.0.0.0:8000", "/srv/data /srv/data/media /srv/data/reports", false},
		{"2025.8.3", "listen: {listen_http: '0.0.0.0:8000'}", "AUTHENTIK_LISTEN__HTTP=[::]:1", "0.0.0.0:8000", "/srv/media /srv/media/public", true},
		{"2025.8.4", "listen: {http: '0.0.0.0:8000'}", "AUTHENTIK_LISTEN__HTTP=[::]:1", "[::]:1", "/srv/media /srv/media/public", true},
	} {
		r, _ := ReleaseOf(tt.version)
		env := map[string]string{}
		if name, value, ok := strings.Cut(tt.env, "="); ok {
			env[name] = value
		}
		s, err := ReadSettings(Sources{Env: env, Read: onlyDefaults(tt.file), Glob: noFiles, Root: "/srv"})
		if err != nil {
			t.Fatal(err)
		}
		verb := r.Server
		if tt.worker {
			verb = r.Worker
		}
		c := r.Config(s, verb, "/srv")
		var dirs []string
		for _, d := range c.DataDirs {
			dirs = append(dirs, d.Path)
			if d.Setting != Variable(r.Uploads.Path) || d.Backend != Variable(r.Uploads.Backend) {
				t.Errorf("%s: %+v", tt.version, d)
			}
		}
		if got := strings.Join(dirs, " "); c.ListenHTTP != tt.wantHTTP || got != tt.wantData {
			t.Errorf("%s with %q and %q: %s, %s", tt.version, tt.file, tt.env, c.ListenHTTP, got)
		}
	}
}

func TestPostgreSQLsTLSIsLibpqsAffairWhereTheReleaseSaysNothing(t *testing.T) {
	for file, want := range map[string]string{
		"postgresql: {host: db}":                   "",        // through 2025.8
		"postgresql: {host: db, sslmode: disable}": "disable", // from 2025.10 on
		"postgresql: {host: db, sslmode: require}": "require",
		"": "disable", // no such file
	} {
		s, err := ReadSettings(Sources{Read: onlyDefaults(file), Glob: noFiles, Root: "/srv"})
		if err != nil {
			t.Fatal(err)
		}
		p, err := s.PostgreSQL()
		if err != nil || p.SSLMode != want || p.Name != "authentik" {
			t.Errorf("%q: %+v, %v, want sslmode %q", file, p, err, want)
		}
	}
}

func TestSettingsOfEarlierReleasesAreNotMisnamed(t *testing.T) {
	const (
		redis    = "AUTHENTIK_REDIS__HOST"
		broker   = "AUTHENTIK_BROKER__URL"
		session  = "AUTHENTIK_SESSION_STORAGE"
		http     = "AUTHENTIK_LISTEN__HTTP"
		old      = "AUTHENTIK_LISTEN__LISTEN_HTTP"
		parallel = "AUTHENTIK_WORKER__CONCURRENCY"
		slip     = "AUTHENTIK_POSTGRESQL__USERNAME"
	)
	env := map[string]string{}
	for _, name := range []string{redis, broker, session, http, old, parallel, slip} {
		env[name] = "x"
	}
	for _, tt := range []struct {
		version, file string
		want          []string
	}{
		{"2025.10.4", "listen: {http: x}", []string{broker, old, slip, redis, session, parallel}},
		{"2025.8.6", "listen: {http: x}", []string{broker, old, slip, session, parallel}},
		{"2025.8.3", "listen: {listen_http: x}", []string{broker, slip, session, parallel}},
		{"2025.6.4", "{listen: {listen_http: x}, worker: {concurrency: 2}}", []string{slip, session}},
		{"2025.4.4", "{session_storage: cache, listen: {listen_http: x}, worker: {concurrency: 2}}", []string{slip, session}},
		{"2025.2.4", "{session_storage: cache, listen: {listen_http: x}, worker: {concurrency: 2}}", []string{slip}},
	} {
		r, _ := ReleaseOf(tt.version)
		s, err := ReadSettings(Sources{Env: env, Read: onlyDefaults(tt.file), Glob: noFiles, Root: "/srv"})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, m := range r.Misnamed(s, env) {
			got = append(got, m.Variable)
		}
		if slices.Sort(tt.want); !slices.Equal(got, tt.want) {
			t.Errorf("%s:\n got %q\nwant %q", tt.version, got, tt.want)
		}
	}
}

// onlyDefaults is a root that holds nothing but this default.yml.
func onlyDefaults(file string) func(string) ([]byte, error) {
	return func(name string) ([]byte, error) {
		if file == "" || name != "/srv/authentik/lib/default.yml" {
			return nil, fs.ErrNotExist
		}
		return []byte(file), nil
	}
}
