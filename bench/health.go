package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	akInitHealth = "`ak-init healthcheck` against a running ak-init"
	scriptHealth = "bash `ak healthcheck`"
)

// The runners of health behind the empty program, by place.
const (
	byAkInit = iota + 1
	byBinary
	byScript
)

// measureHealth asks one server again and again, in all ways that there are.
func measureHealth(ctx context.Context, b *bed) (f finding, err error) {
	server, env, err := b.startWhole(ctx)
	if err != nil {
		return f, err
	}
	defer server.kill()
	binary, own, err := b.serverBinary()
	if err != nil {
		return f, err
	}
	byScriptEnv := slices.Concat(env, b.pythonEnv, []string{"PROMETHEUS_MULTIPROC_DIR=" + server.tmpdir + "/metrics"}) // its mkdir wants a directory
	if own {
		byScriptEnv = append(byScriptEnv, strings.Replace(b.pythonEnv[0], "PATH=", "PATH="+filepath.Dir(binary)+":", 1))
	}
	all := []*runner{
		emptyProgram: {name: "empty Go program", command: fixed(b.empty), whole: true},
		byAkInit:     {name: akInitHealth, command: fixed(b.akInit, "healthcheck", "--started"), env: env, whole: true},
		byBinary:     {name: "`authentik healthcheck server`", command: fixed(binary, "healthcheck", "server"), env: env, whole: true},
		byScript:     {name: scriptHealth, command: fixed(b.script, "healthcheck"), env: byScriptEnv, whole: true},
	}
	if !own {
		all[byBinary].name += " (stand-in, net/http)"
	}
	if err := b.awaitHealthy(ctx, all[byAkInit]); err != nil {
		return f, err
	}
	if err := b.inTurn(ctx, false, all); err != nil {
		return f, err
	}
	return finding{[]*table{b.healthTable(all, own)}, b.healthBounds(all, own)}, nil
}

// whole is an ak-init that runs the stand-in server.
type whole struct {
	*process
	tmpdir string
}

// startWhole starts it, and gives the environment in which it is asked.
func (b *bed) startWhole(ctx context.Context) (whole, []string, error) {
	dir, err := b.tempDir()
	if err != nil {
		return whole{}, nil, err
	}
	// The stand-in makes its metrics' directory itself.
	env := []string{"TMPDIR=" + dir, "PROMETHEUS_MULTIPROC_DIR=", "PATH=" + b.whole + "/bin:/usr/local/bin:/usr/bin:/bin"}
	p, err := b.start(ctx, false, env, b.akInit, "server", "--root", b.whole)
	return whole{p, dir}, env, err
}

// serverBinary is what AK_SERVER names, under the name that the script calls; own is false where
// the stand-in takes its place.
func (b *bed) serverBinary() (path string, own bool, err error) {
	real := os.Getenv("AK_SERVER")
	if real == "" {
		return b.whole + "/bin/authentik", false, nil
	}
	if real, err = filepath.Abs(real); err != nil {
		return "", false, err
	}
	dir, err := b.tempDir()
	if err != nil {
		return "", false, err
	}
	return dir + "/authentik", true, os.Symlink(real, dir+"/authentik")
}

func (b *bed) healthTable(all []*runner, own bool) *table {
	t := &table{
		title: "Health check",
		head:  []string{"from exec to end", "runs", "median ms", "min", "p90", "cpu ms", "/ empty", "cpu / ak-init"},
	}
	for _, r := range all {
		t.row(r.name, fmt.Sprint(len(r.wall)), ms(r.wall.median()), ms(r.wall.quantile(0)), ms(r.wall.quantile(0.9)),
			ms(r.cpu.median()), times(ratio(r.wall.median(), all[emptyProgram].wall.median())), times(ratio(r.cpu.median(), all[byAkInit].cpu.median())))
	}
	if !own {
		t.note("In the place of the server binary stands a small Go program with net/http that sends the same HEAD: a lower bound. " +
			"The real one has some hundred packages to initialise and reads its configuration; AK_SERVER names one to measure.")
	}
	if len(b.lacking) > 0 {
		t.note("Not installed here, and so not loaded by the script's Python start, which is a lower bound then: %s.", strings.Join(b.lacking, ", "))
	}
	return t
}

// healthBounds are of processor time. What is only a lower bound can hold, but not fail.
func (b *bed) healthBounds(all []*runner, own bool) []bound {
	less := func(r int, limit float64, whole bool) float64 {
		value := ratio(all[r].cpu.median(), all[byAkInit].cpu.median())
		if !whole && value < limit {
			return math.NaN()
		}
		return value
	}
	return []bound{
		{what: "healthcheck / empty program", value: ratio(all[byAkInit].wall.median(), all[emptyProgram].wall.median()), limit: 3},
		{what: "cpu of bash ak healthcheck / ak-init's", value: less(byScript, 30, len(b.lacking) == 0), limit: 30, atLeast: true},
		{what: "cpu of the server binary's own health check / ak-init's", value: less(byBinary, 2.5, own), limit: 2.5, atLeast: true},
	}
}

func (b *bed) awaitHealthy(ctx context.Context, check *runner) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); time.Now().Before(end); <-tick.C {
		_, _, err := check.measure(ctx, b, false)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return errors.New("the stand-in server does not become healthy" + b.said())
}
