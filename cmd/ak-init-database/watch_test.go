package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"ak-init/database"
)

// told is a line's event and its fields in short.
func told(l line) string {
	var all []string
	for _, f := range l.fields {
		if f.String != "" {
			all = append(all, f.Key+"="+f.String)
		} else {
			all = append(all, fmt.Sprintf("%s=%d", f.Key, f.Integer))
		}
	}
	return strings.Join(append([]string{l.event}, all...), " ")
}

func TestProgress(t *testing.T) {
	begun := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	held := func(waiters, applied int, idle time.Duration) func(time.Time) look {
		return func(now time.Time) look {
			return look{
				holder: database.Holder{PID: 7, Application: "theirs", Address: "10.0.0.1", State: "idle", Active: now.Add(-idle)},
				held:   true, waiters: waiters, known: applied > 0, applied: database.Applied{Count: applied, App: "core", Name: "0001"},
			}
		}
	}
	blocked := func(pid, applied int) func(time.Time) look {
		return func(now time.Time) look {
			return look{
				holder: database.Holder{PID: pid, State: "idle in transaction", Active: now.Add(-time.Hour), Blocks: 8},
				held:   true, known: true, applied: database.Applied{Count: applied},
			}
		}
	}
	free := func(time.Time) look { return look{} }
	ours := func(now time.Time) look {
		return look{holder: database.Holder{PID: 7, State: "active", Active: now, Ours: true}, held: true, waiters: 1}
	}
	unasked := func(time.Time) look { return look{err: errors.New("refused")} }
	type at struct {
		after time.Duration
		seen  func(time.Time) look
		says  []string // parts of the line; none: no line
		done  bool
	}
	for name, moves := range map[string][]at{
		"free from the first": {
			{10 * time.Second, free, nil, false}, {40 * time.Second, free, nil, false}, {70 * time.Second, free, nil, true},
		},
		"free for a moment is not free for good": {
			{10 * time.Second, free, nil, false}, {40 * time.Second, free, nil, false},
			{70 * time.Second, held(0, 3, 0), []string{"migrating holder=7 application=theirs address=10.0.0.1 state=idle waiting=0 waited=1m10s applied=3 newest=core.0001"}, false},
			{100 * time.Second, free, nil, false}, {130 * time.Second, free, nil, false}, {160 * time.Second, free, nil, true},
		},
		"somebody waits, before there is a table": {
			{10 * time.Second, held(2, 0, 0), []string{"waiting for the migration lock holder=7", "waiting=2 waited=10s"}, false},
		},
		"forgotten behind a pooler": {
			{0, held(1, 5, time.Hour), []string{"waiting for the migration lock"}, false},
			{3 * time.Minute, held(1, 5, time.Hour), []string{"hint=it has been idle for 1h0m0s", "pg_terminate_backend(7)"}, false},
		},
		"a migration that waits for itself": {
			{0, blocked(7, 1), []string{"migrating"}, false},
			{59 * time.Second, blocked(7, 1), []string{"migrating"}, false},
			{time.Minute, blocked(7, 1), []string{"hint=pid 8 waits for pid 7", "pg_terminate_backend(7)"}, false},
			{2 * time.Minute, blocked(7, 2), []string{"applied=2"}, false},
			{150 * time.Second, blocked(7, 2), []string{"applied=2"}, false},
		},
		"left on the session that a pooler has given us": {
			{0, ours, []string{"waiting for the migration lock"}, false},
			{3 * time.Minute, ours, []string{"hint=a pooler has given us the session", "pg_terminate_backend(7)"}, false},
		},
		"asked for but not answered": {
			{time.Minute, held(0, 1, 0), []string{"migrating"}, false}, {2 * time.Minute, unasked, []string{"cannot look"}, false},
			{5*time.Minute + 59*time.Second, unasked, []string{"cannot look"}, false}, {6 * time.Minute, unasked, []string{"cannot look"}, true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := progress{begun: begun, answered: begun}
			for i, m := range moves {
				now := begun.Add(m.after)
				got, done := p.note(m.seen(now), now)
				if done != m.done || (got.event == "") != (len(m.says) == 0) {
					t.Fatalf("move %d: %q, done %t", i, told(got), done)
				}
				if hints := slices.ContainsFunc(m.says, func(part string) bool { return strings.HasPrefix(part, "hint=") }); hints != strings.Contains(told(got), "hint=") {
					t.Errorf("move %d: %q; want a hint: %t", i, told(got), hints)
				}
				for _, part := range m.says {
					if !strings.Contains(told(got), part) {
						t.Errorf("move %d: %q lacks %q", i, told(got), part)
					}
				}
			}
		})
	}
}

// What check says of a holder that it sees once.
func TestAdviceOn(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		state  string
		idle   time.Duration
		blocks int
		says   string
	}{
		"at work":                          {"active", time.Hour, 8, "let its migrations end"},
		"Django's migrations on their way": {"idle in transaction", time.Hour, 0, "let its migrations end"},
		"one that somebody waits for":      {"idle in transaction", 59 * time.Second, 8, "let its migrations end"},
		"for long":                         {"idle in transaction", time.Minute, 8, "pid 8 waits for pid 7"},
		"forgotten":                        {"idle", time.Hour, 0, "it has been idle for 1h0m0s"},
	} {
		got := adviceOn(database.Holder{PID: 7, State: test.state, Active: now.Add(-test.idle), Blocks: test.blocks}, now)
		if !strings.HasPrefix(got, test.says) {
			t.Errorf("%s: %q, want %q", name, got, test.says)
		}
	}
}

// A session that is idle while migrations come in is the one that holds the lock for them.
func TestAHolderIsNotForgottenWhileMigrationsComeIn(t *testing.T) {
	begun := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	p := progress{begun: begun, answered: begun}
	for i := range 20 {
		now := begun.Add(time.Duration(i) * time.Minute)
		l := look{held: true, holder: database.Holder{PID: 7, State: "idle", Active: begun.Add(-time.Hour)}, known: true, applied: database.Applied{Count: i}}
		if got, _ := p.note(l, now); strings.Contains(told(got), "hint") {
			t.Fatalf("minute %d: %s", i, told(got))
		}
	}
}
