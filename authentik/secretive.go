package authentik

import (
	"slices"
	"strings"
)

// Secretive tells whether the value of a variable in authentik's environment is a secret, or may
// be one: by its name, or by what it looks like. An empty value is none, nor is the name of the
// file that holds one.
func Secretive(name, value string) bool {
	if value == "" || namesFile(name, value) {
		return false
	}
	return secretName(name) || secretValue(value)
}

// bootstrapPrefix begins the credentials of a first start, which are taken as they stand: file://
// is none there (website/docs/install-config/automated-install.mdx, 2026.2).
const bootstrapPrefix = envPrefix + "BOOTSTRAP_"

// namesFile: the value lies elsewhere, and nothing stands in for it.
func namesFile(name, value string) bool {
	u, ok := parseURI(value)
	return ok && u.scheme == "file" && u.netloc == "" && !strings.ContainsAny(value, "?#") &&
		strings.HasPrefix(name, envPrefix) && !strings.HasPrefix(name, bootstrapPrefix)
}

// secretName goes by words that names of secrets have. Options of a connection are base64 and hold
// its password (authentik/lib/config.py, get_dict_from_b64_json).
func secretName(name string) bool {
	name = strings.ToUpper(name)
	if strings.HasPrefix(name, bootstrapPrefix) || strings.HasSuffix(name, "CONN_OPTIONS") {
		return true
	}
	for _, part := range []string{"PASSW", "PASSPHRASE", "SECRET", "TOKEN", "CREDENTIAL", "PRIVATE", "APIKEY"} {
		if strings.Contains(name, part) {
			return true
		}
	}
	words := strings.FieldsFunc(name, func(r rune) bool { return r == '_' || r == '-' || r == '.' })
	return slices.ContainsFunc(words, func(word string) bool {
		return slices.Contains([]string{"KEY", "KEYS", "PASS", "DSN", "PAT", "COOKIE", "SALT"}, word)
	}) || strings.HasSuffix(name, "_PWD") || strings.HasSuffix(name, "_PW")
}

// secretValue goes by what holds a secret whatever it is called: a user before a host, with a
// password; a table; words as libpq and others take them; a private key.
func secretValue(value string) bool {
	if before, _, ok := strings.Cut(value, "@"); ok && strings.Contains(before, ":") {
		return true
	}
	if strings.HasPrefix(strings.TrimLeft(value, " \t\r\n["), "{") {
		return true
	}
	if strings.HasPrefix(value, "env://") && strings.Contains(value, "?") || strings.HasPrefix(value, "file://") && strings.Contains(value, "?") {
		return true // what stands in for it
	}
	value = strings.ToLower(value)
	for _, part := range []string{"password", "passwd", "secret=", "token=", "key=", "bearer ", "private key-----"} {
		if strings.Contains(value, part) {
			return true
		}
	}
	return false
}
