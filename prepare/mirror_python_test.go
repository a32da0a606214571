package prepare

import (
	"os/exec"
	"testing"

	"ak-init/testdata/pythons"
)

// finds says, with pathlib, what authentik does when it looks for blueprints
// (authentik/blueprints/v1/tasks.py, blueprints_find) and when it reads one
// (models.py, retrieve_file): the names that are found, and of them those that are read.
const finds = `
import sys
from pathlib import Path
base = Path(sys.argv[1])
for found in sorted(base.rglob("**/*.yaml")):
    name = found.relative_to(base)
    inside = str(base.joinpath(name).resolve()).startswith(str(base.resolve()))
    print(name, "read" if inside else "refused")
`

// Why a mirror makes copies: on every Python that is here, directories behind links are
// not searched, and files behind links are refused.
func TestPythonSeesCopiesAndNoLinks(t *testing.T) {
	dir := t.TempDir()
	from, into := dir+"/store/a/blueprints", dir+"/blueprints"
	put(t, from, builtins())
	links := dir + "/links"
	put(t, links, map[string]string{"system": "-> " + from + "/system", "default/a.yaml": "-> " + from + "/default/a.yaml"})
	makeMirror(t, mirror(from, into), Self())

	for _, python := range pythons.That(t, "") {
		t.Run(python, func(t *testing.T) {
			for base, want := range map[string]string{
				into:  "default/a.yaml read\ndefault/deeper/b.yaml read\nsystem/bootstrap.yaml read\nsystem/providers.yaml read\ntop.yaml read\n",
				links: "default/a.yaml refused\n",
			} {
				got, err := exec.CommandContext(t.Context(), python, "-c", finds, base).CombinedOutput()
				if err != nil || string(got) != want {
					t.Errorf("%s: %v\n%swant\n%s", base, err, got, want)
				}
			}
		})
	}
}
