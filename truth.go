package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"ak-init/health"
	"ak-init/logs"
	"ak-init/supervise"
)

// probes are how a service is asked, as it is planned.
func (s servicePlan) probes() health.Probes {
	h := s.Health
	ports := &health.Ports{}
	for _, address := range h.Addresses {
		if n, ok := portOf(address); ok && !slices.Contains(ports.Numbers, n) {
			ports.Numbers = append(ports.Numbers, n)
		}
	}
	family := &health.Family{Backend: s.Drain, Workers: h.isWorkers()}
	look := func(pid int) []health.Process { return familyOf(pid, s.Drain) }
	probes := health.Probes{Live: liveProbe(h), Ready: readyProbe(h)}
	switch {
	case h.Live != "": // it has to answer at its port from the first
		probes.Watch = func(pid int) health.Look {
			all := look(pid)
			return health.Look{Ill: cmp.Or(family.Saw(time.Now(), all), ports.Saw(all))}
		}
		probes.Cause = func(pid int) error {
			peer := health.WaitsFor(look(pid), h.databasePorts)
			if peer == "" {
				return nil
			}
			return fmt.Errorf("it waits for PostgreSQL at %s, which does not answer", peer)
		}
	case h.isWorkers():
		// It works without its health port, which comes late, and is only not ready; so it is
		// without a heartbeat, which stops where its broker is gone.
		probes.Watch = func(pid int) health.Look {
			all := look(pid)
			return health.Look{Ill: family.Saw(time.Now(), all), Unready: cmp.Or(h.ownHeartbeat(all), ports.Saw(all))}
		}
	}
	return probes
}

// familyOf gives a service's family.
func familyOf(pid int, drain string) (all []health.Process) {
	for _, m := range supervise.FamilyOf(pid, drain) {
		all = append(all, health.Process(m))
	}
	return all
}

// ownHeartbeat tells whether the heartbeat is this process': an earlier one may have left the
// file, and not long ago.
func (h healthPlan) ownHeartbeat(all []health.Process) error {
	if h.Heartbeat == "" || len(all) == 0 || health.Heartbeat(h.Heartbeat, all[0].Age) == nil {
		return nil
	}
	return fmt.Errorf("%s is of an earlier run", h.Heartbeat)
}

// turned says how a service's health has changed.
func (l *logger) turned(c health.Change) {
	role, reason := logs.Str("role", c.Service), logs.Str("reason", oneLine(errors.New(c.Reason)))
	switch c.Turn {
	case health.BecameReady:
		l.Info("service ready", role)
	case health.Unready:
		l.Warn("service not ready any more", role, reason)
	case health.Faltered:
		l.Warn("service is not well", role, reason)
	case health.Died:
		l.Error("service is not live: a restart would help", role, reason)
	case health.Recovered:
		l.Info("service answers again", role)
	}
}
