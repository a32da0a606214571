package main

import (
	"fmt"
	"net"
	"os"

	"ak-init/health"
	"ak-init/supervise"
)

// launch runs the service until it ends, answering health checks meanwhile, and gives
// the exit code.
func launch(p plan, ready *prepared, caught *supervise.Signals, log *logger) int {
	defer ready.finish()
	monitor := health.NewMonitor(p.verb.Name, liveProbe(p), readyProbe(p))
	listener, err := listen(p.Health.Socket)
	if err != nil {
		log.warn("health socket failed", str("path", p.Health.Socket), str("error", err.Error()))
	} else {
		defer func() { _ = listener.Close() }()
		go health.Serve(listener, os.Geteuid(), monitor.Answer) // ends when the listener is closed
	}
	return supervise.Run(p.spec(), caught, func(e supervise.Event) {
		switch e := e.(type) {
		case supervise.Started:
			if !e.Step {
				monitor.Running()
			}
		case supervise.Exited:
			if !e.Step {
				monitor.Ended()
			}
		case supervise.StopBegun:
			monitor.Stopping()
		}
		log.event(e)
	})
}

// listen binds the health socket. The directory is claimed, so a socket that lies
// there is nobody's.
func listen(path string) (*net.UnixListener, error) {
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	return net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
}

func liveProbe(p plan) health.Probe {
	if p.Health.Live == "" {
		// supervise knows first whether the process lives.
		return func() error { return nil }
	}
	return func() error { return health.HTTP(p.Health.Addresses, p.Health.Live, health.ProbeTimeout) }
}

func readyProbe(p plan) health.Probe {
	return func() error {
		if p.Health.PIDFile != "" {
			if _, err := health.PIDFile(p.Health.PIDFile); err != nil {
				return fmt.Errorf("no pid file yet: %w", err)
			}
		}
		return health.HTTP(p.Health.Addresses, p.Health.Ready, health.ProbeTimeout)
	}
}
