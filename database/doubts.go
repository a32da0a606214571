package database

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Doubts are options with which authentik's client will not connect, though we can: libpq
// refuses a connection for a word that it does not know, or a number that is none. Newer
// versions know more words, so that none of this is a reason not to try.
func (s Settings) Doubts() (all []error) {
	for _, name := range slices.Sorted(maps.Keys(s.Options)) {
		value := s.Options[name]
		switch {
		case slices.Contains(numbers(), name):
			if _, err := strconv.Atoi(strings.TrimSpace(value)); err != nil {
				all = append(all, fmt.Errorf("%s in %sCONN_OPTIONS is no whole number, and libpq refuses to connect with it", show(name), variable))
			}
		case !slices.Contains(known(), name):
			all = append(all, fmt.Errorf("%sCONN_OPTIONS has %s, which neither libpq nor psycopg nor Django is known to take", variable, show(name)))
		}
	}
	return all
}

// numbers are libpq's options that are whole numbers (PostgreSQL 18 documentation, "Parameter Key
// Words").
func numbers() []string {
	return []string{"connect_timeout", "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"}
}

// known are libpq's others (the same page), those of psycopg's connect, and those that Django
// takes for itself (its documentation of databases, "PostgreSQL notes").
func known() []string {
	return []string{
		"application_name", "channel_binding", "client_encoding", "dbname", "fallback_application_name", "gssdelegation", "gssencmode",
		"gsslib", "host", "hostaddr", "krbsrvname", "load_balance_hosts", "max_protocol_version", "min_protocol_version", "oauth_client_id",
		"oauth_client_secret", "oauth_issuer", "oauth_scope", "options", "passfile", "password", "port", "replication", "require_auth",
		"requirepeer", "scram_client_key", "scram_server_key", "service", "servicefile", "ssl_max_protocol_version", "ssl_min_protocol_version",
		"sslcert", "sslcertmode", "sslcompression", "sslcrl", "sslcrldir", "sslkey", "sslkeylogfile", "sslmode", "sslnegotiation",
		"sslpassword", "sslrootcert", "sslsni", "target_session_attrs", "user",

		"autocommit", "context", "cursor_factory", "prepare_threshold", "row_factory",

		"assume_role", "isolation_level", "pool", "server_side_binding",
	}
}
