package main

import (
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// rust plays "authentik worker" from 2026.5 and "authentik server" from 2026.8 on, as far as an
// init sees them (src/worker/mod.rs and packages/ak-common/src/arbiter.rs on the branch of April
// 2026; goauthentik/authentik#24320 for the server). It is a stand-in in Go: one child, no ports,
// no database.
//
//   - Its child tells it by USR2 (worker) or USR1 (server) that it is ready, by getppid.
//   - Health is answered at authentik.sock in TMPDIR: 503 until then, 200 afterwards.
//   - TERM is handed on to the child, and its end waited for; INT, QUIT and HUP likewise, as INT.
//   - A child that ends by itself ends it with code 1 (the real one looks each 5 s).
func rust(rec *recorder, mode string) int {
	signals := notify(syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP,
		syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH)
	// Without the newline of the script's.
	_ = os.WriteFile(filepath.Join(os.TempDir(), "authentik-mode"), []byte(mode), 0o644)
	argv, ready := []string{"python", "-m", "lifecycle.worker_process", "1000", filepath.Join(os.TempDir(), "authentik-worker-1000.sock")}, syscall.SIGUSR2
	if mode == "server" {
		argv, ready = []string{
			"gunicorn", "--bind", "unix://" + filepath.Join(os.TempDir(), "authentik-gunicorn.sock"),
			"-c", "./lifecycle/gunicorn.conf.py", "authentik.root.asgi:application",
		}, syscall.SIGUSR1
	}
	child := exec.Command(argv[0], argv[1:]...)
	child.Stdout, child.Stderr = os.Stdout, os.Stderr
	if err := child.Start(); err != nil {
		logLine("error", loggerRoot, "cannot start "+argv[0], err)
		return 1
	}
	ended := make(chan error, 1)
	go func() { ended <- child.Wait() }()
	var isReady atomic.Bool
	health, err := serveRust(rec, &isReady)
	if err != nil {
		logLine("error", loggerRoot, "cannot listen", err)
		return 1
	}
	defer health.Close()
	for stopping := false; ; {
		select {
		case sig := <-signals:
			rec.event("signal %s", signalName(sig))
			switch sig {
			case ready:
				isReady.Store(true)
			case syscall.SIGTERM:
				stopping = true
				_ = child.Process.Signal(sig)
			case syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP:
				stopping = true
				_ = child.Process.Signal(syscall.SIGINT)
			}
		case err := <-ended:
			if stopping {
				return 0
			}
			logLine("error", loggerRoot, "one or more workers have exited unexpectedly", err)
			return 1
		}
	}
}

// serveRust answers at the socket, which is removed before (packages/ak-axum/src/server.rs). A
// path that is not known is answered as the real worker does.
func serveRust(rec *recorder, ready *atomic.Bool) (*http.Server, error) {
	socket := filepath.Join(os.TempDir(), "authentik.sock")
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return nil, err
	}
	health := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec.event("health %s", r.URL.Path)
		if strings.HasPrefix(r.URL.Path, "/-/health/") && !ready.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})}
	go func() { _ = health.Serve(listener) }() // until closed
	return health, nil
}

// rustChild plays what Rust starts: "python -m lifecycle.worker_process", or gunicorn with --bind.
// It tells whoever is its parent that it is ready, and ends at the first TERM or INT.
func rustChild(rec *recorder, ready syscall.Signal) int {
	signals := notify(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT)
	time.Sleep(knobDuration("STANDIN_RUST_DELAY"))
	rec.event("ready to %d", os.Getppid())
	_ = syscall.Kill(os.Getppid(), ready)
	rec.event("signal %s", signalName(<-signals))
	time.Sleep(dramatiqPause) // in which a second one would come
	select {
	case sig := <-signals:
		rec.event("signal %s", signalName(sig))
		return 1
	default:
		return 0
	}
}
