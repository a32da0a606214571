package database

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
)

// Classify says why an attempt failed, from an error of this room or one of pgconn's.
func Classify(err error) Cause {
	if err == nil {
		return Other
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Cause
	}
	cause, _ := mostTelling(err)
	return cause
}

// explain makes a failed attempt into an error of this room.
func (s Settings) explain(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	cause, leaf := mostTelling(err)
	said := s.said(cause, leaf) + s.address(leaf)
	if cause == HungUp && s.SSLCert != "" && s.wantsTLS() {
		// In TLS 1.3 a server refuses a certificate after we have begun to talk, and its
		// alert can get lost in the reset that follows.
		said += ", perhaps over " + variable + "SSLCERT"
	}
	e := s.fault(cause, said, leaf)
	if text := leaf.Error(); s.scrub(text) != text {
		e.Err = nil
	}
	return e
}

// mostTelling is the error that says most among those of an attempt: one for each address
// of each host, and, for sslmode prefer and allow, with TLS and without.
func mostTelling(err error) (Cause, error) {
	// Behind a ConnectError, which holds the password in its configuration.
	if e, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		err = e.Unwrap()
	}
	type joined interface {
		error
		Unwrap() []error
	}
	all := []error{err}
	if j, ok := errors.AsType[joined](err); ok {
		all = j.Unwrap()
	}
	most, of := Other, all[0]
	for _, leaf := range all {
		if c := one(leaf); c > most {
			most, of = c, leaf
		}
	}
	return most, of
}

// one classifies what happened at one address.
func one(err error) Cause {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return byServer(pg)
	}
	// Before the kernel's errors, which can be the resolver's.
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return NameUnknown
	}
	if c := byTLS(err); c != Other {
		return c
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return byKernel(errno, overSocket(err))
	}
	switch {
	case pgconn.Timeout(err), errors.Is(err, context.DeadlineExceeded), errors.Is(err, net.ErrClosed):
		return TimedOut // it is we who close when time is up
	case errors.Is(err, pgconn.ErrReadOnlyConnection), errors.Is(err, pgconn.ErrStandbyConnection):
		return ReadOnly // by the option target_session_attrs
	case errors.Is(err, pgconn.ErrReadWriteConnection), errors.Is(err, pgconn.ErrPrimaryConnection):
		return BadOption
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, pgconn.ErrConnClosed):
		return HungUp
	}
	return byText(err.Error())
}

// byText knows what pgproto3 says of messages that are none: it has no types for it.
func byText(text string) Cause {
	for _, part := range []string{"invalid body length", "unknown message type", "received unexpected message", endless} {
		if strings.Contains(text, part) {
			return NotPostgreSQL
		}
	}
	return Other
}

// byTLS knows what crypto/tls and crypto/x509 give, and pgconn's words for a server that
// answers N to an SSLRequest (PostgreSQL's manual, "SSL Session Encryption").
func byTLS(err error) Cause {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return TLSUnverified
	}
	// verify-ca is done by pgconn itself, and gives these bare.
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return TLSUnverified
	}
	if _, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		return TLSUnverified
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" { // an alert
		return TLSRejected
	}
	switch text := err.Error(); {
	case strings.Contains(text, "server refused TLS connection"):
		return TLSRefused
	case strings.Contains(text, ": tls: "), strings.Contains(text, "x509: "):
		return TLSRejected
	}
	return Other
}

// overSocket is whether it was a unix socket that failed.
func overSocket(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Net == "unix"
}

// byKernel goes by the errors of man 2 connect.
func byKernel(errno syscall.Errno, socket bool) Cause {
	switch errno {
	case syscall.ENOENT, syscall.ENOTDIR:
		return NoSocket
	case syscall.ECONNREFUSED, syscall.EAGAIN: // EAGAIN: a socket whose queue is full
		return Refused
	case syscall.EACCES, syscall.EPERM:
		if socket {
			return SocketForbidden
		}
		return Unreachable
	case syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.ENETDOWN, syscall.EHOSTDOWN, syscall.EADDRNOTAVAIL, syscall.EAFNOSUPPORT:
		return Unreachable
	case syscall.ETIMEDOUT:
		return TimedOut
	case syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED:
		return HungUp
	default:
		return Other
	}
}

// said is what the other side said, in its own words where it has any.
func (s Settings) said(cause Cause, err error) string {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		said := strings.TrimSuffix(pg.Message, ".")
		if pg.Detail != "" {
			said += ": " + strings.TrimSuffix(pg.Detail, ".")
		}
		return said + " (SQLSTATE " + pg.Code + ")"
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return dns.Error()
	}
	if verify, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return verify.Err.Error()
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && cause != TimedOut && cause != TLSRejected {
		return kernelWord(op.Err)
	}
	switch cause {
	case TimedOut:
		return fmt.Sprintf("no answer in %s", s.timeout())
	case HungUp:
		return "it closes the connection"
	case TLSRefused, TLSRejected, TLSUnverified, ReadOnly, BadOption:
		return innermost(err).Error()
	default:
		// pgconn begins with address and name, which stand in the message already.
		return cmp.Or(errors.Unwrap(err), err).Error()
	}
}

// address is where an attempt went to, from the beginning of pgconn's text, "ADDRESS
// (HOST): ...", if it is another than the settings say.
func (s Settings) address(err error) string {
	address, _, _ := strings.Cut(err.Error(), " (")
	_, port, _ := net.SplitHostPort(address)
	if address == s.server() || !isPort(port) && !strings.HasPrefix(address, "/") {
		return ""
	}
	return " at " + address
}

func innermost(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}
