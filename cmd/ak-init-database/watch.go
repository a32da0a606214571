package main

import (
	"context"
	"fmt"
	"time"

	"ak-init/authentik"
	"ak-init/database"
	"ak-init/logs"
)

const (
	// A lock that is free that many looks in a row will not be taken any more by the start
	// that we watch.
	freeEnough = 3
	// unheard is after how long without an answer there is nothing more to be said.
	unheard = 5 * time.Minute
	// idleLong is after how long a session that holds the lock and does nothing is taken for
	// one that is forgotten. Its own connection does nothing while Django migrates on
	// another one, but then it is in a transaction, or migrations come in.
	idleLong = 3 * time.Minute
	// blockedLong is after how long without another migration one that waits for the lock's
	// holder, which does nothing, is taken for one that waits for itself.
	blockedLong = time.Minute
)

// look is what was seen at one time.
type look struct {
	holder  database.Holder
	held    bool
	waiters int
	applied database.Applied
	known   bool
	err     error
}

// watch says every now and then what migrations do, until there are none any more.
func watch(o options, log *logs.Logger) int {
	p := progress{begun: time.Now()}
	p.answered = p.begun
	for after := o.every / 3; ; after = o.every {
		<-time.After(after)
		s := configured(o)
		seen := lookAt(context.Background(), s)
		line, done := p.note(seen, time.Now())
		if line.event != "" {
			log.Write(line.level, line.event, append(about(s.primary), line.fields...)...)
		}
		if done {
			return 0
		}
	}
}

func lookAt(ctx context.Context, s servers) (l look) {
	if l.holder, l.held, l.err = database.LockHolder(ctx, s.primary, authentik.MigrationLock); l.err != nil || !l.held {
		return l
	}
	if l.waiters, l.err = database.LockWaiters(ctx, s.primary, authentik.MigrationLock); l.err != nil {
		return l
	}
	l.applied, l.known, l.err = database.Progress(ctx, s.primary, s.schema)
	return l
}

// progress is what was seen so far. It has no clock.
type progress struct {
	begun, answered time.Time
	// free is how many looks in a row found the lock free.
	free int
	// count is how many migrations were applied, and since when that many.
	count int
	since time.Time
}

// line is one to be logged; without an event there is none.
type line struct {
	level  logs.Level
	event  string
	fields []logs.Field
}

// note takes a look in, and says whether it was the last.
func (p *progress) note(l look, now time.Time) (out line, done bool) {
	if l.err != nil {
		out = line{logs.Debug, "cannot look at the migrations", []logs.Field{logs.Str("error", l.err.Error())}}
		return out, now.Sub(p.answered) >= unheard
	}
	p.answered = now
	if !l.held {
		p.free++
		return line{}, p.free >= freeEnough
	}
	p.free = 0
	if p.since.IsZero() || l.applied.Count != p.count {
		p.count, p.since = l.applied.Count, now
	}
	out.level, out.event = logs.Info, "migrating"
	if l.waiters > 0 {
		out.event = "waiting for the migration lock"
	}
	out.fields = append(holderFields(l.holder), logs.Num("waiting", l.waiters), logs.Dur("waited", now.Sub(p.begun).Round(time.Second)))
	if l.known {
		out.fields = append(out.fields, logs.Num("applied", l.applied.Count), logs.Str("newest", l.applied.App+"."+l.applied.Name))
		if !l.applied.At.IsZero() {
			out.fields = append(out.fields, logs.Str("newest_at", l.applied.At.Format(time.RFC3339)))
		}
	}
	if hint := hintFor(l.holder, now, now.Sub(p.since)); hint != "" {
		out.fields = append(out.fields, logs.Str("hint", hint))
	}
	return out, false
}

func holderFields(h database.Holder) []logs.Field {
	fields := []logs.Field{
		logs.Num("holder", h.PID), logs.Str("application", h.Application), logs.Str("address", h.Address), logs.Str("state", h.State),
	}
	if !h.Since.IsZero() {
		fields = append(fields, logs.Str("since", h.Since.Format(time.RFC3339)))
	}
	return fields
}

// hintFor says what to do about a holder for which nothing has moved for so long, empty where
// nothing is known.
func hintFor(h database.Holder, now time.Time, unmoved time.Duration) string {
	if hint := waitsForItself(h, unmoved); hint != "" || unmoved < idleLong {
		return hint
	}
	return stranded(h, now)
}

// waitsForItself is for authentik's migrations that have looked at a table in a transaction which
// stays open, and then change that table in another session: core.0039 or core.0056_user_roles
// after lifecycle/system_migrations/to_2025_12_group_duplicate.py (2025.12 on), where an earlier try
// got as far as to write its version. PostgreSQL sees no deadlock in that, since the one session
// waits for the other, and that for nothing that PostgreSQL knows.
func waitsForItself(h database.Holder, unmoved time.Duration) string {
	if unmoved < blockedLong || h.Blocks == 0 || h.State != "idle in transaction" {
		return ""
	}
	return fmt.Sprintf("pid %d waits for pid %d, which holds the migration lock and does nothing: if both are one migration's, it waits for itself, "+
		"now and after each restart (goauthentik/authentik#19616, #20667); with one replica at work, select pg_terminate_backend(%[2]d) lets it go on to its end, "+
		"which is an error then, and the start behind that one finds all migrations done", h.Blocks, h.PID)
}

// stranded says what to do about a holder that seems to be forgotten, empty for one that does
// not. A pooler in transaction mode gives the connection, and the lock with it, to whoever
// comes next, and nobody gives it back (goauthentik/authentik#23876). Who comes next may be
// we, and then it looks busy.
func stranded(h database.Holder, now time.Time) string {
	var why string
	switch {
	case h.Ours:
		why = "a pooler has given us the session that holds it, so whoever took it is not served by that any more, and nobody may give it back"
	case h.State == "idle" && !h.Active.IsZero() && now.Sub(h.Active) >= idleLong:
		why = fmt.Sprintf("it has been idle for %s: if no migration runs, a pooler in transaction mode may have stranded the lock", now.Sub(h.Active).Round(time.Second))
	default:
		return ""
	}
	return fmt.Sprintf("%s; select pg_terminate_backend(%d) frees it, and a connection past the pooler, or one in session mode, prevents it", why, h.PID)
}
