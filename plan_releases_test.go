package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ak-init/authentik"
	"ak-init/prepare"
)

// onRelease is somewhere with another release, at its defaults.
func onRelease(version string) facts {
	f := somewhere()
	f.release, f.releaseKnown = authentik.ReleaseOf(version)
	f.layout.Version = version
	f.config = f.release.Config(f.settings, f.release.Server, "/")
	return f
}

// sketch is what of a plan differs by release.
func sketch(p plan) (lines []string) {
	for _, s := range p.Steps {
		lines = append(lines, fmt.Sprintf("step %s: %s, optional %t, whole %t", s.Name, strings.Join(s.Argv, " "), s.Optional, s.migrates))
	}
	for _, s := range p.Services {
		lines = append(lines, fmt.Sprintf("%s: %s", s.Name, strings.Join(s.Argv, " ")))
		for _, v := range s.Environment {
			lines = append(lines, "with "+v.Name+"="+v.Value)
		}
		h := s.Health
		liveSocket := ""
		if h.liveAlone {
			liveSocket = h.LiveSocket
		}
		lines = append(lines, fmt.Sprintf("health %v live %q %s ready %q pid %q beat %q %s stale %q drain %q",
			h.Addresses, h.Live, liveSocket, h.Ready, h.PIDFile, h.Heartbeat, h.heartbeatAge, s.StalePIDFile, s.Drain))
	}
	for _, d := range p.Directories {
		if d.For == "uploads" || d.For == "metric files" {
			lines = append(lines, d.For+" "+d.Path)
		}
	}
	metrics, set := p.env[metricsDir]
	return append(lines, fmt.Sprint("unset ", p.Unset), fmt.Sprintf("metrics %q %t", metrics, set))
}

func TestPlansOfEachRelease(t *testing.T) {
	const (
		server   = `health [127.0.0.1:9000] live "/-/health/live/"  ready "/-/health/ready/" pid "" beat "" 0s stale "" drain "gunicorn"`
		earlier  = `health [127.0.0.1:9000] live "/-/health/live/" /dev/shm/authentik-core.sock ready "/-/health/ready/" pid "" beat "" 0s stale "" drain "gunicorn"`
		dramatiq = `health [127.0.0.1:9000] live ""  ready "/-/health/ready/" pid "/dev/shm/authentik-worker.pid" beat "" 0s stale "/dev/shm/authentik-worker.pid" drain ""`
		celery   = `health [] live ""  ready "" pid "" beat "/dev/shm/authentik-worker" 30s stale "" drain ""`
		tasks    = "step bootstrap: python -m manage bootstrap_tasks, optional false, whole true"
		apply    = "step bootstrap: python -m manage apply_blueprint system/bootstrap.yaml, optional true, whole false"
		withPID  = "worker: python -m manage worker --pid-file /dev/shm/authentik-worker.pid"
		without  = "worker: python -m manage worker"
	)
	server2025 := []string{"server: authentik", earlier}
	worker := []string{apply, withPID, dramatiq}
	data := []string{"uploads /data", "uploads /data/media", "uploads /data/reports"}
	media := []string{"uploads /media", "uploads /media/public"}
	workspace, nothing := "unset [WORKSPACE_DIR]", "unset []"
	for _, tt := range []struct {
		version        string
		server, worker []string
		uploads        []string
		unset          string
		workerMetrics  bool
	}{
		{"2026.2.2", []string{"server: authentik", server}, worker, data, workspace, true},
		{"2026.2.0", []string{"server: authentik", server}, worker, data, workspace, true},
		{"2025.12.4", []string{"server: authentik", server}, worker, data, workspace, true},
		{"2025.10.4", []string{"server: authentik", server}, worker, media, workspace, true},
		{"2025.10.3", server2025, worker, media, workspace, true},
		{"2025.8.6", server2025, worker, media, nothing, true},
		{"2025.8.0", server2025, worker, media, nothing, true},
		{"2025.6.4", append([]string{tasks}, server2025...), []string{without, celery}, media, nothing, false},
		{"2025.4.4", append([]string{tasks}, server2025...), []string{without, celery}, media, nothing, false},
		{"2025.2.4", append([]string{tasks}, server2025...), []string{without, celery}, media, nothing, false},
	} {
		for word, want := range map[string][]string{"server": tt.server, "worker": tt.worker} {
			t.Run(word+" of "+tt.version, func(t *testing.T) {
				p := planOf(t, onRelease(tt.version), []string{word}, "TMPDIR=/dev/shm", "AUTHENTIK_BOOTSTRAP_TOKEN=x")
				metrics, rest := []string{"metric files /dev/shm/authentik_prometheus_tmp"}, []string{tt.unset, `metrics "/dev/shm/authentik_prometheus_tmp" true`}
				if word == "worker" && !tt.workerMetrics {
					metrics, rest[1] = nil, `metrics "" false`
				}
				if diff := cmp.Diff(slices.Concat(want, metrics, tt.uploads, rest), sketch(p)); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestAllOfEarlierReleases(t *testing.T) {
	for version, want := range map[string][]string{
		"2026.2.2": {"AUTHENTIK_SKIP_MIGRATIONS=true", "AUTHENTIK_LISTEN__HTTP=0.0.0.0:9001", "AUTHENTIK_LISTEN__METRICS=0.0.0.0:9301", "AUTHENTIK_SKIP_MIGRATIONS=true"},
		"2025.8.4": {"AUTHENTIK_LISTEN__HTTP=0.0.0.0:9001", "AUTHENTIK_LISTEN__METRICS=0.0.0.0:9301"},
		"2025.8.3": {"AUTHENTIK_LISTEN__LISTEN_HTTP=0.0.0.0:9001", "AUTHENTIK_LISTEN__LISTEN_METRICS=0.0.0.0:9301"},
		"2025.6.4": nil,
	} {
		f := onRelease(version)
		p := planOf(t, f, []string{"all"}, "TMPDIR=/dev/shm", "AUTHENTIK_BOOTSTRAP_TOKEN=x")
		var got []string
		for _, s := range p.Services {
			for _, v := range s.Environment {
				if strings.HasPrefix(v.Name, "AUTHENTIK_") {
					got = append(got, v.Name+"="+v.Value)
				}
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", version, diff)
		}
		// The step has the TMPDIR of the service that it is for.
		last := p.Steps[len(p.Steps)-1]
		wantDir := "/dev/shm/authentik-worker"
		if f.release.Server.Bootstrap != nil {
			wantDir = "/dev/shm/authentik-server"
		}
		if last.Name != "bootstrap" || last.Environment[0].Value != wantDir {
			t.Errorf("%s: the last step is %s with %v", version, last.Name, last.Environment)
		}
	}
}

// Django's development server binds no socket: asked there, it would never be live.
func TestDebugServerIsNotAskedAtGunicornsSocket(t *testing.T) {
	for debug, want := range map[bool]string{true: "", false: "/dev/shm/authentik-core.sock"} {
		f := onRelease("2025.8.6")
		f.config.Debug = debug
		if got := planOf(t, f, []string{"server"}, "TMPDIR=/dev/shm").Services[0].Health.LiveSocket; got != want {
			t.Errorf("debug %t: asked at %q, want %q", debug, got, want)
		}
	}
}

func TestWordsOfAWorkerThatTakesNone(t *testing.T) {
	for version, taken := range map[string]bool{"2025.2.4": false, "2025.4.1": false, "2025.4.2": true, "2025.6.4": true} {
		o, err := parse([]string{"worker", "--", "-b"}, []string{"TMPDIR=/dev/shm"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := makePlan(o, onRelease(version)); (err == nil) != taken {
			t.Errorf("%s: %v, want the word taken: %t", version, err, taken)
		}
	}
}

func TestMigrateNeverIsSaidToBeInVainWhereItIs(t *testing.T) {
	for version, vain := range map[string]bool{"2026.2.2": false, "2026.2.1": true, "2025.6.4": true} {
		p := planOf(t, onRelease(version), []string{"worker", "--migrate", "never"}, "TMPDIR=/dev/shm")
		said := slices.ContainsFunc(p.Findings, func(f *finding) bool { return f.Check == "migrations" && f.State == warning })
		if said != vain {
			t.Errorf("%s: said %t, want %t", version, said, vain)
		}
	}
}

func TestWhichServerAppliesTheBootstrapCredentials(t *testing.T) {
	for version, warned := range map[string]bool{"2026.2.2": true, "2025.8.0": true, "2025.6.4": false} {
		p := planOf(t, onRelease(version), []string{"server"}, "TMPDIR=/dev/shm", "AUTHENTIK_BOOTSTRAP_TOKEN=x")
		said := slices.ContainsFunc(p.Findings, func(f *finding) bool { return strings.Contains(f.Found, "only the worker applies it") })
		if said != warned {
			t.Errorf("%s: said %t, want %t", version, said, warned)
		}
	}
}

// Celery has a new process each 50 tasks, and each would leave its files behind.
func TestCelerySharesNoMetricFiles(t *testing.T) {
	for env, want := range map[string]string{
		"A=b":                                "server /dev/shm/authentik-server/authentik_prometheus_tmp true",
		"PROMETHEUS_MULTIPROC_DIR=":          "server /dev/shm/authentik-server/authentik_prometheus_tmp true",
		"PROMETHEUS_MULTIPROC_DIR=/run/mine": "server /run/mine/server true, worker /run/mine/worker true",
	} {
		p := planOf(t, onRelease("2025.6.4"), []string{"all"}, "TMPDIR=/dev/shm", env)
		var got []string
		for _, s := range p.spec().Services {
			for _, v := range s.Env {
				if value, ok := strings.CutPrefix(v, metricsDir+"="); ok {
					made := slices.ContainsFunc(p.Directories, func(d prepare.Dir) bool { return d.Path == value })
					got = append(got, fmt.Sprintf("%s %s %t", s.Name, value, made))
				}
			}
		}
		if got := strings.Join(got, ", "); got != want {
			t.Errorf("%s:\n got %s\nwant %s", env, got, want)
		}
	}
}
