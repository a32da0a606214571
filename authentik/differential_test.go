package authentik_test

import (
	"cmp"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"ak-init/testdata/bed"
)

// tried are the releases of which ak-init is held against the table: one or more of each row of
// authentik.Releases.
func tried() []string {
	return []string{"2025.2.4", "2025.4.0", "2025.4.4", "2025.6.4", "2025.8.0", "2025.8.6", "2025.10.4", "2025.12.4", "2026.2.2"}
}

// TestDifferential holds ak-init, called as ak, against testdata/behaviour.yaml; and authentik's
// own script, where AK_SCRIPT=/path/of/lifecycle/ak names one, so that the table is true. What
// differs on purpose is in docs/deviations.md, and nothing else may.
func TestDifferential(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts thousands of programs")
	}
	script, ofScript := scriptOf(t)
	releases := tried()
	if script != "" && !slices.Contains(releases, ofScript) {
		releases = append(releases, ofScript)
	}
	table, allowed, programs := readBehaviour(t), readDeviations(t), build(t)
	t.Run("row", func(t *testing.T) { // which ends when all of them have
		for _, release := range releases {
			for _, r := range table.Rows {
				for _, as := range []string{"user", "root"} {
					if !among(r.Releases, release) || cmp.Or(r.As, as) != as {
						continue
					}
					c := comparison{table, r, release, as == "root", programs, allowed, ""}
					if release == ofScript {
						c.script = script
					}
					allowed.begun.Add(1)
					t.Run(release+" as "+as+": ak "+r.Ak+": "+r.What, c.test)
				}
			}
		}
	})
	if allowed.begun.Load() == allowed.ended.Load() {
		for _, one := range allowed.unseen() {
			t.Errorf("docs/deviations.md has what never occurs: %s", one)
		}
	} else {
		t.Log("not every row was tried: whether each deviation occurs is not known")
	}
	if script == "" {
		t.Log("AK_SCRIPT names no script of authentik's: the table alone was ak-init's measure")
	}
}

// scriptOf is AK_SCRIPT and its release: what authentik/__init__.py beside it says, or AK_RELEASE.
func scriptOf(t *testing.T) (script, release string) {
	t.Helper()
	script = os.Getenv("AK_SCRIPT")
	if script == "" {
		return "", ""
	}
	version, _ := os.ReadFile(filepath.Join(filepath.Dir(script), "../authentik/__init__.py")) // there may be none
	if found := regexp.MustCompile(`(?m)^(?:VERSION|__version__) = "([0-9.]+)`).FindSubmatch(version); found != nil {
		return script, string(found[1])
	}
	release = os.Getenv("AK_RELEASE")
	if release == "" {
		t.Fatalf("nothing tells which release %s is of: set AK_RELEASE, such as 2026.2.2", script)
	}
	return script, release
}

// comparison is one row, for one release and one user.
type comparison struct {
	table    behaviour
	row      row
	release  string
	root     bool
	programs built
	allowed  *deviations
	// script is authentik's, empty where there is none.
	script string
}

func (c comparison) test(t *testing.T) {
	t.Parallel()
	bed.Need(t, "root", os.Geteuid() == 0 || !c.root && !c.row.OwnRoot, "needs root for a root of its own")
	argv, err := words(c.row.Ak)
	must(t, err)
	if c.script != "" {
		for _, one := range c.differences(t, c.script, argv) {
			t.Errorf("the table is wrong of the script of %s: %s", c.release, one)
		}
	}
	for _, one := range c.differences(t, "", argv) {
		if !c.allowed.has("ak "+c.row.Ak, one) {
			t.Errorf("ak-init differs, and not on purpose: %s", one)
		}
	}
	c.allowed.ended.Add(1)
}

// differences runs the script, or ak-init where there is none, and tells what the table has not.
func (c comparison) differences(t *testing.T, script string, argv []string) []string {
	t.Helper()
	p := newPlace(t, c.row, c.release, c.root)
	p.lay(t, c.programs, c.row, c.release)
	if script == "" {
		must(t, os.Link(c.programs.akInit, p.dir+"/root/bin/ak"))
		argv = slices.Concat([]string{p.root() + "/bin/ak"}, argv)
	} else {
		text, err := os.ReadFile(script)
		must(t, err, os.WriteFile(p.dir+"/root/lifecycle/ak", text, 0o755))
		argv = slices.Concat([]string{tool("bash"), p.root() + "/lifecycle/ak"}, argv)
	}
	done, said := p.run(t, c.programs, c.row, argv)
	var lines []string
	for _, line := range differences(c.table.expect(c.row, c.release, p), done) {
		lines = append(lines, p.contract(line))
	}
	if len(lines) > 0 {
		t.Logf("%s says:\n%s", quoted(argv), said)
	}
	return lines
}
