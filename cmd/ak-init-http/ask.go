package main

import (
	"encoding/json"
	"time"

	"golang.org/x/sync/singleflight"

	"ak-init/health"
)

const (
	// askTimeout is how long ak-init may take to answer a question. It takes
	// [health.AnswerTimeout] at most itself, and Kubernetes gives a probe 1 s unless told otherwise.
	askTimeout = health.AnswerTimeout + 100*time.Millisecond
	// statusTimeout is the same for its status. Prometheus gives a scrape 10 s.
	statusTimeout = 2 * time.Second
)

// source asks ak-init. Who asks while the same question is on its way shares the answer:
// however many askers there are, there are at most four questions at a time.
type source struct {
	socket string
	asking singleflight.Group
}

func (s *source) answers(q health.Question) ([]health.Answer, error) {
	answers, err, _ := s.asking.Do(string(q), func() (any, error) { return health.Ask(s.socket, q, askTimeout) })
	if err != nil {
		return nil, err
	}
	return answers.([]health.Answer), nil //nolint:forcetypeassert // it is what was put in
}

// status is what of ak-init's status is shown as metrics.
type status struct {
	Version       string          `json:"version"`
	Command       string          `json:"command"`
	UptimeSeconds float64         `json:"uptime_seconds"`
	OrphansReaped int             `json:"orphans_reaped"`
	Services      []serviceStatus `json:"services"`
}

type serviceStatus struct {
	Name          string       `json:"name"`
	Phase         health.Phase `json:"phase"`
	UptimeSeconds float64      `json:"uptime_seconds"`
	Restarts      int          `json:"restarts"`
	// RSSKiB is the resident memory of its Processes, each for itself.
	RSSKiB    int64       `json:"rss_kib"`
	Processes int         `json:"processes"`
	Exits     []exitCount `json:"exits"`
	// ProbeSeconds is how long each of its probes took last, by the probe's name.
	ProbeSeconds map[string]float64 `json:"probe_seconds"`
}

type exitCount struct {
	Code   int    `json:"exit_code"`
	Signal string `json:"signal"`
	Count  int    `json:"count"`
}

func (s *source) status() (status, error) {
	got, err, _ := s.asking.Do("status", func() (any, error) {
		var found status
		line, err := health.AskStatus(s.socket, statusTimeout)
		if err == nil {
			err = json.Unmarshal(line, &found)
		}
		return found, err
	})
	return got.(status), err //nolint:forcetypeassert // it is what was put in
}
