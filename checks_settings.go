package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"ak-init/authentik"
	"ak-init/prepare"
)

// settingsChecks are about authentik's configuration.
func settingsChecks() []check {
	return []check{
		{
			id: "settings", looks: "authentik's files of settings, read as the children will",
			goesWrong: "error 78 for one that is no YAML, or no table, for a setting below a value, and for an empty port or sslmode of PostgreSQL: authentik does not start; warning for one that cannot be read", judge: judgeSettings,
		},
		{
			// Section 3.
			id: "user-settings", looks: "data/user_settings.py, which authentik loads where it is there",
			goesWrong: "warning where the children cannot read it: authentik does not start", judge: judgeUserSettings,
		},
		{
			// Pain 24.
			id: "secret-key", looks: "the secret key, without which nothing starts",
			goesWrong: "error 78", judge: judgeSecretKey,
		},
		{
			// Pain 24.
			id: "secret-files", looks: "what settings name by file://",
			goesWrong: "warning for a file that is missing, unreadable or empty; error 78 for one that is no text", judge: judgeSecretFiles,
		},
		{
			// Pains 24, 25 and section 3.
			id: "names", looks: "AUTHENTIK_ variables that no setting has, but for a slip",
			goesWrong: "warning with the name that was most likely meant", judge: judgeNames,
		},
		{
			id: "service-links", looks: "variables that Kubernetes makes for services, and that only look like settings",
			goesWrong: "nothing", judge: judgeServiceLinks,
		},
		{
			// Pain 25.
			id: "bootstrap", looks: "the first start's credentials",
			goesWrong: "warning for those that will not be taken", judge: judgeBootstrap,
		},
		{
			// Section 3.
			id: "web-path", looks: "the path below which authentik serves", goesWrong: "warning where it lacks a slash", judge: judgeWebPath,
		},
		{
			// Pain 26.
			id: "storage", looks: "whether uploads outlive the container",
			goesWrong: "warning where a volume lies at the place of releases before 2025.12", judge: judgeStorage,
		},
	}
}

func judgeSettings(c circumstances) []*finding {
	var all []*finding
	for _, err := range each(c.facts.settingsFault) {
		file, ok := errors.AsType[*authentik.FileError](err)
		if ok && file.Fatal {
			all = append(all, bad(exitConfig, "put it right or take it away: authentik does not start with it", "%s", file))
			continue
		}
		if one, ok := errors.AsType[*authentik.SettingError](err); ok {
			all = append(all, bad(exitConfig, one.Fix, "%s; authentik does not start with it", one))
			continue
		}
		if errors.Is(err, prepare.ErrHung) {
			all = append(all, warn("look at what is mounted there: authentik hangs, too", "settings: %s", err))
			continue
		}
		all = append(all, warn(fmt.Sprintf("let %s read it: authentik goes on without", c.facts.identity), "settings: %s", err))
	}
	for _, table := range c.facts.settings.Flattened() {
		all = append(all, warn("take it away, or set what is meant below it, as "+authentik.Variable(table)+"__...",
			"%s in %s is a value, and %s a table: authentik fails where it asks for what is below",
			c.facts.settings.Called(table), c.facts.settings.GivenBy(table), table))
	}
	for _, name := range []string{"postgresql.port", "postgresql.sslmode"} {
		if c.facts.settings.IsEmpty(name) { // as by ${X:-} in a compose file
			all = append(all, bad(exitConfig, "take it away, or give it a value",
				"%s in %s is empty: libpq refuses that, and authentik does not start", c.facts.settings.Called(name), cmp.Or(c.facts.settings.GivenBy(name), "default.yml")))
		}
	}
	if err := c.facts.databaseFilesHung; err != nil {
		all = append(all, warn("look at what is mounted there: authentik hangs, too", "settings of PostgreSQL: %s", err))
	}
	if len(all) == 0 {
		all = append(all, okay("read"))
	}
	return all
}

// each takes joined errors apart.
func each(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	if err == nil {
		return nil
	}
	return []error{err}
}

func judgeUserSettings(c circumstances) []*finding {
	switch file, err := c.facts.userSettings, c.facts.userSettingsFault; {
	case file == "":
		return nil
	case err != nil:
		return []*finding{warn(fmt.Sprintf("let %s read it, or take it away", c.facts.identity),
			"%s is there and cannot be read: %s; authentik loads it, and does not start where that fails", file, whyUnreadable(err))}
	default:
		return []*finding{okay("%s is loaded: it may change any setting, and authentik does not start where it fails", file)}
	}
}

func judgeSecretKey(c circumstances) []*finding {
	if c.facts.settings.Text("secret_key") != "" {
		if !c.facts.settings.IsText("secret_key") { // its value stays unsaid
			return []*finding{bad(exitConfig, "take one with letters in it, or let AUTHENTIK_SECRET_KEY be file:///PATH of a file that holds it, which is always a text",
				"the secret key from %s reads as a number or another value that is no text; authentik does not start with one", c.facts.settings.GivenBy("secret_key"))}
		}
		return []*finding{okay("set, by %s", c.facts.settings.GivenBy("secret_key"))}
	}
	why := "no secret key is set"
	by := c.facts.settings.GivenBy("secret_key")
	for _, s := range c.facts.settings.Secrets {
		if s.Setting != "secret_key" {
			continue
		}
		// Another key would end every session: the old one has to come back.
		what := "is empty"
		if s.Err != nil {
			what = "cannot be read: " + whyUnreadable(s.Err)
		}
		return []*finding{bad(exitConfig, remedyFor(s, fmt.Sprintf("mount the file with the key there, readable by %s", c.facts.identity)),
			"the secret key is %s, which %s; authentik does not start without", s, what)}
	}
	if below := belowSecretKey(c.options.env); below != "" {
		return []*finding{bad(exitConfig, "set AUTHENTIK_SECRET_KEY to the key, or to file:///PATH of a file that holds it, and take "+below+" away",
			"%s is set, which takes the place of any secret key and is none; authentik does not start without", below)}
	}
	if by != "" {
		why = "the secret key from " + by + " is empty"
	}
	return []*finding{bad(exitConfig, "set AUTHENTIK_SECRET_KEY to a random text of 50 characters or more, always the same, or to file:///PATH of a file that holds one", "%s; authentik does not start without", why)}
}

// belowSecretKey gives a variable that makes a table of the secret key, as AUTHENTIK_SECRET_KEY__FILE,
// which other images take: with a key in a file of settings authentik's loader fails over it
// (authentik/lib/config.py, update, 2026.2).
func belowSecretKey(env map[string]string) string {
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if strings.HasPrefix(name, "AUTHENTIK_SECRET_KEY__") {
			return name
		}
	}
	return ""
}

func judgeSecretFiles(c circumstances) []*finding {
	var all []*finding
	for _, s := range c.facts.settings.Secrets {
		variable := authentik.Variable(s.Setting)
		switch {
		case strings.HasPrefix(s.Setting, "bootstrap_"): // not followed; see judgeBootstrap
		case s.Setting == "secret_key" && (s.Err != nil || s.Empty): // judgeSecretKey tells that
		case s.NoText:
			all = append(all, bad(exitConfig, "write the value into it as text", "%s is %s, and that file is no text in UTF-8; authentik does not start with it", variable, s))
		case errors.Is(s.Err, fs.ErrNotExist):
			all = append(all, warn(remedyFor(s, "mount it there, or correct the path"), "%s is %s, and that file is missing", variable, s))
		case s.Err != nil:
			all = append(all, warn(remedyFor(s, fmt.Sprintf("let %s read it", c.facts.identity)), "%s is %s, which cannot be read: %s", variable, s, whyUnreadable(s.Err)))
		case s.Empty:
			all = append(all, warn("write the value into it", "%s is %s, and that file is empty", variable, s))
		case s.Trimmed:
			all = append(all, okay("%s from %s, without the white space around it, such as the newline at its end, which authentik takes away", variable, s.Path))
		default:
			all = append(all, okay("%s from %s", variable, s.Path))
		}
	}
	return all
}

// remedyFor says what to do about a file that cannot be read, where it is not as usual.
func remedyFor(s authentik.Secret, usual string) string {
	switch {
	case s.Host != "":
		return fmt.Sprintf("write three slashes, file:///%s%s: behind two stands a host, which is passed over, and the path read is %s", s.Host, s.Path, cmp.Or(s.Path, "none"))
	case errors.Is(s.Err, prepare.ErrHung):
		return "look at what is mounted there"
	default:
		return usual
	}
}

// whyUnreadable leaves out the path, which stands in the line already.
func whyUnreadable(err error) string {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err.Error()
	}
	return err.Error()
}

func judgeNames(c circumstances) []*finding {
	var all []*finding
	fatal := map[string]bool{} // which judgeSettings tells
	for _, err := range each(c.facts.settingsFault) {
		if one, ok := errors.AsType[*authentik.SettingError](err); ok {
			fatal[one.Setting] = true
		}
	}
	for _, m := range c.facts.release.Misnamed(c.facts.settings, c.options.env) {
		if fatal[m.Variable] {
			continue
		}
		from := cmp.Or(c.options.fromFile[m.Variable], "the environment")
		switch {
		case m.Right == "":
			all = append(all, warn("take it away", "%s in %s: authentik %s has no such setting any more", m.Variable, from, c.facts.release.Name))
		case m.Works:
			all = append(all, warn("write "+m.Right, "%s in %s is deprecated, and works for now", m.Variable, from))
		case m.File:
			all = append(all, warn(m.Right+"=file:///PATH", "%s in %s: authentik takes files by another form, and ignores this", m.Variable, from))
		default:
			all = append(all, warn("write "+m.Right, "%s in %s is no setting of authentik's, and is ignored", m.Variable, from))
		}
	}
	for _, name := range c.options.unknown {
		all = append(all, strayTwin(name))
	}
	return all
}

func strayTwin(name string) *finding {
	return warn(`"ak-init help" lists the flags`, "%s belongs to no flag of ak-init and is ignored", name).of("names")
}

func judgeServiceLinks(c circumstances) []*finding {
	n := 0
	for name, value := range c.options.env {
		if strings.HasPrefix(name, "AUTHENTIK_") && authentik.ServiceLink(name, value) {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	note := okay("%d variables are Kubernetes' links to services whose names begin with authentik, and no settings", n)
	note.Remedy = "enableServiceLinks: false in the pod keeps them out"
	return []*finding{note}
}

func judgeBootstrap(c circumstances) []*finding {
	var all []*finding
	var given []string
	for _, name := range []string{"AUTHENTIK_BOOTSTRAP_PASSWORD", "AUTHENTIK_BOOTSTRAP_TOKEN", "AUTHENTIK_BOOTSTRAP_EMAIL"} {
		value := c.options.env[name]
		if value == "" {
			continue
		}
		given = append(given, name)
		if strings.HasPrefix(value, "file://") || strings.HasPrefix(value, "env://") {
			all = append(all, warn("give the value itself", "%s: authentik takes no file:// and no env:// here, and would use these very words", name))
		}
	}
	if c.serves("worker") {
		if err := c.facts.release.NoBootstrap(c.facts.view, c.facts.settings.Text("blueprints_dir"), c.options.env); err != nil && c.plan.Blueprints == nil {
			found, remedy, _ := strings.Cut(err.Error(), "; ")
			all = append(all, warn(remedy, "%s", found))
		}
	}
	if len(given) > 0 && c.leavesBootstrap() {
		all = append(all, warn("set it for the worker, at its first start", "%s: only the worker applies it", strings.Join(given, ", ")))
	}
	if c.options.env["AUTHENTIK_BOOTSTRAP_PASSWORD"] != "" && c.options.env["AUTHENTIK_BOOTSTRAP_PASSWORD_HASH"] != "" {
		all = append(all, warn("keep one of them", "AUTHENTIK_BOOTSTRAP_PASSWORD and AUTHENTIK_BOOTSTRAP_PASSWORD_HASH are both set, which authentik does not take"))
	}
	return all
}

// leavesBootstrap tells whether only another service applies the credentials. Where the server
// has such a step (through 2025.6) the worker takes them as well, by the blueprint itself.
func (c circumstances) leavesBootstrap() bool {
	return c.options.command == "server" && c.facts.release.Server.Bootstrap == nil
}

func judgeStorage(c circumstances) []*finding {
	if !c.facts.isOfficial() {
		return nil
	}
	for _, d := range c.facts.config.DataDirs {
		where := d.Path
		if everybodys(d.Path, c.facts.layout.Root) {
			where = filepath.Join(d.Path, "media")
		}
		switch mounts := c.facts.mounts; {
		case d.IfThere:
			continue
		case mounts[where]:
			return []*finding{okay("%s is a mount", where)}
		case mounts[d.Path+"/media"]:
			return []*finding{okay("%s/media is a mount", d.Path)}
		case mounts["/media"]:
			return []*finding{warn("mount it on "+d.Path+"/media, or the directory above it on "+d.Path,
				"/media is a mount, and from 2025.12 on uploads lie in %s, which is none: authentik does not manage them, and reports vanish with the container", d.Path)}
		}
		note := okay("%s is no mount: uploads vanish with the container", where)
		note.Remedy = "mount a volume on " + where + ", or set " + d.Backend + " to s3, if there are to be any"
		return []*finding{note}
	}
	return nil
}

func judgeWebPath(c circumstances) []*finding {
	path := c.facts.config.WebPath
	if strings.HasPrefix(path, "/") && strings.HasSuffix(path, "/") {
		return nil
	}
	return []*finding{warn("write it with a slash at both ends, as /auth/", "AUTHENTIK_WEB__PATH is %q, and wants a slash at both ends", path)}
}
