package database

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// keywords are what pgconn is told, or what is wrong with the settings. Passwords are not
// among them.
func (s Settings) keywords() (map[string]string, error) {
	if said := s.malformed(); said != "" {
		return nil, s.fault(Malformed, said, nil)
	}
	var hosts, ports []string
	for _, p := range s.places() {
		hosts, ports = append(hosts, p.host), append(ports, p.port)
	}
	k := map[string]string{
		"host": strings.Join(hosts, ","), "port": strings.Join(ports, ","), "dbname": s.Name, "user": s.User,
		// pgconn rounds down to seconds; the bound itself is set afterwards.
		"connect_timeout": "60",
	}
	for _, name := range handedOn() {
		if value, ok := s.Options[name]; ok {
			k[name] = value
		}
	}
	if k["client_encoding"] == "auto" { // psql's locale: there is no terminal here
		delete(k, "client_encoding")
	}
	if s.Password != "" {
		k["passfile"] = ""
	}
	if s.Options["sslpassword"] != "" {
		k["sslpassword"] = ""
	}
	for name, value := range map[string]string{"sslmode": s.SSLMode, "sslrootcert": s.SSLRootCert, "sslcert": s.SSLCert, "sslkey": s.SSLKey} {
		if value != "" {
			k[name] = value
		}
	}
	if !s.wantsTLS() { // then libpq reads no TLS file, whoever names one
		k["sslrootcert"], k["sslcert"], k["sslkey"] = "", "", ""
	}
	return k, nil
}

// handedOn are the options that pgconn understands, or that PostgreSQL takes when it lets
// somebody in; pgconn would send any other word to the server, which would refuse it.
func handedOn() []string {
	return []string{
		"application_name", "channel_binding", "client_encoding", "krbsrvname", "max_protocol_version", "min_protocol_version",
		"options", "passfile", "require_auth", "service", "sslcertmode", "sslnegotiation", "sslsni",
		"target_session_attrs",
	}
}

// malformed says what is wrong with the settings whatever the server is.
func (s Settings) malformed() string {
	given := map[string]string{
		"HOST": s.Host, "PORT": s.Port, "NAME": s.Name, "USER": s.User, "PASSWORD": s.Password,
		"SSLMODE": s.SSLMode, "SSLROOTCERT": s.SSLRootCert, "SSLCERT": s.SSLCert, "SSLKEY": s.SSLKey,
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if why := unfit(given[name]); why != "" {
			return variable + name + " " + why
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Options)) {
		keyword := strings.ToUpper(cmp.Or(map[string]string{"dbname": "name"}[name], name))
		if _, twice := given[keyword]; twice { // psycopg is called with it twice, and raises TypeError
			return fmt.Sprintf("%sCONN_OPTIONS has %s, which %s%s is for", variable, show(name), variable, keyword)
		}
		if why := unfit(s.Options[name]); why != "" {
			return fmt.Sprintf("%s in %sCONN_OPTIONS %s", show(name), variable, why)
		}
	}
	if !slices.Contains([]string{"", "disable", "allow", "prefer", "require", "verify-ca", "verify-full"}, s.SSLMode) {
		return fmt.Sprintf("%sSSLMODE is %s, which is none of disable, allow, prefer, require, verify-ca and verify-full", variable, show(s.SSLMode))
	}
	if s.SSLCert != "" && s.SSLKey == "" && s.mustTLS() {
		return fmt.Sprintf("%sSSLCERT is of no use without %sSSLKEY", variable, variable)
	}
	return s.misplaced()
}

// misplaced says what is wrong with hosts and ports.
func (s Settings) misplaced() string {
	hosts, ports := strings.Count(s.Host, ",")+1, strings.Count(s.Port, ",")+1
	switch {
	case hosts > maxHosts:
		return fmt.Sprintf("%sHOST has %d hosts, more than %d", variable, hosts, maxHosts)
	case ports > 1 && ports != hosts:
		return fmt.Sprintf("%sPORT has %d ports for %d hosts", variable, ports, hosts)
	}
	if list := s.Options["hostaddr"]; list != "" && strings.Count(list, ",")+1 != hosts {
		return fmt.Sprintf("hostaddr in %sCONN_OPTIONS has not as many addresses as there are hosts", variable)
	}
	for _, p := range s.places() {
		if !isPort(p.port) {
			return fmt.Sprintf("%sPORT is %s, which is no port", variable, show(p.port))
		}
	}
	return ""
}

// unfit says why a value cannot be sent: libpq's strings end at a NUL.
func unfit(value string) string {
	switch {
	case strings.ContainsRune(value, 0):
		return "has a NUL byte in it"
	case len(value) > maxValue:
		return fmt.Sprintf("is longer than %d bytes", maxValue)
	}
	return ""
}
