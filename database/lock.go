package database

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Holder is a session that has a lock. What the server does not show us is empty: the
// activity of others is for their own role, superusers and pg_read_all_stats.
type Holder struct {
	PID int
	// Application is its application_name, Address where it came from: behind a
	// pooler the pooler's.
	Application, Address, User, State string
	// Since is when the session began, or the oldest thing that is known of it; when
	// it took the lock PostgreSQL does not say. Active is when its last query began.
	// Both are on this machine's clock, and zero where nothing is known.
	Since, Active time.Time
	// Blocks is the pid of a session that waits for something else which this one has locked, 0
	// where none does, and BlocksAt the table or index, empty where it is neither.
	Blocks   int
	BlocksAt string
	// Ours is whether it is the very session that asked. That has taken no lock: a pooler in
	// transaction mode has given it away with the lock on it.
	Ours bool
}

// String is for a line of a log.
func (h Holder) String() string {
	known := func(text string) string {
		if text == "" {
			return "?"
		}
		return show(text)
	}
	since := "?"
	if !h.Since.IsZero() {
		since = h.Since.Format(time.RFC3339)
	}
	line := fmt.Sprintf("pid %d, user %s, from %s, application %s, %s, since %s",
		h.PID, known(h.User), known(h.Address), known(h.Application), known(h.State), since)
	if h.Blocks != 0 {
		line += fmt.Sprintf(", with pid %d waiting for its lock on %s", h.Blocks, known(h.BlocksAt))
	}
	return line
}

// holderQuery asks for the holder of pg_advisory_lock(bigint): its upper half is classid,
// its lower objid, objsubid is 1, and such locks are each database's own (PostgreSQL's
// manual, "pg_locks"). Ages, not times: the clocks may differ. Who waits for the lock itself waits for
// its turn, and is not blocked.
const holderQuery = `select l.pid, a.application_name, coalesce(pg_catalog.host(a.client_addr), case when a.backend_start is not null then 'socket' end),
	a.usename, a.state,
	extract(epoch from pg_catalog.clock_timestamp() - coalesce(a.backend_start, a.xact_start, a.query_start)),
	extract(epoch from pg_catalog.clock_timestamp() - a.query_start), l.pid = pg_catalog.pg_backend_pid(),
	b.pid, b.relname
from pg_catalog.pg_locks l left join pg_catalog.pg_stat_activity a on a.pid = l.pid
	left join lateral (
		select w.pid, c.relname from pg_catalog.pg_locks w left join pg_catalog.pg_class c on c.oid = w.relation
		where not w.granted and w.locktype <> 'advisory' and l.pid = any(pg_catalog.pg_blocking_pids(w.pid)) order by w.pid limit 1
	) b on true
where l.locktype = 'advisory' and l.granted and l.classid = %d and l.objid = %d and l.objsubid = 1
	and l.database = (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database())
order by a.backend_start nulls last limit 1`

// LockHolder says who holds the session's or transaction's advisory lock with this key in
// the settings' database, if anybody does.
func LockHolder(ctx context.Context, s Settings, key int64) (Holder, bool, error) {
	var row [][]byte
	err := s.ask(ctx, func(ctx context.Context, conn *pgconn.PgConn) (err error) {
		row, err = firstRow(ctx, conn, lockQuery(holderQuery, key))
		return err
	})
	if err != nil || len(row) != 10 {
		return Holder{}, false, err
	}
	return holderOf(row, time.Now()), true, nil
}

// lockQuery puts both halves of a key into a query.
func lockQuery(query string, key int64) string {
	return fmt.Sprintf(query, uint32(uint64(key)>>32), uint32(uint64(key))) //nolint:gosec // halves of the key
}

func holderOf(row [][]byte, now time.Time) Holder {
	text := func(i int) string { return oneLine(string(row[i])) }
	pid, _ := strconv.Atoi(string(row[0]))
	blocks, _ := strconv.Atoi(string(row[8]))
	return Holder{
		PID: pid, Blocks: blocks, BlocksAt: text(9), Application: text(1), Address: text(2), User: text(3), State: text(4),
		Since: before(now, row[5]), Active: before(now, row[6]), Ours: string(row[7]) == "t",
	}
}

// before is now less an age in seconds, zero where that is none.
func before(now time.Time, age []byte) time.Time {
	seconds, err := strconv.ParseFloat(string(age), 64)
	if err != nil || !(seconds >= 0 && seconds < 1e9) { // neither NaN
		return time.Time{}
	}
	return now.Add(-time.Duration(seconds * float64(time.Second)))
}
