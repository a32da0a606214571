package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"ak-init/authentik"
	"ak-init/database"
)

// How a finding is.
const (
	ok      = "ok"
	warning = "warning"
	fault   = "error"
)

// checkBound is how long all of a check may take. It ends before ak-init's patience with it
// does, so that what does not answer has a line.
const checkBound = 50 * time.Second

// finding is what one look gave. Names in its JSON are not changed, only added.
type finding struct {
	Check string `json:"check"`
	State string `json:"state"`
	Found string `json:"found"`
	// Remedy is what to do about it, empty where nothing is to be done.
	Remedy string `json:"remedy,omitempty"`
}

// check asks everything once and prints a line for each thing that was looked at.
func check(o options, stdout io.Writer) int {
	ctx, cancel := within(checkBound)
	defer cancel()
	s := configured(o)
	replicas := make(chan []error, 1)
	go func() { replicas <- probeAll(ctx, s.replicas) }() // ends with ctx
	var found []finding
	for _, f := range s.faults {
		found = append(found, finding{"database-settings", warning, f.Error(), "put that right"})
	}
	state, err := database.Probe(ctx, s.primary)
	code := 0
	if err != nil {
		text, remedy := replica{}.said(err)
		found = append(found, finding{"database", fault, text, remedy})
		if database.Classify(err) == database.Malformed {
			code = exitConfig
		}
	} else {
		found = append(found, reached(s.primary, state), versionOf(s.primary, state, o.minimum))
		found = append(found, timeoutsOf(s.primary, state)...)
		found = append(found, upgradePath(ctx, s, o.version), lock(ctx, s, time.Now()))
	}
	for i, err := range <-replicas {
		found = append(found, replicaOf(s.replicas[i], err))
	}
	enc := json.NewEncoder(stdout)
	enc.SetEscapeHTML(false)
	for _, f := range found {
		if f.State == fault {
			code = cmp.Or(code, exitUnavailable)
		}
		if err := enc.Encode(f); err != nil {
			return cmp.Or(code, exitUnavailable) // nobody reads
		}
	}
	return code
}

// place is where a server is and as whom it is asked.
func place(s database.Settings) string {
	at := cmp.Or(s.Host, "the default socket")
	if s.Port != "" && !strings.HasPrefix(s.Host, "/") && !strings.Contains(s.Host+s.Port, ",") {
		at = net.JoinHostPort(s.Host, s.Port)
	}
	return fmt.Sprintf("%s, user %s, database %s", at, s.User, s.Name)
}

// reached is a server that answers.
func reached(s database.Settings, state database.State) finding {
	tls := "without TLS"
	if state.TLS {
		tls = "over TLS"
	}
	f := finding{Check: "database", State: ok, Found: fmt.Sprintf("%s, PostgreSQL %s, %s", place(s), state.Release(), tls)}
	if state.ReadOnly {
		f.State, f.Remedy = fault, database.ReadOnly.Remedy()
		f.Found += ", and it can only be read"
	}
	return f
}

func versionOf(s database.Settings, state database.State, minimum int) finding {
	f := finding{Check: "database-version", State: ok, Found: "PostgreSQL " + state.Release()}
	if minimum > 0 {
		f.Found += fmt.Sprintf(", and %d or later is needed", minimum)
	}
	if database.TooOld(s, state.Version, minimum) != nil {
		f.State, f.Remedy = fault, database.OldVersion.Remedy()
	}
	return f
}

// upgradePath compares this authentik with the one that migrated the database last.
func upgradePath(ctx context.Context, s servers, version string) finding {
	f := finding{Check: "upgrade-path", State: ok}
	last, known, err := database.VersionHistory(ctx, s.primary, s.schema)
	switch problem := authentik.UpgradeFault(last, version); {
	case err != nil:
		f.State = warning
		f.Found, f.Remedy = replica{}.said(err)
	case !known:
		f.Found = "no authentik has migrated this database yet"
	case problem != "":
		f.State, f.Found = warning, problem
		f.Remedy = "go through the releases one by one, each to its end; behind a downgrade restore a backup"
	default:
		f.Found = fmt.Sprintf("last migrated by authentik %s, and this is %s", last, cmp.Or(version, "unknown"))
	}
	return f
}

// lock tells who holds the migration lock. That somebody does is no fault, but a start waits
// for it.
func lock(ctx context.Context, s servers, now time.Time) finding {
	f := finding{Check: "migration-lock", State: ok, Found: "nobody holds it"}
	holder, held, err := database.LockHolder(ctx, s.primary, authentik.MigrationLock)
	waiters := 0
	if held {
		waiters, err = database.LockWaiters(ctx, s.primary, authentik.MigrationLock)
	}
	switch {
	case err != nil:
		f.State = warning
		f.Found, f.Remedy = replica{}.said(err)
	case held:
		f.State, f.Found = warning, fmt.Sprintf("held by %s; %d wait for it", holder, waiters)
		f.Remedy = adviceOn(holder, now)
	}
	return f
}

// adviceOn says what to do about a holder that is seen once: nothing has moved for as long as it
// has asked nothing.
func adviceOn(h database.Holder, now time.Time) string {
	return cmp.Or(waitsForItself(h, now.Sub(h.Active)), stranded(h, now), "let its migrations end")
}

func replicaOf(r replica, err error) finding {
	f := finding{Check: "database-replica", State: ok, Found: "read replica " + r.name + ": " + place(r.settings)}
	if err != nil {
		f.State = warning // authentik starts without, and so do we
		f.Found, f.Remedy = r.said(err)
		f.Found = "read replica " + r.name + ": " + f.Found
	}
	return f
}
