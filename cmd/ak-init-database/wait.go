package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"ak-init/authentik"
	"ak-init/database"
	"ak-init/logs"
)

// wait waits until PostgreSQL can be used, and says meanwhile why it cannot. A signal ends
// it at once: there is nothing to put away.
func wait(o options, log *logs.Logger) int {
	ctx := context.Background()
	begun := time.Now()
	s := configured(o)
	for _, fault := range s.faults {
		log.Warn(fault.Error())
	}
	policy := database.DefaultPolicy()
	policy.For = o.patience
	policy.Again = func() database.Settings { // as wait_for_db.py does: a file may have another password by now
		s = configured(o)
		return s.primary
	}
	state, err := database.Wait(ctx, s.primary, policy, func(e database.Event) { waiting(log, s.primary, e) })
	if err == nil {
		err = database.TooOld(s.primary, state.Version, o.minimum)
	}
	if err != nil {
		return refused(log, err)
	}
	log.Info("PostgreSQL is ready", append(about(s.primary), logs.Str("version", state.Release()), logs.Dur("took", time.Since(begun)))...)
	for _, f := range timeouts(s.primary, state) {
		log.Warn(f.Found + "; " + f.Remedy)
	}
	last, found, err := database.VersionHistory(ctx, s.primary, s.schema)
	if err != nil {
		log.Warn("cannot tell which authentik migrated this database", logs.Str("error", err.Error()))
	}
	if fault := authentik.UpgradeFault(last, o.version); found && fault != "" {
		log.Warn(fault, logs.Str("migrated_by", last), logs.Str("version", o.version))
	}
	warnOfReplicas(log, s.replicas)
	return 0
}

// waiting is the line about an attempt in vain.
func waiting(log *logs.Logger, s database.Settings, e database.Event) {
	level := logs.Info
	if !e.Err.Cause.Passing() {
		level = logs.Warn
	}
	log.Write(level, "waiting for PostgreSQL", append(about(s),
		logs.Str("cause", e.Err.Cause.String()), logs.Dur("waited", e.Waited), logs.Dur("left", e.Left), logs.Str("error", e.Err.Error()))...)
}

func refused(log *logs.Logger, err error) int {
	code, cause := exitUnavailable, database.Classify(err)
	if cause == database.Malformed {
		code = exitConfig
	}
	log.Error(err.Error(), logs.Str("cause", cause.String()), logs.Num("exit_code", code))
	return code
}

// replicaBound is how long read replicas may keep a start waiting.
const replicaBound = 10 * time.Second

// warnOfReplicas asks each once. One that is down is no reason not to start.
func warnOfReplicas(log *logs.Logger, replicas []replica) {
	ctx, cancel := within(replicaBound)
	defer cancel()
	for i, err := range probeAll(ctx, replicas) {
		if err != nil {
			text, remedy := replicas[i].said(err)
			log.Warn("read replica "+replicas[i].name+": "+text+"; "+remedy, logs.Str("cause", database.Classify(err).String()))
		}
	}
}

// within is a context that ends after that long, and says so.
func within(bound time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(context.Background(), bound, fmt.Errorf("no answer within %s", bound))
}

func probeAll(ctx context.Context, replicas []replica) []error {
	faults := make([]error, len(replicas))
	var askers sync.WaitGroup
	for i, r := range replicas {
		askers.Go(func() { _, faults[i] = database.Probe(ctx, r.settings) })
	}
	askers.Wait()
	return faults
}
