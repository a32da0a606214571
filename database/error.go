package database

import (
	"cmp"
	"fmt"
	"strings"
	"time"
)

// Error says in one line why a PostgreSQL cannot be used, which, as whom, and what to do.
// It holds no password.
type Error struct {
	Cause Cause
	// Server is an address, a socket, or several of them.
	Server         string
	User, Database string
	// Said is what the server, the kernel, the resolver or TLS said.
	Said string
	// Waited is for how long it was tried in vain.
	Waited time.Duration
	// Err is what pgconn gave, without its configuration.
	Err error
}

func (e *Error) Error() string {
	what := "connect to"
	if e.Cause == ReadOnly || e.Cause == OldVersion {
		what = "use"
	}
	waited := ""
	if e.Waited > 0 {
		waited = fmt.Sprintf(", after %s of trying", e.Waited.Round(100*time.Millisecond))
	}
	return fmt.Sprintf("cannot %s PostgreSQL at %s (user %s, database %s): %s%s; %s",
		what, e.Server, show(e.User), show(e.Database), e.Said, waited, e.Cause.facts().remedy)
}

func (e *Error) Unwrap() error { return e.Err }

// fault is an error about these settings.
func (s Settings) fault(cause Cause, said string, err error) *Error {
	return &Error{
		Cause: cause, Server: s.server(), User: s.User, Database: s.database(),
		Said: cmp.Or(oneLine(s.scrub(said)), "no reason given"), Err: err,
	}
}

// scrub takes secrets out of what others say: who asks for a password in the clear can
// send it back. A password that is also the user's name or the like is no secret, and
// without it the message would say nothing.
func (s Settings) scrub(said string) string {
	public := strings.Join([]string{s.Host, s.Name, s.User}, " ")
	for _, secret := range []string{s.Password, s.Options["sslpassword"]} {
		if len(secret) >= 4 && !strings.Contains(public, secret) {
			said = strings.ReplaceAll(said, secret, "***")
		}
	}
	return said
}

// TooOld is nil where a server's version, as [State] has it, is of the major version that
// is needed or a later one.
func TooOld(s Settings, version, minimum int) error {
	if version/10000 >= minimum {
		return nil
	}
	return s.fault(OldVersion, fmt.Sprintf("it is version %s, and %d or later is needed", release(version), minimum), nil)
}

// release writes server_version_num as people do: 150019 is 15.19, and 90624, from before
// 10, 9.6.24 (PostgreSQL's manual, "server_version_num").
func release(version int) string {
	if version < 100000 {
		return fmt.Sprintf("%d.%d.%d", version/10000, version/100%100, version%100)
	}
	return fmt.Sprintf("%d.%d", version/10000, version%10000)
}
