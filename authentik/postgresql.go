package authentik

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// MigrationLock is the key of the advisory lock that is held while migrations run
// (lifecycle/migrate.py, ADV_LOCK_UID).
const MigrationLock = 1000

// PostgreSQL is how authentik connects to one server (lifecycle/migrate.py and
// authentik/lib/config.py, django_db_config, 2026.2).
type PostgreSQL struct {
	// Replica is its name below postgresql.read_replicas, empty for the primary.
	Replica                               string
	Host, Port, Name, User                string
	Password                              string `json:"-"`
	SSLMode, SSLRootCert, SSLCert, SSLKey string
	// Options are more of libpq's keywords, from conn_options.
	Options map[string]string `json:"-"`
	// Schema is where authentik's own tables are.
	Schema string
}

// postgresqlDefaults are authentik/lib/default.yml's of 2026.2, for a root that has no such
// file, or not all of it. One that names a host and no sslmode is of 2025.8 or before, where
// libpq's default is in force.
func postgresqlDefaults(named []string) map[string]any {
	defaults := map[string]any{
		"host": "localhost", "port": "5432", "name": "authentik", "user": "authentik",
		"password": "env://POSTGRES_PASSWORD", "sslmode": "disable", "default_schema": "public",
	}
	if slices.Contains(named, "postgresql.host") {
		delete(defaults, "sslmode")
	}
	return map[string]any{"postgresql": defaults}
}

// PostgreSQL gives the primary. The error names what of it authentik ignores; the rest
// counts.
func (s Settings) PostgreSQL() (PostgreSQL, error) {
	get := func(name string) string { return s.Text("postgresql." + name) }
	options, err := s.options("postgresql.conn_options")
	return PostgreSQL{
		Host: withoutUser(get("host")), Port: get("port"), Name: get("name"), User: get("user"), Password: get("password"),
		SSLMode: get("sslmode"), SSLRootCert: get("sslrootcert"), SSLCert: get("sslcert"), SSLKey: get("sslkey"),
		Options: options, Schema: get("default_schema"),
	}, err
}

// Replicas gives the read replicas, by name. Each is as the primary where it has nothing of
// its own, but for conn_options, of which it has replica_conn_options and its own alone.
func (s Settings) Replicas() ([]PostgreSQL, error) {
	const at = "postgresql.read_replicas"
	table, _ := s.lookup(at)
	tables, _ := table.(map[string]any)
	common, err := s.options("postgresql.replica_conn_options")
	faults := []error{err}
	primary, _ := s.PostgreSQL() // whose fault is its own
	var all []PostgreSQL
	for _, name := range slices.Sorted(maps.Keys(tables)) {
		r := primary
		r.Replica, r.Options = name, maps.Clone(common)
		own, err := s.options(at + "." + name + ".conn_options")
		faults = append(faults, err)
		maps.Copy(r.Options, own)
		for key, field := range r.fields() {
			if _, set := s.lookup(at + "." + name + "." + key); set {
				*field = s.Text(at + "." + name + "." + key)
			}
		}
		r.Host = withoutUser(r.Host)
		r.settle()
		all = append(all, r)
	}
	return all, errors.Join(faults...)
}

// databasePorts are those of all servers: of one that has several hosts it is a list.
func (s Settings) databasePorts() (ports []int) {
	primary, _ := s.PostgreSQL() // what is wrong with them is told elsewhere
	replicas, _ := s.Replicas()
	for _, server := range append(replicas, primary) {
		for text := range strings.SplitSeq(server.Port, ",") {
			if port, err := strconv.Atoi(strings.TrimSpace(text)); err == nil && !slices.Contains(ports, port) {
				ports = append(ports, port)
			}
		}
	}
	return ports
}

func (p *PostgreSQL) fields() map[string]*string {
	return map[string]*string{
		"host": &p.Host, "port": &p.Port, "name": &p.Name, "user": &p.User, "password": &p.Password,
		"sslmode": &p.SSLMode, "sslrootcert": &p.SSLRootCert, "sslcert": &p.SSLCert, "sslkey": &p.SSLKey,
	}
}

// settle does what Django does with options that are settings, too: of TLS the option
// counts, of all else the setting (django/db/backends/postgresql/base.py,
// get_connection_params).
func (p *PostgreSQL) settle() {
	for key, field := range p.fields() {
		if value, ok := p.Options[key]; ok && strings.HasPrefix(key, "ssl") {
			*field = value
		}
		delete(p.Options, key)
	}
	delete(p.Options, "dbname")
}

// By gives the settings as that version connects. Up to 2025.6 it knows no options, and up to 2025.10
// Django alone takes them, for which they may be settings, too (lifecycle/wait_for_db.py,
// authentik/lib/config.py, django_db_config). Where the version is not known it is the newest.
func (p PostgreSQL) By(version string) PostgreSQL {
	at, known := numbers(version)
	switch {
	case !known:
	case slices.Compare(at[:2], []int{2025, 8}) < 0:
		p.Options = nil
	case slices.Compare(at[:2], []int{2025, 12}) < 0:
		p.Options = maps.Clone(p.Options)
		p.settle()
	}
	return p
}

// options reads a setting that is JSON in base64. What is neither is ignored, as authentik
// does (get_dict_from_b64_json); JSON that is no object goes on to Django and psycopg, which fail.
func (s Settings) options(name string) (map[string]string, error) {
	options := map[string]string{}
	value, set := s.lookup(name)
	if !set || value == nil {
		return options, nil
	}
	var decoded any
	raw, err := base64.StdEncoding.DecodeString(inAlphabet(s.Text(name)))
	if err == nil {
		dec := json.NewDecoder(strings.NewReader(string(raw)))
		dec.UseNumber()
		err = dec.Decode(&decoded)
		if _, behind := dec.Token(); err == nil && behind != io.EOF {
			err = errors.New("more behind it")
		}
	}
	if err != nil || !utf8.Valid(raw) { // whose text may quote a secret
		return options, fmt.Errorf("%s is no JSON object in base64 and is ignored by authentik", name)
	}
	table, is := decoded.(map[string]any)
	if !is {
		return options, fmt.Errorf("%s is JSON in base64 and no object: authentik fails over it", name)
	}
	for key, value := range table {
		if value != nil { // psycopg leaves such out (psycopg/conninfo.py, make_conninfo)
			options[key] = text(value)
		}
	}
	return options, nil
}

// inAlphabet drops what is not base64, as Python's b64decode does.
func inAlphabet(text string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("+/=", r) {
			return r
		}
		return -1
	}, text)
}
