package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	loggerRoot     = "authentik.root"
	loggerRouter   = "authentik.router"
	loggerUnicorn  = "authentik.router.unicorn"
	loggerDramatiq = "dramatiq.MainProcess"
)

// server is authentik's Go program (cmd/server/server.go, internal/web/web.go).
type server struct {
	rec     *recorder
	webPath string
	// upstream speaks to gunicorn, whatever host a URL names.
	upstream *http.Transport
	// alive is set by the backend's first answer and never cleared: a backend
	// that ends later is not missed (internal/gounicorn/gounicorn.go).
	alive atomic.Bool
}

// serve plays the server until a signal ends it; only its own port may fail.
func serve(rec *recorder) int {
	// internal/config/config.go, from 2025.10 on, errors ignored as there.
	if workspace := os.Getenv("WORKSPACE_DIR"); workspace != "" {
		_ = os.Chdir(workspace)
	}
	stop := notify(syscall.SIGTERM, syscall.SIGINT)
	s := &server{rec: rec, webPath: webPath(), upstream: unixTransport(socketPath())}
	backend := newBackend(rec)
	writeKeys()

	// These live until the process ends.
	go backend.obey(notify(syscall.SIGHUP, syscall.SIGUSR2))
	go backend.keepRunning(s.alive.Load)
	go s.listen()
	healthy := make(chan struct{})
	go s.pollUntilAlive(healthy)

	code, leaves := knobCode("STANDIN_SERVER_EXIT")
	if knob("STANDIN_SERVER_HOG") {
		go hog(healthy)
		leaves = false
	}
	if !leaves {
		healthy = nil
	}
	select {
	case sig := <-stop:
		// The real one starts its shutdown in a goroutine and returns from main at
		// once (cmd/server/server.go). Whether gunicorn is still sent its TERM and
		// the key files are removed is a race; it was lost each time that a real
		// binary was tried. Requests are cut: nothing waits for them.
		rec.event("signal %s", signalName(sig))
		logLine("info", loggerRoot, "shutting down webserver", nil)
		return 0
	case <-healthy:
		return code
	}
}

// socketPath is where gunicorn listens (lifecycle/gunicorn.conf.py). Python would
// choose another directory if this one is not writable.
func socketPath() string {
	return filepath.Join(os.TempDir(), "authentik-core.sock")
}

func unixTransport(socket string) *http.Transport {
	return &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var dialer net.Dialer
			return dialer.DialContext(ctx, "unix", socket)
		},
	}
}

// writeKeys leaves the two secrets that Python shares; a failure is a warning, and
// the second is not tried then (prepareKeys in internal/web/web.go).
func writeKeys() {
	for _, key := range []string{"metrics", "ipc"} {
		secret := make([]byte, 64)
		_, _ = rand.Read(secret) // never fails
		text := base64.StdEncoding.EncodeToString(secret)
		path := filepath.Join(os.TempDir(), "authentik-core-"+key+".key")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			logLine("warning", loggerRouter, "failed to save "+key+" key", err)
			return
		}
	}
}

// listen serves HTTP. Without its port the process keeps running (listenPlain in
// internal/web/web.go).
func (s *server) listen() {
	listener, err := net.Listen("tcp", listenHTTP())
	if err != nil {
		logLine("warning", loggerRouter, "failed to listen", err)
		return
	}
	s.rec.event("listening %s", listener.Addr())
	logLine("info", loggerRouter, "Starting HTTP server", nil)
	web := &http.Server{
		Handler: s.routes(),
		// web.timeout_http_* in authentik/lib/default.yml, new in 2026.2.
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       120 * time.Second,
	}
	err = web.Serve(listener)
	logLine("error", loggerRouter, "ERROR: http.Serve()", err)
}

// pollUntilAlive asks the backend until it has answered once.
func (s *server) pollUntilAlive(alive chan<- struct{}) {
	// The real one asks each second, first after one.
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for range ticker.C {
		if s.backendLives() {
			s.alive.Store(true)
			s.rec.event("alive")
			close(alive)
			return
		}
	}
}

// hog takes memory, and writes to it, until it is killed.
func hog(healthy <-chan struct{}) {
	<-healthy
	for all := [][]byte(nil); ; {
		page := make([]byte, 1<<20)
		for i := range page {
			page[i] = byte(len(all))
		}
		all = append(all, page)
	}
}
