package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"

	"ak-init/health"
)

// healthReport is what healthcheck prints as JSON. Its names stay the same from version to
// version.
type healthReport struct {
	Healthy  bool            `json:"healthy"`
	Question health.Question `json:"question"`
	// Phase is that of the first service that is not ready.
	Phase    health.Phase    `json:"phase"`
	Services []serviceHealth `json:"services"`
}

type serviceHealth struct {
	Name    string       `json:"name"`
	Phase   health.Phase `json:"phase"`
	Healthy bool         `json:"healthy"`
	// Reason is empty where all is well.
	Reason string `json:"reason"`
}

// reportHealth prints the answers, a line for each on stderr or all as one object on stdout,
// and gives the exit code.
func reportHealth(o options, answers []health.Answer, stdout, stderr io.Writer) int {
	r := reportOf(o.question, answers)
	if o.output == "json" {
		line, _ := json.Marshal(r) // nothing in there can fail
		_, _ = stdout.Write(append(line, '\n'))
	} else {
		for _, s := range r.Services {
			word := "healthy"
			if !s.Healthy {
				word = "unhealthy"
			}
			_, _ = fmt.Fprintf(stderr, "%s: %s\n", word, health.Answer{Service: s.Name, Phase: s.Phase, Reason: s.Reason})
		}
	}
	if !r.Healthy {
		return exitUnhealthy
	}
	return exitHealthy
}

// reportOf is pure. All services have to be healthy.
func reportOf(q health.Question, answers []health.Answer) healthReport {
	r := healthReport{Healthy: true, Question: q, Phase: health.Serving, Services: []serviceHealth{}}
	for _, a := range answers {
		s := serviceHealth{Name: clean(a.Service), Phase: health.Phase(clean(string(a.Phase))), Healthy: a.Healthy, Reason: clean(a.Reason)}
		r.Healthy = r.Healthy && s.Healthy
		if r.Phase == health.Serving {
			r.Phase = s.Phase
		}
		r.Services = append(r.Services, s)
	}
	return r
}

// maxSaid bounds what a file or a setting adds to a line. Docker keeps 4 KB of what a check says
// (daemon/health.go, maxOutputLen).
const maxSaid = 1024

// clean makes part of one line of a text that may hold what a file or a setting does.
func clean(text string) string { return printable(text[:min(len(text), maxSaid)]) }

// printable takes from a text what would move a terminal's cursor, or change its state.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
}
