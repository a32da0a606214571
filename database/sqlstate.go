package database

import (
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// byServer goes by the SQLSTATE (PostgreSQL's manual, "PostgreSQL Error Codes"). Where one
// stands for several causes the rest is read from the message, which may be in another
// language (lc_messages): then it is the commonest of them.
func byServer(e *pgconn.PgError) Cause {
	has := func(part string) bool { return strings.Contains(strings.ToLower(e.Message), part) }
	switch e.Code {
	case "57P01", "57P02": // admin_shutdown, crash_shutdown
		return ShuttingDown
	case "57P03": // cannot_connect_now
		return notNow(has)
	case "28P01": // invalid_password; of a pooler also
		return byPassword(has)
	case "28000": // invalid_authorization_specification
		return byAuthorization(e, has)
	case "3D000": // invalid_catalog_name
		return NoDatabase
	case "42501": // insufficient_privilege
		return NoPrivilege
	case "53300": // too_many_connections
		return TooMany
	case "25006": // read_only_sql_transaction
		return ReadOnly
	case "42704", "22023": // undefined_object, invalid_parameter_value: of the options
		return BadOption
	}
	// Class 08 is a pooler's: PostgreSQL gives it to clients that break the protocol.
	// PgBouncer before 1.20 has nothing else, others have it for most.
	if strings.HasPrefix(e.Code, "08") {
		return byPooler(has)
	}
	return Other
}

// notNow knows the refusals of postmaster.c, canAcceptConnections.
func notNow(has func(string) bool) Cause {
	switch {
	case has("shutting down"):
		return ShuttingDown
	case has("in recovery mode"), has("not yet accepting"):
		return Recovering
	case has("not accepting connections"):
		return StandbyClosed
	}
	return StartingUp
}

func byPassword(has func(string) bool) Cause {
	if has("no such user") {
		return NoRole
	}
	return WrongPassword
}

// byAuthorization asks the routine first, which is the same in every language: a role is
// looked up in miscinit.c, pg_hba.conf in auth.c.
func byAuthorization(e *pgconn.PgError, has func(string) bool) Cause {
	switch {
	case e.Routine == "InitializeSessionUserId", has(`role "`) && (has("does not exist") || has("not permitted to log in")):
		return NoRole
	case has("client certificate"):
		return CertificateWanted
	case has("pg_hba.conf"):
		return NoEntry
	case has("ssl connection is required"), has("ssl required"), has("requires ssl"):
		return TLSWanted
	}
	return AuthRejected
}

// byPooler knows PgBouncer's words (its client.c and objects.c), which other poolers have
// taken over.
func byPooler(has func(string) bool) Cause {
	switch {
	case has("no such database"), has(`database "`) && has("does not exist"):
		return NoDatabase
	case has("no such user"), has(`role "`) && has("does not exist"):
		return NoRole
	case has("password authentication failed"), has("auth failed"):
		return WrongPassword
	case has("ssl required"):
		return TLSWanted
	case has("pg_hba.conf"):
		return NoEntry
	case has("no more connections allowed"), has("too many"), has("connection slots"):
		return TooMany
	case has("unsupported startup parameter"):
		return BadOption
	case has("shutting down"):
		return ShuttingDown
	case has("starting up"):
		return StartingUp
	}
	return Pooler
}
