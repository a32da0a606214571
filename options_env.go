package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/go-envparse"
	"github.com/spf13/pflag"

	"ak-init/health"
	"ak-init/prepare"
)

// twins sets every flag that is not decided yet from its twin in env. An empty value
// is none: compose files write ${X:-}. origin says where a twin stands.
func (o *options) twins(fs *pflag.FlagSet, env map[string]string, origin func(twin string) string) error {
	var bad error
	known := map[string]bool{}
	asked := o.question != "" // by what beats env: the three questions are one setting
	fs.VisitAll(func(f *pflag.Flag) {
		twin := twinPrefix + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		known[twin] = true
		value := env[twin]
		if o.given[f.Name] != "" || value == "" || bad != nil || f.Name == "help" || asked && isQuestion(f.Name) {
			return
		}
		o.given[f.Name] = twin + " from the " + origin(twin)
		if err := fs.Set(f.Name, value); err != nil {
			bad = refuse(exitUsage, fmt.Errorf("%s: %w", o.given[f.Name], o.unfit(f, err)))
		}
	})
	o.unknown = append(o.unknown, strays(env, known)...)
	return bad
}

// fromEnvFile begins the origin of what stands in an env file.
const fromEnvFile = "env file "

// isFromFile tells whether a flag was set by an env file, what of it is never shown: it may be a
// secret that was written to the wrong line.
func (o *options) isFromFile(flag string) bool {
	return strings.Contains(o.given[flag], " from the "+fromEnvFile)
}

// shown is a flag's value for a message.
func (o *options) shown(flag, value string) string {
	if o.isFromFile(flag) {
		return "its value"
	}
	return strconv.Quote(value)
}

// errNoBool is for a flag that is true or false.
var errNoBool = errors.New("its value is neither true nor false")

// unfit says of a value from an env file what it should be, and not what it is.
func (o *options) unfit(f *pflag.Flag, err error) error {
	if !o.isFromFile(f.Name) {
		return err
	}
	switch f.Value.Type() {
	case "duration":
		return errors.New("its value is no duration, such as 25s or 5m")
	case "int":
		return errors.New("its value is no number")
	case "bool":
		return errNoBool
	}
	if invalid, ok := errors.AsType[*pflag.InvalidValueError](err); ok && isQuestion(f.Name) {
		return invalid.Unwrap() // which shows no value
	}
	return fmt.Errorf("its value is none for --%s; \"ak-init help\" says what is", f.Name)
}

// lineOf is the number of the line that gives a name its value: of several the last counts.
// envparse takes "export" and white space before it.
func lineOf(raw []byte, name string) int {
	last, number := 0, 0
	for line := range bytes.Lines(raw) {
		number++
		key, _, _ := bytes.Cut(line, []byte("="))
		if string(bytes.TrimSpace(bytes.TrimPrefix(bytes.TrimSpace(key), []byte("export ")))) == name {
			last = number
		}
	}
	return last
}

func isQuestion(flag string) bool {
	return slices.Contains([]health.Question{health.Live, health.Ready, health.Started}, health.Question(flag))
}

// strays are variables that look like twins and are none. Kubernetes' service links make
// AK_INIT_PORT and AK_INIT_SERVICE_HOST for a service that is called ak-init.
func strays(env map[string]string, known map[string]bool) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(env)), func(name string) bool {
		return !strings.HasPrefix(name, twinPrefix) || known[name] || strings.Contains(name, "_PORT") || strings.Contains(name, "_SERVICE_")
	})
}

// readEnvFile adds a file's variables where nothing has set them yet. What a file
// holds is never printed: it may be a secret.
func (o *options) readEnvFile(fs *pflag.FlagSet, path string) error {
	raw, err := prepare.ReadSmall(path)
	if err != nil {
		return refuse(exitUsage, fmt.Errorf("env file: %w", err))
	}
	raw = bytes.TrimPrefix(raw, []byte("\ufeff")) // the byte order mark that some editors write is no part of a name
	vars, err := envparse.Parse(bytes.NewReader(literalHashes(raw)))
	if malformed, ok := errors.AsType[*envparse.ParseError](err); ok {
		if errors.Is(malformed.Err, bufio.ErrTooLong) {
			malformed.Line++ // it is counted before it is read
		}
		return refuse(exitUsage, fmt.Errorf("%s:%d: %w; a line is NAME=value, and a value ends with its line", path, malformed.Line, malformed.Err))
	}
	for name, value := range vars {
		if _, set := o.env[name]; set {
			continue // by the real environment, or by a file that wins
		}
		o.env[name], o.fromFile[name] = value, path
	}
	return o.twins(fs, vars, func(twin string) string { return fmt.Sprintf("%s%s:%d", fromEnvFile, path, lineOf(raw, twin)) })
}

// literalHashes has "#" begin a comment behind white space only, as for a shell, and as passwords
// need it: envparse has it begin one anywhere outside of quotes, so one elsewhere is put into
// quotes of its own. Lines stay where they are.
func literalHashes(raw []byte) []byte {
	var out []byte
	for line := range bytes.Lines(raw) {
		name, value, assigns := bytes.Cut(line, []byte("="))
		if out = append(out, name...); !assigns || bytes.HasPrefix(bytes.TrimSpace(name), []byte("#")) {
			out = append(out, line[len(name):]...)
			continue
		}
		out = append(out, '=')
		out = appendLiteral(out, value)
	}
	return out
}

// appendLiteral appends a value and its line's end, without a comment behind it.
func appendLiteral(out, value []byte) []byte {
	var quote byte
	before := byte('=')
	for i := 0; i < len(value); i++ {
		c := value[i]
		switch {
		case quote == '"' && c == '\\' && i+1 < len(value): // what is escaped ends no quote
			out = append(out, c)
			i++
			c = value[i]
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case strings.IndexByte(`"'`, c) >= 0:
			quote = c
		case c == '#' && strings.IndexByte(" \t", before) >= 0:
			return append(out, '\n')
		case c == '#':
			out = append(out, `"#"`...)
			before = c
			continue
		}
		out = append(out, c)
		before = c
	}
	return out
}

func asMap(environ []string) map[string]string {
	env := make(map[string]string, len(environ))
	for _, entry := range environ {
		if name, value, ok := strings.Cut(entry, "="); ok && name != "" {
			env[name] = value
		}
	}
	return env
}
