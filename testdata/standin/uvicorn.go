package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

// uvicorn plays gunicorn's worker process, which serves Django. TERM, however often
// it comes, lets every request end (tried: a group's TERM arrives twice). Other
// signals than these have their default action, so a HUP or USR2 for the whole
// group ends it and the master starts another (uvicorn/workers.py, init_signals).
func uvicorn(rec *recorder) int {
	signals := notify(syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGUSR1)
	listener, err := inheritedListener()
	if err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		return 3 // gunicorn's code for a worker that failed to boot
	}
	web := &http.Server{Handler: &application{rec: rec}}
	go func() { _ = web.Serve(listener) }() // until drained or closed

	drained := make(chan struct{})
	drain := sync.OnceFunc(func() {
		go func() { // ends with the last request, or with the process
			_ = web.Shutdown(context.Background())
			close(drained)
		}()
	})
	for {
		select {
		case sig := <-signals:
			rec.event("signal %s", signalName(sig))
			switch sig {
			case syscall.SIGTERM:
				drain()
			case syscall.SIGINT, syscall.SIGQUIT:
				_ = web.Close()
				return 0
			}
		case <-drained:
			return 0
		}
	}
}

// application answers like Django: both health questions with yes, "/slow?for=2s"
// after that time, and anything else at once, below any web.path.
type application struct {
	rec *recorder
}

func (a *application) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	if strings.HasSuffix(path, "/-/health/live/") || strings.HasSuffix(path, "/-/health/ready/") {
		if knob("STANDIN_RECORD_HEALTH") {
			a.rec.event("health %s", path)
		}
		return // 200
	}
	a.rec.event("request begin %s", path)
	defer a.rec.event("request end %s", path)
	if !strings.HasSuffix(path, "/slow") {
		_, _ = io.WriteString(w, "hello from stand-in")
		return
	}
	d, err := time.ParseDuration(r.URL.Query().Get("for"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	// Also for a client that has gone: Django's threads are not interrupted.
	time.Sleep(d)
	_, _ = io.WriteString(w, "done")
}
