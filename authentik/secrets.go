package authentik

import (
	"maps"
	"path"
	"slices"
	"strings"
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
}

// String is what the setting was written as, without what stands in for the file.
func (s Secret) String() string { return "file://" + s.Host + s.Path }

// resolve puts in place what file:// and env:// name (parse_uri). A file that cannot be
// read leaves what stands behind the question mark.
func (s *Settings) resolve(below string, tree map[string]any, from Sources) {
	for _, key := range slices.Sorted(maps.Keys(tree)) {
		switch value := tree[key].(type) {
		case map[string]any:
			s.resolve(below+key+".", value, from)
		case string:
			tree[key] = s.follow(below+key, value, from)
		}
	}
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
		Empty: err == nil && text == "", Trimmed: text != "" && len(text) != len(raw),
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
// ok is false for what has no scheme, and for brackets that Python refuses.
func parseURI(value string) (u uri, ok bool) {
	value = strings.TrimLeftFunc(value, func(r rune) bool { return r <= ' ' })
	value = strings.NewReplacer("\t", "", "\r", "", "\n", "").Replace(value)
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
	if strings.Contains(u.netloc, "[") != strings.Contains(u.netloc, "]") {
		return u, false
	}
	rest, _, _ = strings.Cut(rest, "#")
	u.path, u.query, _ = strings.Cut(rest, "?")
	return u, true
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
