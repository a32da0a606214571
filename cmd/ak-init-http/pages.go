package main

import (
	"fmt"
	"io"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"

	"ak-init/health"
)

// pages are what is served, by path.
type pages map[string]http.Handler

// newPages serves Kubernetes' three questions at the paths that its own components use
// (Kubernetes documentation, "Kubernetes API health endpoints"), two of them at authentik's own
// as well (authentik/root/urls.py, 2026.2), and metrics.
func newPages(socket, webPath string) pages {
	s := &source{socket: socket}
	p := pages{
		"/livez":    question(s, "livez", health.Live),
		"/readyz":   question(s, "readyz", health.Ready),
		"/startupz": question(s, "startupz", health.Started),
		"/metrics":  metrics(s),
	}
	for _, below := range []string{"/", path.Join("/", webPath)} {
		p[path.Join(below, "/-/health/live")+"/"] = question(s, "live", health.Live)
		p[path.Join(below, "/-/health/ready")+"/"] = question(s, "ready", health.Ready)
	}
	return p
}

// ServeHTTP reads no body: none of these questions has one.
func (p pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	page, known := p[r.URL.Path]
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		refuse(w, http.StatusMethodNotAllowed)
	case !known:
		refuse(w, http.StatusNotFound)
	case r.ContentLength != 0:
		refuse(w, http.StatusRequestEntityTooLarge)
	default:
		page.ServeHTTP(w, r)
	}
}

// refuse closes the connection, too: what else was sent is not read.
func refuse(w http.ResponseWriter, code int) {
	w.Header().Set("Connection", "close")
	http.Error(w, http.StatusText(code), code)
}

// question is a page that answers one question for every service.
func question(s *source, name string, q health.Question) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		answers, err := s.answers(q)
		healthy, text := verdict(name, answers, err, query["exclude"])
		code := http.StatusOK
		switch {
		case !healthy:
			code = http.StatusServiceUnavailable
		case !query.Has("verbose"):
			text = "ok"
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.WriteHeader(code)
		_, _ = io.WriteString(w, text) // who does not hear it has gone
	})
}

// verdict is pure: a line for each service in the shape that Kubernetes' components have
// (k8s.io/apiserver, pkg/server/healthz), with the reason where those withhold it.
func verdict(name string, answers []health.Answer, err error, exclude []string) (healthy bool, text string) {
	var page strings.Builder
	healthy = err == nil
	if err != nil {
		fmt.Fprintf(&page, "[-]ak-init failed: %s\n", err)
	}
	unmatched := slices.Clone(exclude)
	for _, a := range answers {
		switch {
		case slices.Contains(exclude, a.Service):
			unmatched = slices.DeleteFunc(unmatched, func(name string) bool { return name == a.Service })
			fmt.Fprintf(&page, "[+]%s excluded: ok\n", a.Service)
		case a.Healthy:
			fmt.Fprintf(&page, "[+]%s ok\n", a.Service)
		default:
			healthy = false
			fmt.Fprintf(&page, "[-]%s failed: %s\n", a.Service, why(a))
		}
	}
	if err == nil && len(unmatched) > 0 {
		for i, name := range unmatched {
			unmatched[i] = strconv.Quote(name)
		}
		fmt.Fprintf(&page, "warn: no service is called %.100s\n", strings.Join(unmatched, ", "))
	}
	outcome := "failed"
	if healthy {
		outcome = "passed"
	}
	fmt.Fprintf(&page, "%s check %s\n", name, outcome)
	return healthy, page.String()
}

// why is a bad answer in words.
func why(a health.Answer) string {
	if a.Reason == "" {
		return string(a.Phase)
	}
	return string(a.Phase) + ": " + a.Reason
}
