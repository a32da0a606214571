package authentik

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
)

// Settings is authentik's configuration as its own loader sees it (authentik/lib/config.py,
// ConfigLoader, 2026.2): files one over another, then the environment, and what values
// name by file:// and env:// in their place.
type Settings struct {
	tree map[string]any
	// named are the settings that the release's own file names, in order.
	named []string
	// given tells, by dotted name, who gave a setting other than the release's own file.
	given map[string]string
	// Secrets are what values name by file://, in order of the settings.
	Secrets []Secret
}

// FileError is a file of settings that cannot be used.
type FileError struct {
	Path string
	// Line is where the file stops being YAML; 0 where it is not known.
	Line int
	// Fatal tells that authentik does not start with it (authentik/lib/config.py,
	// update_from_file). Without it the file is passed over.
	Fatal bool
	// Why is what is wrong with a file that is YAML, or is not to be read as text.
	Why string
	Err error
}

func (e *FileError) Error() string {
	switch {
	case e.Why != "":
		return e.Path + " " + e.Why
	case e.Fatal:
		return fmt.Sprintf("%s: line %d is no YAML", e.Path, e.Line)
	default:
		return e.Err.Error()
	}
}

func (e *FileError) Unwrap() error { return e.Err }

// SettingError is a setting that authentik's loader fails over, whatever else is set.
type SettingError struct {
	// Setting is its dotted name, By who gave it.
	Setting, By string
	// Why is what is wrong with it, and Fix what to do.
	Why, Fix string
}

func (e *SettingError) Error() string { return fmt.Sprintf("%s in %s %s", e.Setting, e.By, e.Why) }

// Sources is where settings are read from.
type Sources struct {
	Env map[string]string
	// Read gives a small file, Glob the files that match a pattern, in any order.
	Read func(path string) ([]byte, error)
	Glob func(pattern string) []string
	// Root is authentik's base directory.
	Root string
}

// ByEnvironment is who gave what stands in the environment.
const ByEnvironment = "the environment"

// envPrefix begins the names of variables that are settings.
const envPrefix = "AUTHENTIK_"

// ReadSettings reads all of it. Files that are not there are passed over, as authentik does; the
// error joins a [*FileError] for each that cannot be read or makes no sense. What could be read
// counts.
func ReadSettings(from Sources) (Settings, error) {
	s := Settings{tree: map[string]any{}, given: map[string]string{}}
	var faults []error
	files := settingsFiles(from)
	for _, file := range files {
		tree, err := readTree(file, from.Read)
		if err != nil {
			faults = append(faults, err)
		}
		names := leaves("", tree)
		if file == files[0] {
			s.named, s.tree = names, postgresqlDefaults(names)
		} else {
			s.give(names, file)
		}
		faults = append(faults, s.merge(tree, file)...)
	}
	env := fromEnvironment(from.Env)
	s.give(leaves("", env), ByEnvironment)
	faults = append(faults, s.merge(env, ByEnvironment)...)
	faults = append(faults, s.resolve("", s.tree, from)...)
	return s, errors.Join(faults...)
}

// merge puts a tree over what there is. What lies below a value authentik's loader cannot put
// there, and fails (authentik/lib/config.py, update).
func (s *Settings) merge(over map[string]any, by string) []error {
	var faults []error
	s.tree = merge(s.tree, over, "", func(value, below string) {
		e := &SettingError{Setting: s.Called(below), By: by, Fix: "take it away"}
		e.Why = fmt.Sprintf("is below %s, which is a value and no table", value)
		if below == value+".file" {
			e.Fix += fmt.Sprintf(", and let %s be file:///PATH", Variable(value))
		}
		faults = append(faults, e)
	})
	return faults
}

// Called is a setting as it was written: by its variable, where the environment has it.
func (s Settings) Called(setting string) string {
	if s.given[setting] == ByEnvironment {
		return Variable(setting)
	}
	return setting
}

// readTree reads one file. What is not there is an empty one.
func readTree(file string, read func(string) ([]byte, error)) (map[string]any, error) {
	raw, err := read(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, &FileError{Path: file, Err: err}
	}
	if !utf8.Valid(raw) {
		return nil, &FileError{Path: file, Fatal: true, Why: "is no text in UTF-8"}
	}
	raw = bytes.TrimPrefix(raw, []byte("\ufeff")) // a byte order mark
	if tree, ok := plainYAML(string(raw)); ok && len(tree) > 0 {
		return tree, nil
	}
	var content, another any
	// Of two values of a name Python takes the later.
	documents := yaml.NewDecoder(bytes.NewReader(raw), yaml.AllowDuplicateMapKey())
	if err := documents.Decode(&content); err != nil && !errors.Is(err, io.EOF) {
		// The parser's own text shows the lines around, and they may hold a secret.
		return nil, &FileError{Path: file, Line: faultyLine(err), Fatal: true}
	}
	tree, isTable := byName(content).(map[string]any)
	switch {
	case content == nil:
		return nil, &FileError{Path: file, Fatal: true, Why: "has nothing in it that is no comment"}
	case !isTable:
		return nil, &FileError{Path: file, Fatal: true, Why: "holds no table of settings, with a blank behind each colon"}
	case documents.Decode(&another) == nil:
		return nil, &FileError{Path: file, Fatal: true, Why: "holds a second document, behind ---"}
	}
	return tree, nil
}

func (s *Settings) give(names []string, by string) {
	for _, name := range names {
		s.given[name] = by
	}
}

// leaves are the dotted names of a tree's values, in order. An empty table is one.
func leaves(below string, tree map[string]any) []string {
	var names []string
	for _, key := range slices.Sorted(maps.Keys(tree)) {
		if table, ok := tree[key].(map[string]any); ok && len(table) > 0 {
			names = append(names, leaves(below+key+".", table)...)
			continue
		}
		names = append(names, below+key)
	}
	return names
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
	for _, file := range slices.Sorted(slices.Values(from.Glob("/etc/authentik/config.d/*.yml"))) {
		if !strings.HasPrefix(path.Base(file), ".") { // Python's glob passes over those
			files = append(files, file)
		}
	}
	return files
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

// merge puts over into under, table by table, and tells of each setting that is to lie below a value.
func merge(under, over map[string]any, at string, clash func(value, below string)) map[string]any {
	for _, key := range slices.Sorted(maps.Keys(over)) {
		table, isTable := over[key].(map[string]any)
		if !isTable {
			under[key] = over[key]
			continue
		}
		below, _ := under[key].(map[string]any)
		if _, set := under[key]; set && below == nil {
			for _, name := range leaves("", table) {
				clash(at+key, at+key+"."+name)
			}
		}
		if below == nil {
			below = map[string]any{}
		}
		under[key] = merge(below, table, at+key+".", clash)
	}
	return under
}

// Flattened are tables of the release's own file that have become values, by their dotted names:
// authentik asks for settings below them, and fails where it does (authentik/lib/utils/dict.py,
// get_path_from_dict).
func (s Settings) Flattened() (names []string) {
	for _, name := range s.named {
		for at := strings.IndexByte(name, '.'); at >= 0; {
			table := name[:at]
			value, set := s.lookup(table)
			if _, is := value.(map[string]any); set && !is && !slices.Contains(names, table) {
				names = append(names, table)
			}
			next := strings.IndexByte(name[at+1:], '.')
			if next < 0 {
				break
			}
			at += 1 + next
		}
	}
	return names
}

// LoadOrder compares two variables as they must stand in the environment of authentik's processes:
// by name, but X__FILE before X. Its loader fails over a level below a value that it has set
// already, and takes them as they stand (authentik/lib/utils/dict.py, set_path_in_dict, 2026.2).
func LoadOrder(a, b string) int { return cmp.Compare(a+"~", b+"~") }

// fromEnvironment makes AUTHENTIK_POSTGRESQL__HOST postgresql.host. What is JSON is taken
// for that, as Python does: true is a truth value, and 1e3 a number.
func fromEnvironment(env map[string]string) map[string]any {
	tree := map[string]any{}
	for _, name := range slices.SortedFunc(maps.Keys(env), LoadOrder) {
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
	switch strings.Trim(text, " \t\r\n") { // Python's json takes these for numbers
	case "NaN":
		return json.Number("nan")
	case "Infinity":
		return json.Number("inf")
	case "-Infinity":
		return json.Number("-inf")
	}
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var value any
	if err := dec.Decode(&value); err != nil || dec.More() {
		return text
	}
	return value
}

// GivenBy tells who gave a setting, by its dotted name: a file, or the environment. Empty: nobody
// did, or the release's own file alone.
func (s Settings) GivenBy(name string) string { return s.given[name] }

// FirstOf is the first of these settings that has a value; empty where none has.
func (s Settings) FirstOf(names ...string) string {
	for _, name := range names {
		if s.joined(name) != "" {
			return name
		}
	}
	return ""
}

// Text gives a setting by its dotted name, as Python's str() would have it where authentik
// wants a text; empty where it is not set, or null.
func (s Settings) Text(name string) string {
	value, _ := s.lookup(name)
	return text(value)
}

// IsText tells whether a setting is a text for authentik. In the environment, values are JSON where
// they can be (authentik/lib/config.py, update_from_env): 123 is a number. Quotes are no way out, for the
// server's own configuration takes them for part of the value (internal/config/struct.go).
func (s Settings) IsText(name string) bool {
	value, _ := s.lookup(name)
	_, is := value.(string)
	return is
}

// IsEmpty tells whether a setting is set to a text without a letter.
func (s Settings) IsEmpty(name string) bool {
	value, _ := s.lookup(name)
	return value == ""
}

// joined gives a setting that may be a list in a file as it is in the environment: with commas
// between (listen.http, from 2026.5 on; internal/config/struct.go).
func (s Settings) joined(name string) string {
	value, _ := s.lookup(name)
	list, ok := value.([]any)
	if !ok {
		return text(value)
	}
	var all []string
	for _, one := range list {
		if t := text(one); t != "" {
			all = append(all, t)
		}
	}
	return strings.Join(all, ",")
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

// Debugger tells whether authentik's debugger is on. lifecycle/ak prints the setting by Python,
// and compares that with "True": a truth value, or this very text.
func (s Settings) Debugger() bool {
	value, _ := s.lookup("debugger")
	return value == true || value == "True"
}

// True is authentik's get_bool: the text "true", in any case.
func (s Settings) True(name string) bool { return strings.EqualFold(s.Text(name), "true") }
