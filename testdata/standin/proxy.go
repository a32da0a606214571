package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
)

// backendURL is the address in requests to gunicorn; only its socket is real
// (internal/web/web.go).
const backendURL = "http://localhost:8000"

// errStarting is the answer to everything before the backend's first own answer.
var errStarting = errors.New("authentik starting")

// routes is what port 9000 answers (internal/web/proxy.go). The live question is
// put to the backend each time, from 2025.10.4 on; before, it is answered with 200 always.
func (s *server) routes() http.Handler {
	target, err := url.Parse(backendURL)
	if err != nil {
		panic(fmt.Errorf("internal error: %w", err))
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.SetXForwarded()
			r.Out.Host = r.In.Host
		},
		Transport:    s.upstream,
		ErrorHandler: proxyError,
	}
	mux := http.NewServeMux()
	mux.HandleFunc(s.webPath+"-/health/live/{$}", func(w http.ResponseWriter, _ *http.Request) {
		if knob("STANDIN_LIVE_ALONE") || s.backendLives() {
			w.WriteHeader(http.StatusOK)
		} else {
			w.WriteHeader(http.StatusBadGateway)
		}
	})
	mux.HandleFunc(s.webPath, func(w http.ResponseWriter, r *http.Request) {
		if !s.alive.Load() {
			proxyError(w, r, errStarting)
			return
		}
		proxy.ServeHTTP(w, r)
	})
	if s.webPath != "/" {
		mux.Handle("/{$}", http.RedirectHandler(s.webPath, http.StatusFound))
	}
	return mux
}

// backendLives asks gunicorn's live endpoint; any 2xx is yes.
func (s *server) backendLives() bool {
	client := http.Client{Transport: s.upstream}
	response, err := client.Get(backendURL + s.webPath + "-/health/live/")
	if err != nil {
		return false
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body) // so that the connection is used again
	return response.StatusCode >= 200 && response.StatusCode < 300
}

// proxyError answers in plain text only; the real one also has JSON and a page.
func proxyError(w http.ResponseWriter, _ *http.Request, err error) {
	w.Header().Set("Content-Type", "text/plain")
	if errors.Is(err, errStarting) {
		w.Header().Set("Retry-After", "5")
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, err.Error())
		return
	}
	logLine("warning", loggerRouter, "failed to proxy to backend", err)
	w.WriteHeader(http.StatusBadGateway)
	_, _ = fmt.Fprintf(w, "failed to connect to authentik backend: %v", err)
}
