package database

import (
	"cmp"
	"context"
	"net"
	"path"
	"strconv"
	"strings"
	"time"
)

const (
	// defaultPort and defaultDir are libpq's, the latter as Debian builds it.
	defaultPort = "5432"
	defaultDir  = "/var/run/postgresql"
	// maxHosts and maxValue bound what is taken from a configuration; a password of
	// more than 64 KiB is refused by PostgreSQL itself (PG_MAX_AUTH_TOKEN_LENGTH).
	maxHosts = 32
	maxValue = 1 << 16
	// defaultTimeout is enough for a SYN and its first two repetitions (1 s and 2 s
	// later), and short enough for a black hole not to be taken for a slow start.
	defaultTimeout = 5 * time.Second
	maxTimeout     = time.Minute
)

// Settings say which PostgreSQL, as whom, and how. What is empty is not given.
type Settings struct {
	// Host is a name, an address or a socket's directory, or several of them with
	// commas between, as libpq has it; Port one for all of them or one for each.
	Host, Port string
	// Name is the database's.
	Name, User string
	Password   string `json:"-"`
	// SSLMode is one of libpq's six.
	SSLMode, SSLRootCert, SSLCert, SSLKey string
	// Options are more of libpq's keywords. Those that change neither where nor how
	// one is let in are left out: keep-alive has no meaning for a question.
	Options map[string]string `json:"-"`
	// Timeout bounds the attempt at one address. Without it the option
	// connect_timeout does, else it is 5 s.
	Timeout time.Duration

	// lookup is the tests' resolver.
	lookup func(ctx context.Context, host string) ([]string, error)
}

// String names servers, user and database, and never a password.
func (s Settings) String() string {
	text := show(s.User) + "@" + s.server() + "/" + show(s.database())
	if s.SSLMode != "" {
		text += " (sslmode " + show(s.SSLMode) + ")"
	}
	return text
}

// GoString is the same, lest %#v print the fields.
func (s Settings) GoString() string { return s.String() }

// database is what the server takes where no name is given: the user's.
func (s Settings) database() string { return cmp.Or(s.Name, s.User) }

// server is where it is: an address, a socket, or several.
func (s Settings) server() string {
	const most = 4
	var all []string
	for _, p := range s.places() {
		if len(all) == most {
			return strings.Join(all, ", ") + ", ..."
		}
		all = append(all, show(p.address()))
	}
	return strings.Join(all, ", ")
}

// place is one of the hosts with its port.
type place struct{ host, port string }

func (p place) address() string {
	if p.isSocket() {
		return path.Join(p.host, ".s.PGSQL."+p.port)
	}
	return net.JoinHostPort(p.host, p.port)
}

func (p place) isSocket() bool { return strings.HasPrefix(p.host, "/") }

// places pairs hosts and ports as libpq does: one port is for all.
func (s Settings) places() []place {
	hosts, ports := strings.Split(s.Host, ","), strings.Split(s.Port, ",")
	all := make([]place, 0, len(hosts))
	for i, host := range hosts {
		port := ports[0]
		if len(ports) > 1 && i < len(ports) {
			port = ports[i]
		}
		all = append(all, place{cmp.Or(host, defaultDir), cmp.Or(port, defaultPort)})
	}
	return all
}

// timeout is the bound of the attempt at one address. libpq takes nothing and less than
// nothing for "for ever", which no attempt of ours is.
func (s Settings) timeout() time.Duration {
	if s.Timeout > 0 {
		return min(s.Timeout, maxTimeout)
	}
	if seconds, err := strconv.Atoi(s.Options["connect_timeout"]); err == nil && seconds > 0 {
		return min(time.Duration(min(seconds, 60))*time.Second, maxTimeout)
	}
	return defaultTimeout
}

// show gives a word as it is, and quotes what would not be one word on one line.
func show(word string) string {
	const most = 100
	if len(word) > most {
		word = word[:most] + "..."
	}
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-+@:/[]%", r)
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return strconv.Quote(word)
}

// oneLine makes what others say fit for one line of a log: no control characters, no end
// of line, not endless.
func oneLine(text string) string {
	const most = 300
	if len(text) > most {
		text = text[:most] + "..."
	}
	text = strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	return strings.Join(strings.Fields(text), " ")
}
