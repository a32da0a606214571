package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	akInitHealth = "`ak-init healthcheck` against a running ak-init"
	scriptHealth = "bash `ak healthcheck`"
)

// measureHealth asks one server again and again, in all ways that there are.
func measureHealth(ctx context.Context, b *bed) (f finding, err error) {
	dir, err := b.tempDir()
	if err != nil {
		return f, err
	}
	// The stand-in makes its metrics' directory itself.
	env := []string{"TMPDIR=" + dir, "PROMETHEUS_MULTIPROC_DIR=", "PATH=" + b.whole + "/bin:/usr/local/bin:/usr/bin:/bin"}
	server, err := b.start(ctx, false, env, b.akInit, "server", "--root", b.whole)
	if err != nil {
		return f, err
	}
	defer server.kill()
	all := []*runner{
		emptyProgram: {name: "empty Go program", command: fixed(b.empty), whole: true},
		{name: akInitHealth, command: fixed(b.akInit, "healthcheck", "--started"), env: env, whole: true},
		{name: "`authentik healthcheck server` (stand-in, net/http)", command: fixed(b.whole+"/bin/authentik", "healthcheck", "server"), env: env, whole: true},
		// Its mkdir wants a directory.
		{name: scriptHealth, command: fixed(b.script, "healthcheck"), env: append(slices.Clip(env), "PROMETHEUS_MULTIPROC_DIR="+dir+"/metrics"), whole: true},
	}
	if err := b.awaitHealthy(ctx, all[1]); err != nil {
		return f, err
	}
	if err := b.inTurn(ctx, false, all); err != nil {
		return f, err
	}
	t := &table{
		title: "Health check",
		head:  []string{"from exec to end", "runs", "median ms", "min", "p90", "cpu ms", "/ empty"},
	}
	for _, r := range all {
		t.row(r.name, fmt.Sprint(len(r.wall)), ms(r.wall.median()), ms(r.wall.quantile(0)), ms(r.wall.quantile(0.9)),
			ms(r.cpu.median()), times(ratio(r.wall.median(), all[emptyProgram].wall.median())))
	}
	ours, script := all[1], all[3]
	return finding{[]*table{t}, []bound{
		{what: "healthcheck / empty program", value: ratio(ours.wall.median(), all[emptyProgram].wall.median()), limit: 3},
		{what: "cpu of bash ak healthcheck / ak-init's", value: ratio(script.cpu.median(), ours.cpu.median()), limit: 1, atLeast: true},
	}}, nil
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
