package database

// Cause is why PostgreSQL cannot be used. Of several that come together, as where a name
// has two addresses, the greatest says most: the constants are in that order.
type Cause uint8

const (
	// Other is what is not known here.
	Other Cause = iota
	// NameUnknown is a host name that has no address, or a resolver that is down.
	NameUnknown
	// Unreachable is no route, or a network that forbids it.
	Unreachable
	// TimedOut is silence: a firewall that drops, or a server that hangs.
	TimedOut
	// NoSocket is a unix socket that is not there.
	NoSocket
	// SocketForbidden is one that we may not use.
	SocketForbidden
	// Refused is nobody listening.
	Refused
	// HungUp is an end of the connection without a word, as by a proxy that has nobody
	// behind it.
	HungUp
	// NotPostgreSQL is something else that answers.
	NotPostgreSQL
	// TLSRefused is a server without TLS where sslmode wants it.
	TLSRefused
	// TLSRejected is a handshake that failed for another reason.
	TLSRejected
	// TLSUnverified is a certificate that is not to be trusted, or another host's.
	TLSUnverified
	// Pooler is what a pooler says when it has no server, or no rule of ours for it.
	Pooler
	// AuthRejected is any other refusal to let this user in.
	AuthRejected
	// NoPassword is a server that wants one where none is given.
	NoPassword
	// WrongPassword is also what PostgreSQL says of a user that it does not have.
	WrongPassword
	// NoEntry is no line in pg_hba.conf that lets us in.
	NoEntry
	// TLSWanted is a server that refuses to go on without TLS.
	TLSWanted
	// CertificateWanted is a server that lets us in with a client certificate only.
	CertificateWanted
	// BadOption is a server that does not know one of the options.
	BadOption
	// NoRole is a user that is not there, or may not log in.
	NoRole
	// NoDatabase is a database that is not there.
	NoDatabase
	// NoPrivilege is a database that this user may not connect to.
	NoPrivilege
	// TooMany is no free connection: of the server, the database, the user or a pooler.
	TooMany
	// StandbyClosed is a standby that lets nobody in.
	StandbyClosed
	// ReadOnly is a server that can be read only: a standby, or one that is set so.
	ReadOnly
	// StartingUp is a server that starts.
	StartingUp
	// Recovering is one that repairs itself after a crash, or is not consistent yet.
	Recovering
	// ShuttingDown is one that stops.
	ShuttingDown
	// OldVersion is a version below the one that is needed.
	OldVersion
	// TLSFile is a certificate or key that is missing, cannot be read, or is none.
	TLSFile
	// Malformed is a setting that cannot be right whatever the server is.
	Malformed
)

// String is a word that stays the same from release to release.
func (c Cause) String() string { return c.facts().word }

// Passing is whether it may be over when one waits.
func (c Cause) Passing() bool { return c.facts().passing }

// Remedy is what to do about it, as the end of an [*Error]'s text says it.
func (c Cause) Remedy() string { return c.facts().remedy }

type facts struct {
	word    string
	passing bool
	// remedy is what to do about it.
	remedy string
}

func (c Cause) facts() facts {
	const (
		v        = variable
		host     = v + "HOST"
		address  = v + "HOST and " + v + "PORT"
		password = "correct " + v + "PASSWORD"
	)
	all := [...]facts{
		Other:             {"other", true, "see the server's log"},
		NameUnknown:       {"name-unknown", true, "start what has that name, or correct " + host},
		Unreachable:       {"unreachable", true, "look at the network's routes and policies, or correct " + host},
		TimedOut:          {"timed-out", true, "look for a firewall or a network policy between, or correct " + address},
		NoSocket:          {"no-socket", true, "start PostgreSQL, mount its socket's directory there, or correct " + address},
		SocketForbidden:   {"socket-forbidden", false, "let this uid use the socket, or correct " + host},
		Refused:           {"refused", true, "start PostgreSQL there, or correct " + address},
		HungUp:            {"hung-up", true, "look at what listens there, and at what stands behind it, or correct " + address},
		NotPostgreSQL:     {"not-postgresql", true, "correct " + address + ": something else listens there"},
		TLSRefused:        {"tls-refused", false, "turn ssl on in the server, or set " + v + "SSLMODE to disable"},
		TLSRejected:       {"tls-rejected", false, "compare ssl in the server with " + v + "SSLMODE, " + v + "SSLCERT and " + v + "SSLKEY"},
		TLSUnverified:     {"tls-unverified", false, "give the server's CA in " + v + "SSLROOTCERT, and in " + host + " a name that its certificate has"},
		Pooler:            {"pooler", true, "see the pooler's log, or correct " + address},
		AuthRejected:      {"auth-rejected", false, "correct " + v + "USER, or pg_hba.conf"},
		NoPassword:        {"no-password", false, "set " + v + "PASSWORD"},
		WrongPassword:     {"wrong-password", false, password + " or " + v + "USER"},
		NoEntry:           {"no-pg-hba-entry", false, "add a line to pg_hba.conf, or, if the server wants TLS, set " + v + "SSLMODE to require"},
		TLSWanted:         {"tls-wanted", false, "set " + v + "SSLMODE to require or verify-full"},
		CertificateWanted: {"certificate-wanted", false, "set " + v + "SSLCERT and " + v + "SSLKEY to a pair that the server's CA has signed for this user"},
		BadOption:         {"bad-option", false, "take it out of " + v + "CONN_OPTIONS"},
		NoRole:            {"no-role", false, "create that role with the right to log in, or correct " + v + "USER"},
		NoDatabase:        {"no-database", false, "create that database, or correct " + v + "NAME"},
		NoPrivilege:       {"no-privilege", false, "grant that user CONNECT on the database, or correct " + v + "USER"},
		TooMany:           {"too-many-connections", true, "raise max_connections (or the pooler's, the role's, the database's limit), or end idle sessions"},
		StandbyClosed:     {"standby-closed", true, "promote it, or point " + host + " at the primary"},
		ReadOnly:          {"read-only", true, "promote it, let it write, or point " + host + " at the primary"},
		StartingUp:        {"starting-up", true, "let it start"},
		Recovering:        {"recovering", true, "let it recover"},
		ShuttingDown:      {"shutting-down", true, "start it again"},
		OldVersion:        {"too-old", false, "upgrade it"},
		TLSFile:           {"tls-file", false, "put that file right, or correct the variable"},
		Malformed:         {"malformed", false, "put that right"},
	}
	if int(c) >= len(all) {
		return all[Other]
	}
	return all[c]
}
