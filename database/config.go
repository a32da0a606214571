package database

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// variable begins the names of authentik's variables for what is set here.
const variable = "AUTHENTIK_POSTGRESQL__"

// maxMessage bounds one message of the server. Ours are a row of short values, or an
// error.
const maxMessage = 1 << 16

// Config gives pgconn's form of the settings. It reads the TLS files. The errors are of
// type [*Error].
func (s Settings) Config() (*pgconn.Config, error) {
	keywords, err := s.keywords()
	if err != nil {
		return nil, err
	}
	if err := s.checkFiles(keywords); err != nil {
		return nil, err
	}
	// Like the password it does not go into the string, which errors quote.
	forKey := func(context.Context) string { return s.Options["sslpassword"] }
	config, err := pgconn.ParseConfigWithOptions(conninfo(keywords), pgconn.ParseConfigOptions{GetSSLPassword: forKey})
	if err != nil {
		return nil, s.unparsed(keywords, err)
	}
	if s.Password != "" {
		config.Password = s.Password
	}
	if err := s.checkRoots(config); err != nil {
		return nil, err
	}
	byCommonName(config)
	config.ConnectTimeout = s.timeout()
	config.MaxProtocolMessageBodyLen = maxMessage
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = cmp.Or(s.Options["fallback_application_name"], "ak-init")
	}
	s.resolveBy(config)
	return config, nil
}

// conninfo quotes keywords as libpq's connection strings want it (PostgreSQL's manual,
// "Keyword/Value Connection Strings").
func conninfo(keywords map[string]string) string {
	quote := strings.NewReplacer(`\`, `\\`, `'`, `\'`)
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(keywords)) {
		fmt.Fprintf(&b, "%s='%s' ", k, quote.Replace(keywords[k]))
	}
	return b.String()
}

// unparsed takes from pgconn's refusal what it says behind the connection string, which it
// quotes: "cannot parse `host=...`: invalid port".
func (s Settings) unparsed(keywords map[string]string, err error) *Error {
	said := err.Error()
	if at := strings.LastIndex(said, "`: "); at >= 0 {
		said = said[at+len("`: "):]
	}
	if inner, ok := strings.CutPrefix(said, "failed to configure TLS ("); ok {
		return s.badFile(keywords, strings.TrimSuffix(inner, ")"), errors.Unwrap(err))
	}
	return s.fault(Malformed, said, nil)
}

// resolveBy takes a host's addresses from the option hostaddr, one for each host, as
// libpq does.
func (s Settings) resolveBy(config *pgconn.Config) {
	lookup := config.LookupFunc
	if s.lookup != nil {
		lookup = s.lookup
	}
	known := map[string][]string{}
	if list := s.Options["hostaddr"]; list != "" {
		places := s.places()
		for i, address := range strings.Split(list, ",") {
			if address != "" && i < len(places) {
				known[places[i].host] = append(known[places[i].host], address)
			}
		}
	}
	config.LookupFunc = func(ctx context.Context, host string) ([]string, error) {
		if addresses := known[host]; addresses != nil {
			return addresses, nil
		}
		ctx, cancel := context.WithTimeout(ctx, s.timeout())
		defer cancel()
		return lookup(ctx, host)
	}
}

func isPort(text string) bool {
	n, err := strconv.ParseUint(text, 10, 16)
	return err == nil && n > 0
}
