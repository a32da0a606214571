package main

import (
	"fmt"
	"net"
	"os"
	"time"

	"ak-init/health"
	"ak-init/logs"
	"ak-init/supervise"
)

// launch runs the services until they end, answering those who ask meanwhile, and gives
// the exit code.
func launch(p plan, ready *prepared, caught *supervise.Signals, log *logger, course *course) int {
	defer ready.finish()
	ledger := newLedger(p, course)
	course.ask = ledger.answer
	ended := make(chan struct{})
	defer close(ended)
	go course.manager.watchdog(ledger.answer, ended)
	if ready.claim != nil {
		if listener, err := listen(p.Socket); err != nil {
			log.Warn("health socket failed", logs.Str("path", p.Socket), logs.Str("error", err.Error()))
		} else {
			defer func() { _ = listener.Close() }()
			room := &roomWatch{dir: p.TempDir.Path, log: log}
			desk := health.Desk{Status: ledger.status, Answer: func(q health.Question) []health.Answer {
				if p.Command != "run" { // of which nothing is known
					room.asked(time.Now())
				}
				return ledger.answer(q)
			}}
			go health.Serve(listener, os.Geteuid(), desk) // ends when the listener is closed
		}
	}
	return supervise.Run(p.spec(), caught, func(e supervise.Event) {
		ledger.event(e)
		log.event(e)
		course.event(e)
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

func liveProbe(h healthPlan) health.Probe {
	if h.Live == "" {
		// supervise knows first whether the process lives.
		return func() error { return nil }
	}
	return func() error { return health.HTTP(h.Addresses, h.Live, health.ProbeTimeout) }
}

func readyProbe(h healthPlan) health.Probe {
	return func() error {
		if h.PIDFile != "" {
			if _, err := health.PIDFile(h.PIDFile); err != nil {
				return fmt.Errorf("no pid file yet: %w", err)
			}
		}
		if h.Ready == "" {
			return nil // it runs, and nothing else is known of it
		}
		return health.HTTP(h.Addresses, h.Ready, health.ProbeTimeout)
	}
}
