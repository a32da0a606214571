package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/go-envparse"
	"github.com/spf13/pflag"

	"ak-init/health"
	"ak-init/prepare"
)

// twins sets every flag that is not decided yet from its twin in env. An empty value
// is none: compose files write ${X:-}.
func (o *options) twins(fs *pflag.FlagSet, env map[string]string, origin string) error {
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
		if err := fs.Set(f.Name, value); err != nil {
			bad = refuse(exitUsage, fmt.Errorf("%s from the %s: %w", twin, origin, err))
			return
		}
		o.given[f.Name] = twin + " from the " + origin
	})
	o.unknown = append(o.unknown, strays(env, known)...)
	return bad
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
	vars, err := envparse.Parse(bytes.NewReader(raw))
	if malformed, ok := errors.AsType[*envparse.ParseError](err); ok {
		if errors.Is(malformed.Err, bufio.ErrTooLong) {
			malformed.Line++ // it is counted before it is read
		}
		return refuse(exitUsage, fmt.Errorf("%s:%d: %w; a line is NAME=value", path, malformed.Line, malformed.Err))
	}
	for name, value := range vars {
		if _, set := o.env[name]; set {
			continue // by the real environment, or by a file that wins
		}
		o.env[name], o.fromFile[name] = value, path
	}
	return o.twins(fs, vars, "env file "+path)
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
