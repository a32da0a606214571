package database

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Applied is what Django has written down of migrations (django_migrations).
type Applied struct {
	// Count is how many have been applied, App and Name are the newest's.
	Count     int
	App, Name string
	// At is when that was, on this machine's clock; zero where nothing is known.
	At time.Time
}

// tableExists asks for a table by schema and name. The catalogue is asked, since a query of
// a table that is not there would be an error in the server's log.
const tableExists = `select 1 from pg_catalog.pg_tables where schemaname = %s and tablename = %s`

const appliedQuery = `select (select count(*) from %[1]s), app, name, extract(epoch from pg_catalog.clock_timestamp() - applied)
from %[1]s order by id desc limit 1`

// Progress says which migrations are applied, and false where there is no table of them
// yet, or nothing in it. The error is an [*Error], or the context's cause.
func Progress(ctx context.Context, s Settings, schema string) (Applied, bool, error) {
	row, err := s.rowOf(ctx, schema, "django_migrations", appliedQuery)
	if err != nil || len(row) != 4 {
		return Applied{}, false, err
	}
	count, _ := strconv.Atoi(string(row[0]))
	return Applied{count, oneLine(string(row[1])), oneLine(string(row[2])), before(time.Now(), row[3])}, true, nil
}

const versionQuery = `select version from %s order by "timestamp" desc, id desc limit 1`

// VersionHistory is the version of authentik that migrated the database last, by its own
// table (lifecycle/system_migrations/version_history_update.py), and false where there is
// no such table, or nothing in it. The error is an [*Error], or the context's cause.
func VersionHistory(ctx context.Context, s Settings, schema string) (string, bool, error) {
	row, err := s.rowOf(ctx, schema, "authentik_version_history", versionQuery)
	if err != nil || len(row) != 1 {
		return "", false, err
	}
	return oneLine(string(row[0])), true, nil
}

// rowOf is the first row of a query about a table, if that table is there.
func (s Settings) rowOf(ctx context.Context, schema, table, query string) (row [][]byte, err error) {
	err = s.ask(ctx, func(ctx context.Context, conn *pgconn.PgConn) error {
		found, err := firstRow(ctx, conn, fmt.Sprintf(tableExists, literal(schema), literal(table)))
		if err == nil && found != nil {
			row, err = firstRow(ctx, conn, fmt.Sprintf(query, identifier(schema)+"."+identifier(table)))
		}
		return err
	})
	return row, err
}

const waitersQuery = `select count(*) from pg_catalog.pg_locks l
where l.locktype = 'advisory' and not l.granted and l.classid = %d and l.objid = %d and l.objsubid = 1
	and l.database = (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database())`

// LockWaiters says how many sessions wait for the advisory lock with this key. The error is
// an [*Error], or the context's cause.
func LockWaiters(ctx context.Context, s Settings, key int64) (n int, err error) {
	err = s.ask(ctx, func(ctx context.Context, conn *pgconn.PgConn) error {
		row, err := firstRow(ctx, conn, lockQuery(waitersQuery, key))
		if err == nil && len(row) == 1 {
			n, err = strconv.Atoi(string(row[0]))
		}
		return err
	})
	return n, err
}

// literal quotes a text so that every server reads it alike, whatever its
// standard_conforming_strings is (PostgreSQL's manual, "String Constants With C-Style
// Escapes").
func literal(text string) string {
	return "E'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(text) + "'"
}

func identifier(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
