package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ak-init/prepare"
)

// inShort are a plan's steps and services, and what each is told of migrations.
func (p *plan) inShort() []string {
	skips := func(env []string) (found string) {
		for _, e := range env {
			if value, ok := strings.CutPrefix(e, "AUTHENTIK_SKIP_MIGRATIONS="); ok {
				found = " skip=" + value
			}
		}
		return found
	}
	var all []string
	spec := p.spec()
	for _, s := range spec.Steps {
		more := ""
		if s.Aside {
			more += " aside"
		}
		if s.Whole {
			more += " whole"
		}
		all = append(all, fmt.Sprintf("%s: %s%s", s.Name, strings.Join(s.Argv[:min(3, len(s.Argv))], " "), more))
	}
	for _, s := range spec.Services {
		more := skips(s.Env)
		if s.Whole {
			more += " whole"
		}
		all = append(all, s.Name+more)
	}
	return all
}

func TestWhatComesBeforeAService(t *testing.T) {
	const (
		wait    = "wait-for-database: ak-init-database wait --for"
		watch   = "watch-migrations: ak-init-database watch --version aside"
		theirs  = "wait-for-database: python -m lifecycle.wait_for_db"
		migrate = "migrate: python -m lifecycle.migrate whole"
		skipped = " skip=true"
	)
	for _, tt := range []struct {
		words, environ string
		alone          bool // without ak-init-database
		want           []string
	}{
		{words: "server", want: []string{wait, watch, "server"}},
		{words: "worker", want: []string{wait, watch, "worker"}},
		{words: "server --migrate before", want: []string{wait, watch, migrate, "server" + skipped}},
		{words: "worker", environ: "AK_INIT_MIGRATE=before", want: []string{wait, watch, migrate, "worker" + skipped}},
		{words: "server --migrate never", want: []string{wait, "server" + skipped}},
		{words: "server --migrate never", environ: "AUTHENTIK_SKIP_MIGRATIONS=false", want: []string{wait, "server" + skipped}},
		{words: "server --migrate before", environ: "AUTHENTIK_SKIP_MIGRATIONS=false", want: []string{wait, watch, migrate, "server skip=false"}},
		{words: "all", want: []string{wait, watch, migrate, "server" + skipped, "worker" + skipped}},
		{words: "all --migrate never", want: []string{wait, "server" + skipped, "worker" + skipped}},
		{words: "migrate", want: []string{wait, watch, "migrate whole"}},
		{words: "migrate", environ: "AUTHENTIK_SKIP_MIGRATIONS=true", want: []string{wait, watch, "migrate skip=false whole"}},
		{words: "bash", want: []string{"bash"}},
		{words: "manage x", want: []string{"manage"}},
		{words: "run x", want: []string{"x"}},
		{words: "server --wait-database 0", want: []string{"server"}},
		{words: "server", alone: true, want: []string{"server"}},
		{words: "server --migrate before", alone: true, want: []string{theirs, migrate, "server" + skipped}},
		{words: "server --migrate never", alone: true, want: []string{"server" + skipped}},
		{words: "all", alone: true, want: []string{theirs, migrate, "server" + skipped, "worker" + skipped}},
		{words: "all --wait-database 0", want: []string{theirs, migrate, "server" + skipped, "worker" + skipped}},
		{words: "all --migrate never", alone: true, want: []string{"server" + skipped, "worker" + skipped}},
		{words: "migrate", alone: true, want: []string{theirs, "migrate whole"}},
	} {
		t.Run(fmt.Sprintf("%s %s, alone %t", tt.words, tt.environ, tt.alone), func(t *testing.T) {
			f := somewhere()
			f.databaseProgram = "/ak-init-database"
			if tt.alone {
				f.databaseProgram = ""
			}
			p := planOf(t, f, strings.Fields(tt.words), tt.environ)
			if diff := cmp.Diff(tt.want, p.inShort()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhatAsksPostgreSQLIsToldWhatItMustKnow(t *testing.T) {
	f := somewhere()
	f.self, f.identity = prepare.Identity{}, prepare.Identity{UID: 1000, GID: 1000}
	f.databaseProgram = "/ak-init-database"
	p := planOf(t, f, []string{"worker", "--wait-database", "90s", "--log-format", "console"}, "AUTHENTIK_BOOTSTRAP_TOKEN=x", "AUTHENTIK_POSTGRESQL__PASSWORD=canary")
	step := p.spec().Steps[0]
	want := "ak-init-database wait --for 1m30s --minimum 14 --version 2026.2.2 --root / --log-format console --log-level info"
	if got := strings.Join(step.Argv, " "); got != want || step.Path != "/ak-init-database" || step.Optional || step.Aside {
		t.Errorf("%q of %s", got, step.Path)
	}
	if step.Identity == nil || step.Identity.UID != 1000 || !strings.Contains(strings.Join(step.Env, " "), "PASSWORD=canary") {
		t.Errorf("it has not the children's identity and environment: %+v", step)
	}
	if last := p.Steps[len(p.Steps)-1]; last.Name != "bootstrap" {
		t.Errorf("credentials are applied before %s", last.Name)
	}
	var shown strings.Builder
	if err := show(p, "text", &shown); err != nil || strings.Contains(shown.String(), "canary") {
		t.Errorf("%v: %s", err, shown.String())
	}
}
