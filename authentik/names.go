package authentik

import (
	"maps"
	"slices"
	"strings"
)

// Rename is a setting that has another name by now, or none.
type Rename struct {
	// From and To are dotted names. A From that ends in a dot is a whole table, an empty To
	// is a setting that is gone.
	From, To string
	// Works tells that authentik still takes the old name.
	Works bool
}

// Misnamed is a variable that looks like one of authentik's settings and is none, or will
// not be for long.
type Misnamed struct {
	// Variable is as it stands in the environment, Right what was most likely meant; empty:
	// there is no such setting any more.
	Variable, Right string
	// Works tells that it does what was meant, for now.
	Works bool
	// File tells that Right takes the name of a file as file://PATH.
	File bool
}

// Variable gives a setting's name in the environment: AUTHENTIK_POSTGRESQL__HOST for
// postgresql.host.
func Variable(setting string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(setting, ".", "__"))
}

// Misnamed finds variables whose names come near those of settings. Others are nobody's
// business: blueprints read variables of any name.
func (r Release) Misnamed(s Settings, env map[string]string) []Misnamed {
	known := dictionary{names: map[string]bool{}}
	for _, name := range slices.Concat(s.named, r.Settings) {
		known.add(name)
	}
	var found []Misnamed
	for _, variable := range slices.Sorted(maps.Keys(env)) {
		setting, ours := settingOf(variable)
		// An empty value is as good as none: compose files write ${X:-}.
		if !ours || env[variable] == "" || ServiceLink(variable, env[variable]) {
			continue
		}
		if m, wrong := r.judge(setting, known); wrong {
			m.Variable = variable
			found = append(found, m)
		} else if !strings.HasPrefix(variable, envPrefix) && known.has(setting) {
			found = append(found, Misnamed{Variable: variable, Right: Variable(setting)})
		}
	}
	return found
}

// settingOf gives the dotted name that a variable stands for. A prefix that is nearly
// authentik's counts as well.
func settingOf(variable string) (string, bool) {
	prefix, rest, ok := strings.Cut(variable, "_")
	if !ok || prefix+"_" != envPrefix && !nearPrefix(prefix) {
		return "", false
	}
	return strings.ReplaceAll(strings.ToLower(rest), "__", "."), true
}

func nearPrefix(prefix string) bool {
	return strings.HasPrefix(prefix, "AUT") && distance(prefix, strings.TrimSuffix(envPrefix, "_"), 2) <= 2
}

// judge is for one setting's dotted name.
func (r Release) judge(setting string, known dictionary) (Misnamed, bool) {
	for _, rename := range r.Renamed {
		if setting == rename.From || strings.HasSuffix(rename.From, ".") && strings.HasPrefix(setting, rename.From) {
			m := Misnamed{Works: rename.Works}
			if rename.To != "" {
				m.Right = Variable(rename.To)
			}
			return m, true
		}
	}
	if known.has(setting) {
		return Misnamed{}, false
	}
	for _, suffix := range []string{".file", "_file"} {
		if base, ok := strings.CutSuffix(setting, suffix); ok && known.has(base) {
			return Misnamed{Right: Variable(base), File: true}, true
		}
	}
	if right := known.nearest(setting); right != "" {
		return Misnamed{Right: Variable(right)}, true
	}
	return Misnamed{}, false
}

// ServiceLink tells whether Kubernetes has put a variable there for a service that is called
// authentik-something (Kubernetes' documentation, "Environment variables" of services): it only
// looks like a setting.
func ServiceLink(variable, value string) bool {
	if strings.HasSuffix(variable, "_SERVICE_HOST") || strings.HasSuffix(variable, "_SERVICE_PORT") || strings.Contains(variable, "_SERVICE_PORT_") {
		return true
	}
	for _, protocol := range []string{"tcp", "udp", "sctp"} {
		if strings.HasSuffix(variable, "_PORT") && strings.HasPrefix(value, protocol+"://") {
			return true
		}
		before, after, ok := strings.Cut(variable, "_"+strings.ToUpper(protocol))
		if at := strings.LastIndex(before, "_PORT_"); ok && at >= 0 && isNumber(before[at+len("_PORT_"):]) && (after == "" || after[0] == '_') {
			return true
		}
	}
	return false
}

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// dictionary is the settings that a release knows.
type dictionary struct {
	names map[string]bool
	// tables are names that end in a dot: everything below is known.
	tables []string
}

func (d *dictionary) add(name string) {
	if strings.HasSuffix(name, ".") {
		d.tables = append(d.tables, name)
		return
	}
	d.names[name] = true
}

func (d *dictionary) has(setting string) bool {
	if d.names[setting] {
		return true
	}
	if slices.ContainsFunc(d.tables, func(table string) bool { return strings.HasPrefix(setting, table) }) {
		return true
	}
	for name := range d.names { // a whole table, given as JSON
		if strings.HasPrefix(name, setting+".") {
			return true
		}
	}
	return false
}

// nearest is the setting that was meant; empty where there is none.
func (d *dictionary) nearest(setting string) string {
	return Nearest(setting, slices.Sorted(maps.Keys(d.names)))
}

// Nearest is the name that differs from what was written in its underscores alone, or by a slip
// or two of the fingers; empty where there is none.
func Nearest(written string, names []string) string {
	meant := bare(written)
	best, least := "", 3
	if len(meant) < 8 {
		least = 2 // in a short name two slips make another word
	}
	for _, name := range names {
		if n := distance(meant, bare(name), least); n < least {
			best, least = name, n
		}
	}
	return best
}

// bare is a name without what separates its words.
func bare(setting string) string { return strings.NewReplacer("_", "", ".", "").Replace(setting) }

// distance is how many letters have to be put in, taken out, changed or swapped with the next
// one (optimal string alignment), or limit where it is no less.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return min(last[len(b)], limit)
}
