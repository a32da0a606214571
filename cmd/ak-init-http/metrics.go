package main

import (
	"net/http"
	"slices"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"ak-init/health"
)

// metrics is the page for Prometheus, made anew of ak-init's status each time.
func metrics(s *source) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(newCollector(s.status))
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{DisableCompression: true}) // it is a few kilobytes
}

// collector turns a status into metrics. Counters begin anew with ak-init.
type collector struct {
	status func() (status, error)

	up, info, uptime, orphans                           *prometheus.Desc
	phase, serviceUp, restarts, exits, rss, count, took *prometheus.Desc
}

func newCollector(status func() (status, error)) *collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("ak_init_"+name, help, labels, nil)
	}
	return &collector{
		status:    status,
		up:        desc("up", "Whether ak-init answers. Where it does not, there is nothing but this."),
		info:      desc("build_info", "Always 1; the labels say which ak-init runs, and as what.", "version", "command"),
		uptime:    desc("uptime_seconds", "Since when ak-init runs its steps and services, until now."),
		orphans:   desc("orphans_reaped_total", "Processes re-parented to ak-init that have ended."),
		phase:     desc("phase", "1 for the phase that the service is in, 0 for every other.", "service", "phase"),
		serviceUp: desc("service_uptime_seconds", "How long the service's main process has been running; 0 while none does.", "service"),
		restarts:  desc("restarts_total", "How often the service has been started again.", "service"),
		exits:     desc("exits_total", "How often the service's main process has ended with this exit code, which is 128+n where signal n ended it.", "service", "code", "signal"),
		rss:       desc("service_resident_memory_bytes", "Resident memory of the service's processes, what they share counted for each.", "service"),
		count:     desc("service_processes", "Processes of the service.", "service"),
		took:      desc("probe_duration_seconds", "How long the service's last probe took.", "service", "probe"),
	}
}

// Describe is a [prometheus.Collector]'s.
func (c *collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.up, c.info, c.uptime, c.orphans, c.phase, c.serviceUp, c.restarts, c.exits, c.rss, c.count, c.took} {
		to <- d
	}
}

// Collect is a [prometheus.Collector]'s.
func (c *collector) Collect(to chan<- prometheus.Metric) {
	put := func(d *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, kind, value, labels...)
	}
	const gauge, counter = prometheus.GaugeValue, prometheus.CounterValue
	s, err := c.status()
	if err != nil {
		put(c.up, gauge, 0)
		return
	}
	put(c.up, gauge, 1)
	put(c.info, gauge, 1, s.Version, s.Command)
	put(c.uptime, gauge, s.UptimeSeconds)
	put(c.orphans, counter, float64(s.OrphansReaped))
	for _, one := range s.Services {
		for _, phase := range phasesWith(one.Phase) {
			put(c.phase, gauge, truth(phase == one.Phase), one.Name, string(phase))
		}
		put(c.serviceUp, gauge, one.UptimeSeconds, one.Name)
		put(c.restarts, counter, float64(one.Restarts), one.Name)
		for _, exit := range one.Exits {
			put(c.exits, counter, float64(exit.Count), one.Name, strconv.Itoa(exit.Code), exit.Signal)
		}
		put(c.rss, gauge, float64(one.RSSKiB*1024), one.Name)
		put(c.count, gauge, float64(one.Processes), one.Name)
		for probe, seconds := range one.ProbeSeconds {
			put(c.took, gauge, seconds, one.Name, probe)
		}
	}
}

// phasesWith are all that there are, and the one that is.
func phasesWith(now health.Phase) []health.Phase {
	all := []health.Phase{
		health.Preparing, health.Waiting, health.Migrating, health.Starting,
		health.Serving, health.Degraded, health.Resting, health.Stopping,
	}
	if !slices.Contains(all, now) {
		all = append(all, now)
	}
	return all
}

// truth is 1 for yes.
func truth(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
