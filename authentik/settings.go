package authentik

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

// Settings is authentik's configuration as its own loader sees it (authentik/lib/config.py,
// ConfigLoader, 2026.2): files one over another, then the environment, and what values
// name by file:// and env:// in their place.
type Settings struct {
	tree map[string]any
}

// Sources is where settings are read from.
type Sources struct {
	Env map[string]string
	// Read gives a small file, Glob the files that match a pattern, in any order.
	Read func(path string) ([]byte, error)
	Glob func(pattern string) []string
	// Root is authentik's base directory.
	Root string
}

// envPrefix begins the names of variables that are settings.
const envPrefix = "AUTHENTIK_"

// ReadSettings reads all of it. Files that are not there are passed over, as authentik does; the
// error names every one that cannot be read or makes no sense. What could be read counts.
func ReadSettings(from Sources) (Settings, error) {
	s := Settings{postgresqlDefaults()}
	var faults []error
	for _, file := range settingsFiles(from) {
		raw, err := from.Read(file)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			faults = append(faults, err)
			continue
		}
		var content any
		if err := yaml.Unmarshal(raw, &content); err != nil {
			// The parser's own text shows the lines around, and they may hold a secret.
			faults = append(faults, fmt.Errorf("%s: line %d is no YAML", file, faultyLine(err)))
			continue
		}
		if tree, ok := byName(content).(map[string]any); ok {
			s.tree = merge(s.tree, tree)
		}
	}
	s.tree = merge(s.tree, fromEnvironment(from.Env))
	faults = append(faults, resolveAll(s.tree, from)...)
	return s, errors.Join(faults...)
}

// settingsFiles are the files in the order in which they are read, the later wins. Python
// takes config.d in whatever order the directory has; sorted is one of these, and is Go's.
func settingsFiles(from Sources) []string {
	name := from.Env["AUTHENTIK_ENV"]
	if name == "" {
		name = "local"
	}
	files := []string{path.Join(from.Root, "authentik/lib/default.yml"), "/etc/authentik/config.yml"}
	for _, ending := range []string{".yml", ".env.yml", ".yaml", ".env.yaml"} {
		files = append(files, path.Join(from.Root, name+ending))
	}
	return append(files, slices.Sorted(slices.Values(from.Glob("/etc/authentik/config.d/*.yml")))...)
}

// faultyLine finds where a file stops being YAML, 0 where the parser does not say.
func faultyLine(err error) int {
	if syntax, ok := errors.AsType[*yaml.SyntaxError](err); ok && syntax.Token != nil && syntax.Token.Position != nil {
		return syntax.Token.Position.Line
	}
	return 0
}

// byName makes every key a text: read_replicas has numbers for keys.
func byName(value any) any {
	switch value := value.(type) {
	case map[string]any:
		for key, v := range value {
			value[key] = byName(v)
		}
		return value
	case map[any]any:
		named := map[string]any{}
		for key, v := range value {
			named[fmt.Sprint(key)] = byName(v)
		}
		return named
	default:
		return value
	}
}

// merge puts over into under, table by table.
func merge(under, over map[string]any) map[string]any {
	for _, key := range slices.Sorted(maps.Keys(over)) {
		table, isTable := over[key].(map[string]any)
		if !isTable {
			under[key] = over[key]
			continue
		}
		below, _ := under[key].(map[string]any)
		if below == nil {
			below = map[string]any{}
		}
		under[key] = merge(below, table)
	}
	return under
}

// fromEnvironment makes AUTHENTIK_POSTGRESQL__HOST postgresql.host. What is JSON is taken
// for that, as Python does: true is a truth value, and 1e3 a number.
func fromEnvironment(env map[string]string) map[string]any {
	tree := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		key, ok := strings.CutPrefix(name, envPrefix)
		if !ok {
			continue
		}
		parts := strings.Split(strings.ToLower(key), "__")
		table := tree
		for _, part := range parts[:len(parts)-1] {
			below, ok := table[part].(map[string]any)
			if !ok {
				below = map[string]any{}
				table[part] = below
			}
			table = below
		}
		table[parts[len(parts)-1]] = jsonOrText(env[name])
	}
	return tree
}

func jsonOrText(text string) any {
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var value any
	if err := dec.Decode(&value); err != nil || dec.More() {
		return text
	}
	return value
}

// resolveAll puts in place what file:// and env:// name (parse_uri). A file that cannot be
// read leaves what stands behind the question mark.
func resolveAll(tree map[string]any, from Sources) (faults []error) {
	for _, key := range slices.Sorted(maps.Keys(tree)) {
		switch value := tree[key].(type) {
		case map[string]any:
			faults = append(faults, resolveAll(value, from)...)
		case string:
			found, err := resolve(value, from)
			if err != nil {
				faults = append(faults, err)
			}
			tree[key] = found
		}
	}
	return faults
}

func resolve(value string, from Sources) (string, error) {
	if !strings.HasPrefix(value, "env://") && !strings.HasPrefix(value, "file://") {
		return value, nil
	}
	u, err := url.Parse(value)
	if err != nil {
		return value, nil //nolint:nilerr // it is no URI, and stands for itself
	}
	if u.Scheme == "env" {
		if found, set := from.Env[u.Host]; set {
			return found, nil
		}
		return u.RawQuery, nil
	}
	raw, err := from.Read(u.Path)
	if err != nil {
		return u.RawQuery, err
	}
	return strings.TrimSpace(string(raw)), nil
}

// Text gives a setting by its dotted name, as Python's str() would have it where authentik
// wants a text; empty where it is not set, or null.
func (s Settings) Text(name string) string {
	value, _ := s.lookup(name)
	return text(value)
}

// lookup gives a setting, and whether it is set, be it to null.
func (s Settings) lookup(name string) (value any, set bool) {
	value = s.tree
	for part := range strings.SplitSeq(name, ".") {
		table, ok := value.(map[string]any)
		if !ok {
			return nil, false
		}
		if value, set = table[part]; !set {
			return nil, false
		}
	}
	return value, true
}

// True is authentik's get_bool: the text "true", in any case.
func (s Settings) True(name string) bool { return strings.EqualFold(s.Text(name), "true") }
