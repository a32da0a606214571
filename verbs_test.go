package main

import (
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ak-init/authentik"
	"ak-init/prepare"
)

func TestVerbsOfEachRelease(t *testing.T) {
	manage := func(words string) string { return strings.TrimSpace("python -m manage " + words) }
	for _, tt := range []struct {
		version, words, want string
		// own is what ak-init gives, where that is something else.
		own string
	}{
		{"2026.2.2", "", manage(""), "-"},
		{"2026.2.2", "shell -c a", manage("shell -c a"), ""},
		{"2026.2.2", "migrate core 0056", manage("migrate core 0056"), "-"},
		{"2026.2.2", "check --deploy", manage("check --deploy"), "-"},
		{"2026.2.2", "version", manage("version"), "-"},
		{"2026.2.2", "--help", manage("--help"), "-"},
		{"2026.2.2", "manage shell", manage("manage shell"), manage("shell")}, // Django knows no manage
		{"2026.2.2", "server x y", "authentik", "-"},
		{"2026.2.2", "worker --watch", manage("worker --pid-file /dev/shm/authentik-worker.pid --watch"), "-"},
		{"2026.2.2", "bash -l", "bash", ""},
		{"2026.2.2", "dump_config postgresql.host", "python -m authentik.lib.config postgresql.host", ""},
		{"2025.4.1", "dump_config web.path", "python -m authentik.lib.config web.path", ""},
		{"2025.4.0", "dump_config", "python -m authentik.lib.config dump_config", ""},
		{"2025.2.4", "dump_config web.path", "python -m authentik.lib.config dump_config web.path", ""},
		{"2026.2.2", "debug", "ak-init-pause", ""},
		{"2026.2.2", "worker-status", manage("worker-status"), ""},
		{"2025.8.0", "worker-status", manage("worker-status"), ""},
		{"2025.6.4", "worker-status", "wait-for-database python -m lifecycle.wait_for_db, celery -A authentik.root.celery flower --port=9000", ""},
		{"2025.6.4", "worker -b", manage("worker -b"), "-"},
		{"2025.4.1", "worker -b", manage("worker"), "-"},
		{"2026.2.2", "test-all", manage("test authentik"), ""},
	} {
		f := onRelease(tt.version)
		for name, want := range map[string]string{scriptName: tt.want, ownName: tt.own} {
			if want == "-" { // a word or a flag of its own
				continue
			}
			if want == "" {
				want = tt.want
			}
			p := planAs(t, f, name, strings.Fields(tt.words), "TMPDIR=/dev/shm")
			var got []string
			for _, s := range p.Steps {
				got = append(got, s.Name+" "+strings.Join(s.Argv, " "))
			}
			got = append(got, strings.Join(p.Services[0].Argv, " "))
			if diff := cmp.Diff(want, strings.Join(got, ", ")); diff != "" {
				t.Errorf("%s %s of %s (-want +got):\n%s", name, tt.words, tt.version, diff)
			}
		}
	}
}

func TestWordsThatTheScriptDropsAreSaid(t *testing.T) {
	p := planAs(t, onRelease("2026.2.2"), scriptName, []string{"server", "--grace-period", "1s"}, "TMPDIR=/dev/shm")
	if p.GracePeriod != "25s" {
		t.Errorf("a word is taken for a flag: %s", p.GracePeriod)
	}
	for _, f := range p.Findings {
		if f.Check == "command-line" && f.State == warning && strings.Contains(f.Found, `["--grace-period" "1s"]`) {
			return
		}
	}
	t.Errorf("nothing is said of them: %v", p.Findings)
}

// debugging is somewhere with the debugger on, for root in a container.
func debugging() facts {
	f := somewhere()
	f.self = prepare.Identity{}
	f.settings, _ = authentik.ReadSettings(authentik.Sources{
		Env:  map[string]string{"AUTHENTIK_DEBUGGER": "true"},
		Read: func(string) ([]byte, error) { return nil, fs.ErrNotExist }, Glob: func(string) []string { return nil }, Root: "/",
	})
	return f
}

func TestDebuggersPackages(t *testing.T) {
	off := debugging()
	off.settings = authentik.Settings{}
	user := debugging()
	user.self = user.identity
	elsewhere := debugging()
	elsewhere.view.Exists = func(string) bool { return false }
	without := debugging()
	without.find = func(name, _ string) (string, error) {
		if name == "apt-get" {
			return "", fmt.Errorf("%s: not found", name)
		}
		return "/found/" + name, nil
	}
	earlier := debugging()
	earlier.release, _ = authentik.ReleaseOf("2025.2.4")
	apt := "apt-get update, apt-get install -y --no-install-recommends krb5-kdc krb5-user krb5-admin-server libkrb5-dev gcc, "
	report := ", touch /unittest.xml, chown authentik:authentik /unittest.xml"
	all := apt + "uv sync --active --frozen" + report
	for name, tt := range map[string]struct {
		f            facts
		words, steps string
		says         string
	}{
		"root in a container":              {debugging(), "worker", all, "on: packages for it are installed before each start"},
		"both services, once":              {debugging(), "all", all, "on: packages for it are installed before each start"},
		"as poetry installed them":         {earlier, "server", apt + "poetry install --no-ansi --no-interaction" + report, "on:"},
		"off":                              {off, "worker", "", "off"},
		"tests want them all the same":     {off, "test-all", all + ", chmod 777 /root", ""},
		"a shell does not":                 {debugging(), "bash", "", ""},
		"somebody who may not":             {user, "worker", "", "not installed: only root can install packages"},
		"tests of somebody who may not":    {user, "test-all", "", ""},
		"a checkout":                       {elsewhere, "worker", "", "no container of authentik's"},
		"an image without package manager": {without, "worker", "", "apt-get: not found"},
	} {
		t.Run(name, func(t *testing.T) {
			p := planOf(t, tt.f, []string{tt.words}, "TMPDIR=/dev/shm", "VENV_PATH=/ak-root/.venv", "AK_INIT_MIGRATE=never")
			var got []string
			for _, s := range p.Steps {
				if s.Name == authentik.WaitName {
					continue
				}
				got = append(got, strings.Join(s.Argv, " "))
				if p.command(s).Identity != nil {
					t.Errorf("%s is not run by root", s.Name)
				}
			}
			if diff := cmp.Diff(tt.steps, strings.Join(got, ", ")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			for _, f := range p.Findings {
				if f.Check == "debugger" && !strings.Contains(f.Found, tt.says) {
					t.Errorf("said: %s", f.Found)
				}
			}
		})
	}
}

func TestDebugGoesOnUntilItIsTold(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	r := s.start("debug")
	r.awaitLine(s, "child started", `"role":"debug"`)
	r.signal(syscall.SIGTERM)
	if code := r.exitCode(); code != 128+int(syscall.SIGTERM) {
		t.Errorf("exit code %d, want that of sleep", code)
	}
	s.nothingLeft()
}
