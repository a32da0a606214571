// Package layout lays the stand-in for authentik (the command one directory up) out
// in a directory: like the official image of 2026.2, or like a Nix store.
//
// The trees hold what ak-init looks for, in the right places with the right kinds of
// files; the contents are placeholders, except for the version and the defaults.
// Owners, modes and symlinks to absolute paths of the real trees are not copied:
// everything belongs to the caller and can be removed by him. Laying out twice in
// the same place is the same as once.
package layout

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Version is the release that the trees claim to be.
const Version = "2026.2.2"

// Store names the parts of a Nix store that a wrapper script would know.
type Store struct {
	Django    string // store path of the Python part; the working directory of all verbs
	ServerBin string // directory of the server's binary, for PATH
}

// Image makes dir the root directory of a container of the official image (Dockerfile
// in lifecycle/container). Programs are in bin and ak-root/.venv/bin; standin
// is the binary that plays them all.
func Image(dir, standin string) error {
	t := tree{root: dir}
	t.code()
	for _, d := range []string{"certs", "data", "media", "authentik/.ssh", "web/dist"} {
		t.mkdir(d)
	}
	// Links to /media in the image; uploads of releases before 2025.12 are there.
	t.link("data/media", "../media")
	t.program("bin/authentik", standin)
	for _, name := range []string{"python", "python3", "gunicorn"} {
		t.link("ak-root/.venv/bin/"+name, "../../../bin/authentik")
	}
	if t.err != nil {
		return fmt.Errorf("cannot lay out the image: %w", t.err)
	}
	return nil
}

// Nix makes two store paths below dir/nix/store, as nixpkgs and the blumeops image
// divide authentik: one for everything that is Python, one for the server. The
// directories to write to (certs, data, media) are elsewhere there, and not made.
func Nix(dir, standin string) (Store, error) {
	const (
		django = "nix/store/0123456789abcdfghijklmnpqrsvwxyz-authentik-django-" + Version
		server = "nix/store/zyxwvsrqpnmlkjihgfdcba9876543210-authentik-server-" + Version
	)
	t := tree{root: filepath.Join(dir, django)}
	t.code()
	t.mkdir("web/dist")
	for _, name := range []string{"python", "python3", "gunicorn"} {
		t.link("bin/"+name, "../../"+filepath.Base(server)+"/bin/authentik")
	}
	t.root = filepath.Join(dir, server)
	t.program("bin/authentik", standin)
	if t.err != nil {
		return Store{}, fmt.Errorf("cannot lay out the Nix store: %w", t.err)
	}
	return Store{Django: filepath.Join(dir, django), ServerBin: filepath.Join(dir, server, "bin")}, nil
}

// Rust makes an image one of 2026.5, with its two binaries, or, without the server in Go, of 2026.8.
// What it claims to be stays: layouts are told by what is there.
func Rust(dir, standin string, goServer bool) error {
	t := tree{root: dir}
	t.file("lifecycle/worker_process.py", "# The stand-in's.\n", 0o644)
	if goServer {
		t.program("bin/authentik-server", standin)
	}
	if t.err != nil {
		return fmt.Errorf("cannot lay out Rust's programs: %w", t.err)
	}
	return nil
}

// Checkout makes dir a git checkout with uv's virtual environment, without the server's binary.
func Checkout(dir, standin string) error {
	t := tree{root: dir}
	t.code()
	t.mkdir(".git")
	t.mkdir("data")
	t.mkdir("web/dist")
	t.file("go.mod", "module goauthentik.io\n", 0o644)
	t.file("cmd/server/main.go", "package main\n", 0o644)
	t.program(".venv/bin/python", standin)
	for _, name := range []string{"python3", "gunicorn"} {
		t.link(".venv/bin/"+name, "python")
	}
	if t.err != nil {
		return fmt.Errorf("cannot lay out the checkout: %w", t.err)
	}
	return nil
}

// Nixpkgs makes three store paths below dir, as nixpkgs' package does: a wrapper, an environment of
// Python, and the server. It gives the directory of the wrapper ak.
func Nixpkgs(dir, standin string) (bin string, err error) {
	name := func(what string) string {
		return filepath.Join(dir, "nix/store/0123456789abcdfghijklmnpqrsvwxyz-"+what)
	}
	env, server, wrapper := name("python3-3.12.9-env"), name("authentik-proxy-"+Version), name("authentik-"+Version)
	t := tree{root: filepath.Join(env, "lib/python3.12/site-packages")}
	t.code()
	t.root = server
	t.program("bin/authentik", standin)
	t.root = env
	for _, program := range []string{"python", "python3", "gunicorn"} {
		t.link("bin/"+program, "../../"+filepath.Base(server)+"/bin/authentik")
	}
	t.root = wrapper
	t.file("bin/ak", "#!/bin/false\nPATH='"+server+"/bin'$PATH\nPATH='"+env+"/bin'$PATH\nexport TMPDIR='/dev/shm'\n", 0o755)
	if t.err != nil {
		return "", fmt.Errorf("cannot lay out nixpkgs' package: %w", t.err)
	}
	return filepath.Join(wrapper, "bin"), nil
}

// tree writes below root, and nothing more after its first error.
type tree struct {
	root string
	err  error
}

// code writes what comes from authentik's repository.
func (t *tree) code() {
	// The entry script is there to be found, never to be run.
	t.file("lifecycle/ak", "#!/bin/false\n# The stand-in's lifecycle/ak.\n", 0o755)
	t.file("lifecycle/__init__.py", "", 0o644)
	t.file("lifecycle/gunicorn.conf.py", "# The stand-in reads no configuration.\n", 0o644)
	t.file("authentik/__init__.py", "VERSION = \""+Version+"\"\n", 0o644)
	t.file("authentik/lib/default.yml", defaults, 0o644)
	t.file("lifecycle/system_migrations/install_id.py", "", 0o644)
	t.file("authentik/sources/scim/schemas/schema.json", "[]\n", 0o644)
	t.file("authentik/enterprise/public.pem", "", 0o644)
	t.file("authentik/providers/radius/dictionaries/dictionary", "", 0o644)
	t.file("authentik/stages/authenticator_webauthn/mds/blob.jwt", "", 0o644)
	t.mkdir("locale")
	t.file("manage.py", "#!/usr/bin/env python\n", 0o755)
	t.file("blueprints/system/bootstrap.yaml", "version: 1\nentries: []\n", 0o644)
	t.file("blueprints/default/flow-oobe.yaml", "version: 1\nentries: []\n", 0o644)
}

// defaults has values of authentik/lib/default.yml at 2026.2.2.
const defaults = `postgresql:
  host: localhost
  name: authentik
  user: authentik
  port: 5432
  password: "env://POSTGRES_PASSWORD"
  sslmode: disable
  default_schema: public
  read_replicas: {}
listen:
  http: 0.0.0.0:9000
  https: 0.0.0.0:9443
  metrics: 0.0.0.0:9300
debug: false
debugger: false
log_level: info
email:
  host: localhost
  port: 25
  username: ""
  password: ""
  from: authentik@localhost
  template_dir: /templates
cert_discovery_dir: /certs
blueprints_dir: /blueprints
web:
  threads: 4
  path: /
worker:
  processes: 1
  threads: 2
storage:
  backend: file
  file:
    path: ./data
`

func (t *tree) mkdir(name string) {
	if t.err == nil {
		t.err = os.MkdirAll(filepath.Join(t.root, name), 0o755)
	}
}

func (t *tree) file(name, content string, mode fs.FileMode) {
	t.mkdir(filepath.Dir(name))
	if t.err == nil {
		t.err = os.WriteFile(filepath.Join(t.root, name), []byte(content), mode)
	}
}

// link makes a symlink, in place of one that is there already.
func (t *tree) link(name, target string) {
	t.mkdir(filepath.Dir(name))
	if t.err != nil {
		return
	}
	path := filepath.Join(t.root, name)
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		t.err = err
		return
	}
	t.err = os.Symlink(target, path)
}

// program copies a binary. One that may be running keeps its file; the new one takes
// only its name.
func (t *tree) program(name, from string) {
	t.mkdir(filepath.Dir(name))
	if t.err == nil {
		t.err = copyProgram(filepath.Join(t.root, name), from)
	}
}

// copyProgram forks nothing meanwhile: a child that another goroutine starts would hold the
// descriptor for a moment, and who runs the program then gets ETXTBSY (golang/go#22315).
func copyProgram(to, from string) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.CreateTemp(filepath.Dir(to), ".standin-*")
	if err != nil {
		return err
	}
	defer os.Remove(target.Name()) // gone already when all went well
	_, err = io.Copy(target, source)
	if err == nil {
		err = target.Chmod(0o755)
	}
	if closed := target.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	return os.Rename(target.Name(), to)
}
