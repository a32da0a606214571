package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// script stands for lifecycle/ak of 2026.2 where AK_SCRIPT names none: the steps that it takes
// for a health check and for a server.
const script = `#!/usr/bin/env -S bash
set -e -o pipefail
mkdir -p "$PROMETHEUS_MULTIPROC_DIR"
if [[ "$(python -m authentik.lib.config debugger 2>/dev/null)" == "True" ]]; then exit 1; fi
if [[ "$1" == healthcheck ]]; then exec authentik healthcheck "$(cat "$TMPDIR/authentik-mode")"; fi
echo "$1" >"$TMPDIR/authentik-mode"
exec authentik
`

// debugger stands for authentik/lib/config.py where the script is no part of a checkout: it
// loads the modules that one loads (2026.2.2), reads a file as long as default.yml and prints
// one setting. %s are the two that are not Python's own, as far as they are there.
const debugger = `import base64, contextlib, copy, dataclasses, enum, glob, json, os, pathlib, sys, time, typing, urllib.parse
%s
glob.glob("/etc/authentik/config.d/*.yml")
print(%s)
`

// settingsLines is how many lines default.yml has (authentik/lib/default.yml, 2026.2.2, without
// comments).
const settingsLines = 116

// python lays the package out that the script asks, finds an interpreter, and gives what the
// script needs in its environment. b.lacking says what that one does not load.
func (b *bed) python(ctx context.Context) error {
	bin, lib := b.dir+"/python", b.dir+"/package/authentik/lib"
	if err := errors.Join(os.Mkdir(bin, 0o700), os.MkdirAll(lib, 0o700)); err != nil {
		return err
	}
	program := "/usr/bin/python3"
	if venv := os.Getenv("AK_VENV"); venv != "" {
		program = venv + "/bin/python"
	}
	// A link to a virtualenv's would not find its modules.
	wrapped := filepath.Dir(program)
	if filepath.Base(program) != "python" {
		wrapped = bin
		if err := os.Symlink(program, bin+"/python"); err != nil {
			return err
		}
	}
	b.pythonEnv = []string{
		"PATH=" + strings.Join([]string{bin, b.whole + "/bin", wrapped, "/usr/local/bin", "/usr/bin", "/bin"}, ":"),
		"PYTHONPATH=" + b.dir + "/package", "PYTHONDONTWRITEBYTECODE=", // without it each start would compile ours
	}
	if checkout := filepath.Dir(filepath.Dir(b.script)); b.script != "" && exists(checkout+"/authentik/lib/config.py") {
		b.pythonEnv[1] = "PYTHONPATH=" + checkout
		return b.asks(ctx, program)
	}
	loads, value := "", `"False"`
	for _, module := range []string{"yaml", "django.conf"} {
		if exec.CommandContext(ctx, program, "-c", "import "+module).Run() != nil {
			b.lacking = append(b.lacking, module)
			continue
		}
		loads += "import " + module + "\n"
		if module == "yaml" {
			value = `yaml.safe_load(open(os.path.join(os.path.dirname(__file__), "default.yml")))["debugger"]`
		}
	}
	return errors.Join(
		os.WriteFile(b.dir+"/package/authentik/__init__.py", nil, 0o600),
		os.WriteFile(lib+"/__init__.py", nil, 0o600),
		os.WriteFile(lib+"/config.py", fmt.Appendf(nil, debugger, loads, value), 0o600),
		os.WriteFile(lib+"/default.yml", []byte(settings()), 0o600),
		b.asks(ctx, program))
}

// asks sees to it that the flag can be read: the script throws Python's errors away.
func (b *bed) asks(ctx context.Context, program string) error {
	cmd := exec.CommandContext(ctx, program, "-m", "authentik.lib.config", "debugger")
	cmd.Env, cmd.Stderr = b.pythonEnv, os.Stderr
	said, err := cmd.Output()
	if err == nil && strings.TrimSpace(string(said)) != "False" {
		err = errors.New("want False")
	}
	if err != nil {
		return fmt.Errorf("%v says %q: %w", cmd.Args, said, err)
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// settings is a file of settings as long as authentik's: tables of scalars.
func settings() string {
	var s strings.Builder
	s.WriteString("debugger: false\n")
	for line := 1; line < settingsLines; line++ {
		if line%8 == 1 {
			fmt.Fprintf(&s, "table_%d:\n", line)
		} else {
			fmt.Fprintf(&s, "  setting_%d: %d\n", line, line)
		}
	}
	return s.String()
}
