package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Roles, as they appear in records and events. Those of the two child processes
// are named after the libraries that run them, so that "gunicorn-*.json" and
// "worker-*.json" match main processes only.
const (
	roleServer      = "server"
	roleHealthcheck = "server-healthcheck"
	roleGunicorn    = "gunicorn"
	roleUvicorn     = "uvicorn"  // gunicorn's worker process
	roleWorker      = "worker"   // dramatiq's main process
	roleDramatiq    = "dramatiq" // dramatiq's worker process
	roleBootstrap   = "bootstrap"
	roleRust        = "rust"        // the binary in Rust
	roleRustWorker  = "rust-worker" // its child in Python
	roleRustServer  = "rust-gunicorn"
	rolePython      = "python"  // any other call of python
	roleVersion     = "version" // authentik or gunicorn with --version
	roleMisuse      = "misuse"  // arguments or a name that the real program refuses
)

// childVariable tells a process that stands for a fork which role it plays.
const childVariable = "STANDIN_CHILD"

func main() {
	role := roleOf(filepath.Base(os.Args[0]), os.Args[1:])
	rec := &recorder{dir: os.Getenv("STANDIN_RECORD"), role: role}
	rec.started()
	code := play(role, rec)
	rec.event("exit %d", code)
	os.Exit(code)
}

// roleOf decides by name and arguments which part is played.
func roleOf(name string, args []string) string {
	if child := os.Getenv(childVariable); child != "" {
		return child
	}
	first := ""
	if len(args) > 0 {
		first = args[0]
	}
	switch {
	case strings.HasPrefix(name, "python"):
		return pythonRole(args)
	case first == "--version" || first == "-v":
		return roleVersion
	case (name == "authentik" || name == "authentik-server") && len(args) == 0:
		return roleServer
	case name == "authentik" && (first == "server" || first == "worker") && len(args) == 1:
		return roleRust
	case name == "authentik" && first == "healthcheck":
		return roleHealthcheck
	case name == "gunicorn" && first == "--bind":
		return roleRustServer
	case name == "gunicorn":
		return roleGunicorn
	}
	return roleMisuse
}

// pythonRole knows the two management commands that lifecycle/ak starts, and what Rust does.
func pythonRole(args []string) string {
	if len(args) == 4 && slices.Equal(args[:2], []string{"-m", "lifecycle.worker_process"}) {
		return roleRustWorker
	}
	if len(args) < 3 || !slices.Equal(args[:2], []string{"-m", "manage"}) {
		return rolePython
	}
	switch args[2] {
	case "worker":
		return roleWorker
	case "apply_blueprint":
		return roleBootstrap
	}
	return rolePython
}

func play(role string, rec *recorder) int {
	args := os.Args[1:]
	switch role {
	case roleServer:
		return serve(rec)
	case roleHealthcheck:
		return healthcheck(args[1:])
	case roleGunicorn:
		return gunicorn(rec, args)
	case roleUvicorn:
		return uvicorn(rec)
	case roleWorker:
		return worker(rec, args)
	case roleDramatiq:
		return dramatiq(rec)
	case roleRust:
		return rust(rec, args[0])
	case roleRustWorker:
		return rustChild(rec, syscall.SIGUSR2)
	case roleRustServer:
		return rustChild(rec, syscall.SIGUSR1)
	case roleBootstrap:
		time.Sleep(knobDuration("STANDIN_BOOTSTRAP_DELAY"))
		code, _ := knobCode("STANDIN_BOOTSTRAP_EXIT")
		return code
	case rolePython:
		return python(rec, args)
	case roleVersion:
		return version(filepath.Base(os.Args[0]))
	}
	return refuse(args)
}

// python answers the one question that lifecycle/ak asks of the configuration, and plays
// the migrations.
func python(rec *recorder, args []string) int {
	if slices.Equal(args, []string{"-m", "lifecycle.migrate"}) {
		if knob("STANDIN_MIGRATE_DEAF") {
			signals := notify(syscall.SIGTERM)
			rec.event("deaf")
			go func() { // for good
				for sig := range signals {
					rec.event("signal %s", signalName(sig))
				}
			}()
		}
		time.Sleep(knobDuration("STANDIN_MIGRATE_DELAY"))
		code, _ := knobCode("STANDIN_MIGRATE_EXIT")
		return code
	}
	if slices.Equal(args, []string{"-m", "authentik.lib.config", "debugger"}) {
		fmt.Println("False")
	}
	return 0
}

// version prints what cobra (cmd/server/server.go) and gunicorn print.
func version(name string) int {
	if name != roleGunicorn {
		fmt.Println("authentik version 2026.2.2")
		return 0
	}
	if code, set := knobCode("STANDIN_GUNICORN_EXIT"); set {
		return code
	}
	fmt.Println("gunicorn (version 25.0.3)")
	return 0
}

// refuse is cobra's answer to an argument it does not know; cmd/server/main.go
// makes it exit code 1.
func refuse(args []string) int {
	switch {
	case len(args) == 0:
		fmt.Fprintf(os.Stderr, "stand-in: cannot play %q, only authentik, gunicorn and python\n", os.Args[0])
	case strings.HasPrefix(args[0], "-"):
		fmt.Fprintf(os.Stderr, "Error: unknown flag: %s\n", args[0])
	default:
		fmt.Fprintf(os.Stderr, "Error: unknown command %q for \"authentik\"\n", args[0])
	}
	return 1
}
