package authentik

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ak-init/testdata/bed"
	"ak-init/testdata/pythons"
)

// virtualenv makes a real one with a package installed in it, and nothing else.
func virtualenv(t *testing.T, python string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "venv")
	if out, err := exec.CommandContext(t.Context(), python, "-m", "venv", "--without-pip", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	sites, err := filepath.Glob(dir + "/lib/python3.*/site-packages")
	if err != nil || len(sites) != 1 {
		t.Fatalf("site-packages: %v, %v", sites, err)
	}
	write(t, sites[0]+"/webserver/app.py", "def run():\n    return 0\n")
	write(t, sites[0]+"/webserver-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: webserver\nVersion: 1\n")
	write(t, sites[0]+"/webserver-1.dist-info/entry_points.txt", "[console_scripts]\nwebserver = webserver.app:run\n")
	return dir
}

// bodies are console scripts, by who writes them so. The first is blumeops' until its
// commit 78027eb, the second since.
func bodies() map[string]string {
	return map[string]string{
		"blumeops, by number": `import sys
from importlib.metadata import entry_points
eps = entry_points(group='console_scripts', name='webserver')
if eps:
    sys.exit(eps[0].load()())
`,
		"blumeops, by iterator": `import sys
from importlib.metadata import entry_points
eps = entry_points(group='console_scripts', name='webserver')
if eps:
    sys.exit(next(iter(eps)).load()())
`,
		"a distribution's, by number": `import sys, importlib.metadata
# distribution("webserver").entry_points[0] is what comes next
sys.exit(importlib.metadata.distribution("webserver").entry_points[0].load()())
`,
		"selected, by number from the end": `import sys
from importlib import metadata
import importlib.metadata
eps = metadata.entry_points().select(group="console_scripts", name="webserver")
sys.exit(eps[-1].load()())
`,
		"as a table of groups": `import sys
from importlib.metadata import entry_points
sys.exit([e for e in entry_points()["console_scripts"] if e.name == "webserver"][0].load()())
`,
		"as a table of groups, asked": `import sys
from importlib.metadata import entry_points
sys.exit([e for e in entry_points().get("console_scripts") if e.name == "webserver"][0].load()())
`,
		"by name": `import sys
from importlib.metadata import entry_points
# not entry_points(group="console_scripts")[0], nor
#   eps[0]
sys.exit(entry_points(group="console_scripts")["webserver"].load()())
`,
		"a remark behind it": `import sys
from importlib.metadata import entry_points
eps = entry_points(group='console_scripts', name='webserver')
ep = next(iter(eps))  # eps[0] is refused by Python 3.12 and later
sys.exit(ep.load()())
`,
		"a text of several lines": `"""Not entry_points(group='x')[0],
nor entry_points()['x']."""
import sys
from importlib.metadata import entry_points
sys.exit(entry_points(group='console_scripts')['webserver'].load()())
`,
		"asks what there is": `import sys
from importlib.metadata import entry_points
if hasattr(entry_points(), 'select'):
    eps = list(entry_points(group='console_scripts', name='webserver'))
else:
    eps = [e for e in entry_points()['console_scripts'] if e.name == 'webserver']
sys.exit(eps[0].load()())
`,
		"a list of them, by number": `import sys
from importlib.metadata import entry_points
eps = list(entry_points(group='console_scripts', name='webserver'))
args = sys.argv[1:]
sys.exit(eps[0].load()())
`,
		"made a tuple of under the same name": `import sys
from importlib.metadata import entry_points
eps = entry_points(group='console_scripts', name='webserver')
eps = tuple(eps)
sys.exit(eps[0].load()())
`,
		"tried": `import sys
from importlib.metadata import entry_points
eps = entry_points(group='console_scripts', name='webserver')
try:
    run = eps[0].load()
except KeyError:
    run = eps['webserver'].load()
sys.exit(run())
`,
		"setuptools, develop": `import re
import sys
# for compatibility with easy_install; see #2198
__requires__ = 'webserver==1'
try:
    from importlib.metadata import distribution
except ImportError:
    try:
        from importlib_metadata import distribution
    except ImportError:
        from pkg_resources import load_entry_point
def importlib_load_entry_point(spec, group, name):
    dist_name, _, _ = spec.partition('==')
    matches = (
        entry_point
        for entry_point in distribution(dist_name).entry_points
        if entry_point.group == group and entry_point.name == name
    )
    return next(matches).load()
globals().setdefault('load_entry_point', importlib_load_entry_point)
if __name__ == '__main__':
    sys.argv[0] = re.sub(r'(-script\.pyw?|\.exe)?$', '', sys.argv[0])
    sys.exit(load_entry_point('webserver==1', 'console_scripts', 'webserver')())
`,
		"setuptools, old": `__requires__ = 'webserver==1'
import re
import sys
from pkg_resources import load_entry_point
if __name__ == '__main__':
    sys.argv[0] = re.sub(r'(-script\.pyw?|\.exe)?$', '', sys.argv[0])
    sys.exit(load_entry_point('webserver==1', 'console_scripts', 'webserver')())
`,
		"pip": `import re
import sys
from webserver.app import run
if __name__ == '__main__':
    sys.argv[0] = re.sub(r'(-script\.pyw|\.exe)?$', '', sys.argv[0])
    sys.exit(run())
`,
		"pip, of a package that is not there": `import re
import sys
from gunicorn.app.wsgiapp import run
if __name__ == '__main__':
    sys.exit(run())
`,
		"nixpkgs, whose site is added": `import sys;import site;import functools;sys.argv[0] = 'x';functools.reduce(lambda k, p: site.addsitedir(p, k), ['{more}'], site._init_pathinfo());
import re
import sys
from elsewhere import run
if __name__ == '__main__':
    sys.exit(run())
`,
		"the standard library's": `import sys
from quopri import main
if __name__ == '__main__':
    sys.exit(main())
`,
	}
}

// Check accuses a script just where the real Python cannot run it: each way of writing
// one, on each Python that is here.
func TestScriptsAgainstPython(t *testing.T) {
	newest := 0
	for _, program := range pythons.That(t, "import venv") {
		t.Run(program, func(t *testing.T) {
			venv := virtualenv(t, program)
			more := filepath.Join(t.TempDir(), "more")
			write(t, more+"/elsewhere.py", "def run():\n    return 0\n")
			p := pythonOf(machine(), venv+"/bin/python3")
			newest = max(newest, p.minor)
			for name, body := range bodies() {
				t.Run(name, func(t *testing.T) {
					script := write(t, filepath.Join(t.TempDir(), "webserver"), "#!"+venv+"/bin/python3\n"+strings.ReplaceAll(body, "{more}", more))
					out, ran := exec.CommandContext(t.Context(), script).CombinedOutput()
					e := ConsoleScript{Path: script}.Check(machine())
					if (e == nil) != (ran == nil) {
						t.Errorf("Python 3.%d says %v\n%sCheck says %v", p.minor, ran, out, e)
					}
					// The environment may give what is missing.
					if e := (ConsoleScript{Path: script, Env: map[string]string{"NIX_PYTHONPATH": more}}).Check(machine()); e != nil && e.Fault == NoModule {
						t.Errorf("with NIX_PYTHONPATH: %v", e)
					}
				})
			}
		})
	}
	// Before 3.12 a Python takes entry points by number.
	bed.Need(t, "python", newest >= 12, "no Python 3.12 or later runs here; AK_PYTHON can name one")
}

func TestIndexIsNamedWithItsLine(t *testing.T) {
	v := view{
		"/nix/store/x/bin/gunicorn":     "#!/nix/store/x/bin/python3.14\n" + bodies()["blumeops, by number"],
		"/nix/store/x/bin/python3.14":   "\x7fELF\x00",
		"/nix/store/x/lib/python3.14/x": "",
	}
	e := ConsoleScript{Path: "/nix/store/x/bin/gunicorn"}.Check(v.View())
	want := "cannot run /nix/store/x/bin/gunicorn: line 6 takes eps (entry points) by index, which Python 3.14 refuses (EntryPoints is asked by name); " +
		"take next(iter(...)) of it, or let the script call the function itself, as pip writes it: from gunicorn.app.wsgiapp import run"
	if e == nil || e.Error() != want {
		t.Errorf("got  %v\nwant %s", e, want)
	}
}

// pip's own scripts and those of real packages, as they were installed.
func TestInstalledScriptsAreNotAccused(t *testing.T) {
	venv := os.Getenv("AK_VENV")
	if venv == "" {
		t.Skip("AK_VENV names no virtualenv with gunicorn and dramatiq")
	}
	scripts, err := filepath.Glob(venv + "/bin/*")
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, script := range scripts {
		if !machine().Executable(script) {
			continue // to be sourced
		}
		checked++
		if e := (ConsoleScript{Path: script, Env: map[string]string{"PATH": venv + "/bin:/usr/bin:/bin"}}).Check(machine()); e != nil {
			t.Error(e)
		}
	}
	if checked < 5 {
		t.Errorf("only %d programs in %s", checked, venv)
	}
}

// pip and uv start Python through the shell where its path is too long for a first line.
func TestScriptThatIsShellAndPython(t *testing.T) {
	for _, program := range pythons.That(t, "import venv") {
		venv := virtualenv(t, program)
		text := func(python string) string {
			return "#!/bin/sh\n'''exec' " + python + " \"$0\" \"$@\"\n' '''\nimport sys\nfrom webserver.app import run\nsys.exit(run())\n"
		}
		script := write(t, filepath.Join(t.TempDir(), "webserver"), text(venv+"/bin/python3"))
		if out, err := exec.CommandContext(t.Context(), script).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if e := (ConsoleScript{Path: script}).Check(machine()); e != nil {
			t.Errorf("got %v for what runs", e)
		}
		write(t, script, text("/nix/store/gone/bin/python3"))
		if e := (ConsoleScript{Path: script}).Check(machine()); e == nil || e.Fault != NoInterpreter || e.Line != 2 {
			t.Errorf("got %v", e)
		}
	}
}
