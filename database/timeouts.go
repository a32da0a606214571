package database

import (
	"strconv"
	"strings"
	"time"
)

// Timeout is a setting by which the server itself ends what takes too long.
type Timeout struct {
	// Name is PostgreSQL's for it, as statement_timeout.
	Name  string
	After time.Duration
	// ByClient: whoever connects asks for it, in the option options. Otherwise it is the
	// role's, the database's or the server's.
	ByClient bool
}

// timeoutsQuery gives the timeouts that are not off, as NAME:MILLISECONDS:SOURCE with commas
// between (PostgreSQL's manual, "Statement Behavior" and "pg_settings"). One that this server
// does not know, as transaction_timeout before 17, is not among them.
const timeoutsQuery = `(select pg_catalog.string_agg(name || ':' || setting || ':' || source, ',' order by name) from pg_catalog.pg_settings
	where name in ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout') and setting <> '0')`

// timeoutsOf reads the answer. What it does not understand it leaves out.
func timeoutsOf(answer string) (all []Timeout) {
	for one := range strings.SplitSeq(answer, ",") {
		name, rest, _ := strings.Cut(one, ":")
		number, source, ok := strings.Cut(rest, ":")
		ms, err := strconv.ParseInt(number, 10, 32) // as the server has it
		if ok && err == nil && ms > 0 {
			all = append(all, Timeout{Name: oneLine(name), After: time.Duration(ms) * time.Millisecond, ByClient: source == "client"})
		}
	}
	return all
}

// Remedy is what to do about a timeout of the settings' role. That of a role in one database
// goes before all others of the server's (PostgreSQL's manual, "ALTER ROLE").
func (t Timeout) Remedy(s Settings) string {
	if t.ByClient {
		return "take " + t.Name + " out of the options in " + variable + "CONN_OPTIONS"
	}
	return "let it be off for authentik: ALTER ROLE " + identifier(oneLine(s.User)) + " IN DATABASE " + identifier(oneLine(s.database())) + " SET " + t.Name + " = 0"
}
