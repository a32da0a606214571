package authentik

import (
	"maps"
	"net/url"
	"slices"
	"strings"
)

// Secret is a setting whose value lies in a file.
type Secret struct {
	// Setting is its dotted name, such as "secret_key".
	Setting string
	Path    string
	// Err is why the file cannot be read; authentik takes what stands behind the question
	// mark then, and nothing where there is none.
	Err error
	// Empty is a file without anything but white space, Trimmed one with white space around
	// its value, which authentik takes away.
	Empty, Trimmed bool
}

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
	if !strings.HasPrefix(value, "env://") && !strings.HasPrefix(value, "file://") {
		return value
	}
	u, err := url.Parse(value)
	if err != nil {
		return value // it is no URI, and stands for itself
	}
	if u.Scheme == "env" {
		if found, set := from.Env[u.Host]; set {
			return found
		}
		return u.RawQuery
	}
	raw, err := from.Read(u.Path)
	text := strings.TrimSpace(string(raw))
	s.Secrets = append(s.Secrets, Secret{
		Setting: setting, Path: u.Path, Err: err,
		Empty: err == nil && text == "", Trimmed: text != "" && len(text) != len(raw),
	})
	if err != nil {
		return u.RawQuery
	}
	return text
}
