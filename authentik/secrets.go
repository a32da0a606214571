package authentik

import (
	"cmp"
	"maps"
	"path"
	"slices"
	"strings"
	"unicode/utf8"
)

// Secret is a setting whose value lies in a file.
type Secret struct {
	// Setting is its dotted name, such as "secret_key".
	Setting string
	// Host stands where file:// has two slashes before its path, and is passed over by authentik.
	Host string
	Path string
	// Err is why the file cannot be read; authentik takes what stands behind the question
	// mark then, and nothing where there is none.
	Err error
	// Empty is a file without anything but white space, Trimmed one with white space around
	// its value, which authentik takes away.
	Empty, Trimmed bool
	// NoText is a file that is not in UTF-8; authentik does not start with one.
	NoText bool
}

// String is what the setting was written as, without what stands in for the file.
func (s Secret) String() string { return "file://" + s.Host + s.Path }

// resolve puts in place what file:// and env:// name (parse_uri). A file that cannot be
// read leaves what stands behind the question mark.
func (s *Settings) resolve(below string, tree map[string]any, from Sources) (faults []error) {
	for _, key := range slices.Sorted(maps.Keys(tree)) {
		switch value := tree[key].(type) {
		case map[string]any:
			faults = append(faults, s.resolve(below+key+".", value, from)...)
		case string:
			if setting := below + key; refusedURI(value) { // the value may be a secret
				faults = append(faults, &SettingError{
					Setting: s.Called(setting), By: cmp.Or(s.given[setting], "authentik/lib/default.yml"), Why: "has one bracket alone between // and the next slash: Python takes it for an address, and refuses it",
					Fix: "take another value, or let " + Variable(setting) + " be file:///PATH of a file that holds it",
				})
				continue
			}
			tree[key] = s.follow(below+key, value, from)
		}
	}
	return faults
}

func (s *Settings) follow(setting, value string, from Sources) string {
	u, ok := parseURI(value)
	if !ok {
		return value
	}
	switch u.scheme {
	case "env":
		if found, set := from.Env[u.netloc]; set {
			return found
		}
		return u.query
	case "file":
		return s.secret(setting, u, from)
	}
	return value
}

func (s *Settings) secret(setting string, u uri, from Sources) string {
	file := u.path
	if file != "" && !path.IsAbs(file) {
		file = path.Join(from.Root, file) // where authentik stands
	}
	raw, err := from.Read(file)
	text := strings.TrimSpace(string(raw))
	s.Secrets = append(s.Secrets, Secret{
		Setting: setting, Host: u.netloc, Path: file, Err: err,
		Empty: err == nil && text == "", Trimmed: text != "" && len(text) != len(raw), NoText: !utf8.Valid(raw),
	})
	if err != nil {
		return u.query
	}
	return text
}

// uri is what Python's urlparse makes of a value, as far as authentik asks.
type uri struct{ scheme, netloc, path, query string }

// parseURI cuts a value as urlparse does (Lib/urllib/parse.py, urlsplit, Python 3.13), which
// decodes nothing: the file of file:///a%20b is a%20b, and a host before it is passed over.
// ok is false for what has no scheme.
func parseURI(value string) (u uri, ok bool) {
	if !strings.Contains(value, ":") { // most values
		return u, false
	}
	value = stripped(value)
	scheme, rest, found := strings.Cut(value, ":")
	if !found || !isScheme(scheme) {
		return u, false
	}
	u.scheme = strings.ToLower(scheme)
	if after, ok := strings.CutPrefix(rest, "//"); ok {
		end := strings.IndexAny(after, "/?#")
		if end < 0 {
			end = len(after)
		}
		u.netloc, rest = after[:end], after[end:]
	}
	rest, _, _ = strings.Cut(rest, "#")
	u.path, u.query, _ = strings.Cut(rest, "?")
	return u, true
}

// stripped is a value without what urlsplit takes away first.
func stripped(value string) string {
	value = strings.TrimLeftFunc(value, func(r rune) bool { return r <= ' ' })
	return strings.NewReplacer("\t", "", "\r", "", "\n", "").Replace(value)
}

// refusedURI tells whether urlsplit raises ValueError: one bracket without the other where a
// host would stand, behind a scheme or none.
func refusedURI(value string) bool {
	if !strings.ContainsAny(value, "[]") { // most values
		return false
	}
	rest := stripped(value)
	if scheme, after, found := strings.Cut(rest, ":"); found && isScheme(scheme) {
		rest = after
	}
	host, is := strings.CutPrefix(rest, "//")
	if end := strings.IndexAny(host, "/?#"); end >= 0 {
		host = host[:end]
	}
	return is && strings.Contains(host, "[") != strings.Contains(host, "]")
}

// isScheme: a letter, and then letters, digits, and three more.
func isScheme(s string) bool {
	letter := func(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
	for i := range len(s) {
		c := s[i]
		if !letter(c) && (i == 0 || !strings.ContainsRune("0123456789+-.", rune(c))) {
			return false
		}
	}
	return s != ""
}
