package authentik

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// machine is the real file system.
func machine() View {
	return View{
		Exists: func(p string) bool { _, err := os.Stat(p); return err == nil },
		Read: func(p string) ([]byte, error) {
			f, err := os.Open(p)
			if err != nil {
				return nil, err
			}
			defer func() { _ = f.Close() }()
			return io.ReadAll(io.LimitReader(f, 1<<20))
		},
		Executable: func(p string) bool {
			info, err := os.Stat(p)
			return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0
		},
		Readlink: os.Readlink,
		Names: func(dir string) []string {
			entries, _ := os.ReadDir(dir)
			var names []string
			for _, e := range entries {
				names = append(names, e.Name())
			}
			return names
		},
	}
}

// write puts a program in place and gives its path.
func write(t *testing.T, file, text string) string {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o755)); err != nil {
		t.Fatal(err)
	}
	return file
}

func link(t *testing.T, to, at string) string {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.Symlink(to, at)); err != nil {
		t.Fatal(err)
	}
	return at
}

// nested is a script whose interpreter is a script, and so on: n scripts and a binary.
func nested(t *testing.T, dir string, n int) string {
	t.Helper()
	interpreter := "/bin/true"
	for i := range n {
		interpreter = write(t, fmt.Sprintf("%s/nested%d-%d", dir, n, i), "#!"+interpreter+"\n")
	}
	return interpreter
}

// long is a program by a path of so many bytes.
func long(t *testing.T, dir string, size int) string {
	t.Helper()
	at := dir + "/" + strings.Repeat("l", 100) + "/"
	at += strings.Repeat("m", size-len(at))
	return link(t, "/bin/true", at)
}

// What the kernel says of a script is what Check says of it.
func TestScriptsAgainstTheKernel(t *testing.T) {
	dir, err := os.MkdirTemp("/var/tmp", "s") //nolint:usetesting // short, for lengths that count
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	plain := dir + "/plain"
	if err := os.WriteFile(plain, []byte("#!/bin/true\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	gone := "/nix/store/0c0-gone/bin/python3.14"
	mark := len("#!") + len("\n")
	tests := []struct {
		name, file string
		fault      Fault
		says       string
	}{
		{"fine", write(t, dir+"/fine", "#!/bin/true\n"), 0, ""},
		{"fine with an option and blanks", write(t, dir+"/blanks", "#! \t/bin/true \t-x y\t\n"), 0, ""},
		{"no line end", write(t, dir+"/noend", "#!/bin/true"), 0, ""},
		{"an older store path", write(t, dir+"/old", "#!"+gone+"\n"), NoInterpreter, "line 1 names the interpreter " + gone + ", which does not exist"},
		{"an interpreter that is a dead link", write(t, dir+"/dead", "#!"+link(t, gone, dir+"/python3")+"\n"), NoInterpreter, "a link to " + gone + ", which does not exist"},
		{"itself a dead link", link(t, gone, dir+"/python"), DeadLink, "cannot run " + dir + "/python: is a link to " + gone},
		{"an interpreter that is not executable", write(t, dir+"/noexec", "#!"+plain+"\n"), NoInterpreter, "chmod 755 " + plain},
		{"a line end of Windows", write(t, dir+"/crlf", "#!/bin/true\r\n"), CarriageReturn, "carriage return"},
		{"255 bytes with the mark", write(t, dir+"/l255", "#!"+long(t, dir, HeadSize-mark)+"\n"), 0, ""},
		{"one byte more", write(t, dir+"/l256", "#!"+long(t, dir, HeadSize-mark+1)+"\n"), NotAProgram, "beyond byte 256"},
		{"long for its option, which is cut", write(t, dir+"/lopt", "#!/bin/true "+strings.Repeat("o", 300)+"\n"), 0, ""},
		{"empty", write(t, dir+"/empty", ""), NotAProgram, "the file is empty"},
		{"no mark", write(t, dir+"/nomark", "echo\n"), NotAProgram, "names no interpreter"},
		{"a mark alone", write(t, dir+"/alone", "#!  \n"), NotAProgram, "names no interpreter"},
		{"five scripts", nested(t, dir, 5), 0, ""},
		{"six scripts", nested(t, dir, 6), TooDeep, "too many scripts"},
		{"a binary", "/bin/true", 0, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ran := exec.CommandContext(t.Context(), tt.file).Run()
			if (ran == nil) != (tt.fault == 0) {
				t.Fatalf("the kernel says %v, which is not what this test takes for granted", ran)
			}
			e := ConsoleScript{Path: tt.file}.Check(machine())
			switch {
			case e == nil && tt.fault == 0:
			case e == nil || e.Fault != tt.fault || !strings.Contains(e.Error(), tt.says) || strings.Contains(e.Error(), "\n"):
				t.Errorf("got %v, want fault %d with %q; the kernel says %v", e, tt.fault, tt.says, ran)
			}
		})
	}
}

func TestScriptByEnv(t *testing.T) {
	dir := t.TempDir()
	script := write(t, dir+"/script", "#!/usr/bin/env -S no-such-python\n")
	e := ConsoleScript{Path: script, Env: map[string]string{"PATH": "/usr/bin:" + dir}}.Check(machine())
	if want := "cannot run " + script + ": line 1 asks /usr/bin/env for no-such-python, which is not in PATH=/usr/bin:" + dir + "; name the interpreter by its path"; e == nil || e.Error() != want {
		t.Errorf("got  %v\nwant %s", e, want)
	}
	write(t, dir+"/no-such-python", "#!/bin/true\n")
	if e := (ConsoleScript{Path: script, Env: map[string]string{"PATH": "/usr/bin:" + dir}}).Check(machine()); e != nil {
		t.Errorf("got %v for a program that is there", e)
	}
	if e := (ConsoleScript{Path: script}).Check(machine()); e != nil {
		t.Errorf("got %v without a PATH to tell", e)
	}
}

func TestScriptNamed(t *testing.T) {
	dir := t.TempDir()
	link(t, "/nix/store/gone/bin/python3.14", dir+"/a/python")
	searchPath := "relative:" + dir + "/a:" + dir + "/b"
	if got := ScriptNamed(machine(), "python", searchPath); got != dir+"/a/python" {
		t.Errorf("got %q, want the dead link", got)
	}
	write(t, dir+"/b/python", "#!/bin/true\n")
	if got := ScriptNamed(machine(), "python", searchPath); got != dir+"/b/python" {
		t.Errorf("got %q, want the one that can be run", got)
	}
	if got := ScriptNamed(machine(), "gunicorn", searchPath); got != "" {
		t.Errorf("got %q for what is nowhere", got)
	}
}

// As nixpkgs' makeWrapper writes it.
func TestScriptBehindAWrapper(t *testing.T) {
	dir := t.TempDir()
	wrapped := dir + "/bin/.gunicorn-wrapped"
	wrapper := write(t, dir+"/bin/gunicorn", "#! /bin/sh -e\nexport PYTHONNOUSERSITE='true'\nexec -a \"$0\" \""+wrapped+"\"  \"$@\" \n")
	e := ConsoleScript{Path: wrapper}.Check(machine())
	if e == nil || !strings.Contains(e.Error(), "cannot run "+wrapper+": line 3 runs "+wrapped+", which does not exist") {
		t.Errorf("got %v", e)
	}
	write(t, wrapped, "#!/nix/store/gone/bin/python3.14\n")
	e = ConsoleScript{Path: wrapper}.Check(machine())
	if e == nil || !strings.Contains(e.Error(), "cannot run "+wrapper+": "+wrapped+": line 1 names the interpreter /nix/store/gone/bin/python3.14") {
		t.Errorf("got %v", e)
	}
	write(t, wrapped, "#!/bin/true\n")
	if e := (ConsoleScript{Path: wrapper}).Check(machine()); e != nil {
		t.Errorf("got %v for what runs", e)
	}
	write(t, wrapped, "#!/bin/sh\nexec \""+wrapper+"\" \"$@\"\n")
	if e := (ConsoleScript{Path: wrapper}).Check(machine()); e != nil {
		t.Errorf("got %v for a circle, of which nothing is known", e)
	}
}
