package main

import (
	"errors"
	"path/filepath"
	"strings"

	"ak-init/authentik"
	"ak-init/database"
	"ak-init/logs"
	"ak-init/prepare"
)

// servers are those that authentik is to use.
type servers struct {
	primary  database.Settings
	replicas []replica
	// schema holds authentik's tables.
	schema string
	// faults are what of the configuration cannot be read, or is ignored.
	faults []error
}

// replica is a read replica.
type replica struct {
	name     string
	settings database.Settings
}

// configured reads authentik's configuration as its processes do, files and all.
func configured(o options) servers {
	settings, err := authentik.ReadSettings(authentik.Sources{
		Env:  o.env,
		Read: prepare.ReadSmall,
		Glob: func(pattern string) []string {
			found, _ := filepath.Glob(pattern) // the pattern is sound
			return found
		},
		Root: o.root,
	})
	s := servers{faults: lines(err)}
	primary, err := settings.PostgreSQL()
	s.primary, s.schema, s.faults = asked(primary.By(o.version)), primary.Schema, append(s.faults, lines(err)...)
	s.faults = append(s.faults, s.primary.Doubts()...)
	replicas, err := settings.Replicas()
	for _, r := range replicas {
		s.replicas = append(s.replicas, replica{r.Replica, asked(r)})
	}
	s.faults = append(s.faults, lines(err)...)
	return s
}

func asked(p authentik.PostgreSQL) database.Settings {
	return database.Settings{
		Host: p.Host, Port: p.Port, Name: p.Name, User: p.User, Password: p.Password,
		SSLMode: p.SSLMode, SSLRootCert: p.SSLRootCert, SSLCert: p.SSLCert, SSLKey: p.SSLKey,
		Options: p.Options,
	}
}

// lines takes joined errors apart.
func lines(err error) (all []error) {
	if err == nil {
		return nil
	}
	for line := range strings.Lines(err.Error()) {
		all = append(all, errors.New("authentik's configuration: "+strings.TrimSpace(line)))
	}
	return all
}

// about says which server is meant.
func about(s database.Settings) []logs.Field {
	return []logs.Field{logs.Str("host", s.Host), logs.Str("port", s.Port), logs.Str("user", s.User), logs.Str("database", s.Name)}
}

// said is an error's text and what to do about it, apart. The variables that it names are the
// replica's, if it is one.
func (r replica) said(err error) (text, remedy string) {
	text, remedy = err.Error(), ""
	if e, ok := errors.AsType[*database.Error](err); ok {
		remedy = e.Cause.Remedy()
		text = strings.TrimSuffix(text, "; "+remedy)
	}
	if r.name == "" {
		return text, remedy
	}
	const general = "AUTHENTIK_POSTGRESQL__"
	own := strings.NewReplacer(general, general+"READ_REPLICAS__"+strings.ToUpper(r.name)+"__")
	return own.Replace(text), own.Replace(remedy)
}
