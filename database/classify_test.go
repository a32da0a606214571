package database

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// What other servers say: those that this machine does not have, and PostgreSQL's own in
// another language.
func TestClassifyWhatServersSay(t *testing.T) {
	tests := []struct {
		code, message, routine string
		want                   Cause
	}{
		{"57P03", "das Datenbanksystem startet", "", StartingUp},
		{"57P03", "the database system is not yet accepting connections", "", Recovering},
		{"57P01", "terminating connection due to administrator command", "", ShuttingDown},
		{"57P02", "terminating connection because of crash of another server process", "", ShuttingDown},
		{"28000", "Rolle »app« existiert nicht", "InitializeSessionUserId", NoRole},
		{"28000", "kein pg_hba.conf-Eintrag für Host »10.0.0.9«", "ClientAuthentication", NoEntry},
		{"28000", "Peer-Authentifizierung für Benutzer »app« fehlgeschlagen", "auth_failed", AuthRejected},
		{"28000", "SSL connection is required. Please specify SSL options and retry.", "", TLSWanted},
		{"08P01", "no such database: app", "", NoDatabase},
		{"08P01", "no such user: app", "", NoRole},
		{"08P01", "SSL required", "", TLSWanted},
		{"08P01", "no more connections allowed (max_client_conn)", "", TooMany},
		{"08P01", "server login has been failing, try again later (server_login_retry)", "", Pooler},
		{"08P01", "query_wait_timeout", "", Pooler},
		{"08P01", "unsupported startup parameter: search_path", "", BadOption},
		{"08P01", "server login failed: FATAL password authentication failed for user \"app\"", "", WrongPassword},
		{"08P01", "server login failed: FATAL the database system is starting up", "", StartingUp},
		{"08P01", "server login failed: FATAL database \"app\" does not exist", "", NoDatabase},
		{"08006", "the database has gone away", "", Pooler},
		{"28P01", "no such user", "", NoRole},
		{"53300", "too many connections", "", TooMany},
		{"25006", "cannot execute CREATE TABLE in a read-only transaction", "", ReadOnly},
		{"XX000", "Tenant or user not found", "", Other},
		{"", "", "", Other},
	}
	for _, tt := range tests {
		t.Run(tt.code+" "+tt.message, func(t *testing.T) {
			err := error(&pgconn.PgError{Severity: "FATAL", Code: tt.code, Message: tt.message, Routine: tt.routine})
			if got := Classify(fmt.Errorf("server error: %w", err)); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
	if Classify(nil) != Other || Classify(errors.New("what?")) != Other {
		t.Error("what is not known is other")
	}
}

// What this machine's network does not do.
func TestClassifyWhatTheKernelAndTLSSay(t *testing.T) {
	tests := []struct {
		err  error
		want Cause
	}{
		{syscall.EHOSTUNREACH, Unreachable},
		{syscall.EPERM, Unreachable}, // a packet filter
		{syscall.EADDRNOTAVAIL, Unreachable},
		{syscall.ETIMEDOUT, TimedOut},
		{syscall.EPIPE, HungUp},
		{syscall.EMFILE, Other},
		{x509.CertificateInvalidError{Reason: x509.Expired}, TLSUnverified},
		{&tls.CertificateVerificationError{Err: x509.HostnameError{}}, TLSUnverified},
		{errors.New("tls: failed to parse certificate from server: x509: negative serial number"), TLSRejected},
		{pgconn.ErrConnClosed, HungUp},
	}
	for _, tt := range tests {
		t.Run(tt.err.Error(), func(t *testing.T) {
			err := fmt.Errorf("dial error: %w", &net.OpError{Op: "dial", Net: "tcp", Err: tt.err})
			if got := Classify(err); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
	socket := fmt.Errorf("dial error: %w", &net.OpError{Op: "dial", Net: "unix", Err: syscall.EPERM})
	if got := Classify(socket); got != SocketForbidden {
		t.Errorf("%s", got)
	}
	long := Settings{Host: "db"}.explain(errors.New(strings.Repeat("x", 1000) + "\xff"))
	tell(t, long, Other, "xxx...; see the server's log")
}

func TestEveryCause(t *testing.T) {
	words := map[string]bool{}
	for c := Other; c <= Malformed; c++ {
		f := c.facts()
		if f.word == "" || words[f.word] || strings.ContainsFunc(f.word, func(r rune) bool { return r != '-' && (r < 'a' || r > 'z') && r != '_' }) {
			t.Errorf("cause %d: the word %q", c, f.word)
		}
		words[f.word] = true
		if f.remedy == "" || strings.HasSuffix(f.remedy, ".") {
			t.Errorf("%s: the remedy %q", c, f.remedy)
		}
	}
	if Cause(200).String() != "other" {
		t.Error("a cause that does not exist")
	}
}

// Those that are worth waiting for: a list, so that nobody changes it in passing.
func TestPassing(t *testing.T) {
	want := "hung-up name-unknown no-socket not-postgresql other pooler read-only recovering refused shutting-down standby-closed starting-up timed-out too-many-connections unreachable"
	for c := Other; c <= Malformed; c++ {
		if listed := strings.Contains(" "+want+" ", " "+c.String()+" "); c.Passing() != listed {
			t.Errorf("%s: passing %t", c, c.Passing())
		}
	}
}

func TestOfSeveralTheMostTelling(t *testing.T) {
	wrong := &pgconn.PgError{Code: "28P01"}
	starting := &pgconn.PgError{Code: "57P03"}
	refused := errors.New("server refused TLS connection")
	tests := []struct {
		name string
		errs []error
		want Cause
	}{
		{"without TLS the server says more", []error{refused, wrong}, WrongPassword},
		{"one host may get well", []error{wrong, starting}, StartingUp},
		{"nothing known", []error{errors.New("a"), errors.New("b")}, Other},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Classify(fmt.Errorf("cannot: %w", errors.Join(tt.errs...))); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}
