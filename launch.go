package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ak-init/health"
	"ak-init/logs"
	"ak-init/prepare"
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
			go health.Serve(listener, p.askers(ready.claim, log), desk) // ends when the listener is closed
		}
	}
	return supervise.Run(p.spec(), caught, func(e supervise.Event) {
		ledger.event(e)
		log.event(e)
		course.event(e)
	})
}

// askers are the uids that may ask: ours, and the companion's.
func (p *plan) askers(claim *prepare.Claim, log *logger) []int {
	uids := []int{os.Geteuid()}
	if p.Companion == nil || !p.drops {
		return uids
	}
	if err := claim.LetIn(socketName); err != nil {
		log.Warn("the children cannot ask at the health socket", logs.Str("path", p.Socket), logs.Str("error", err.Error()))
	}
	return append(uids, p.Identity.UID)
}

// listen binds the health socket, for ourselves and root. The directory is claimed, so a
// socket that lies there is nobody's.
func listen(path string) (*net.UnixListener, error) {
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	// bind gives the file the mode of the socket (net/unix/af_unix.c, unix_bind_bsd): no moment
	// passes in which it has another, and no path is followed twice.
	closed := net.ListenConfig{Control: func(_, _ string, conn syscall.RawConn) error {
		return conn.Control(func(fd uintptr) { _ = unix.Fchmod(int(fd), 0o600) }) // its directory is closed anyway
	}}
	listener, err := closed.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err
	}
	return listener.(*net.UnixListener), nil
}

// liveProbe asks whether anybody answers, whatever the answer is. Without its database Django has
// nothing but 500 for every question, this one included (authentik/tenants/middleware.py), and
// the Go server makes that 502, which it also gives where gunicorn is dead: gunicorn is asked
// then. One that has been started again waits for the database, and migrates, before it binds its
// socket (lifecycle/gunicorn.conf.py): it is no deader than the first one was then.
func liveProbe(h healthPlan) health.Probe {
	if h.Live == "" {
		// supervise knows first whether the process lives.
		return func() error { return nil }
	}
	return func() error {
		deadline := time.Now().Add(health.ProbeTimeout)
		err := health.HTTP(h.Addresses, h.Live, health.ProbeTimeout)
		if unanswered(err) != nil || h.LiveSocket == "" || err == nil && !h.liveAlone {
			return unanswered(err)
		}
		err = health.HTTP([]string{h.LiveSocket}, h.Live, time.Until(deadline))
		if (errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.ENOENT)) && !health.Bound(h.LiveSocket) {
			return nil // whether a gunicorn boots behind the server is seen otherwise
		}
		return unanswered(err)
	}
}

// unanswered leaves of what a probe has met that there was no answer.
func unanswered(err error) error {
	if _, answered := errors.AsType[*health.RefusedError](err); answered {
		return nil
	}
	return err
}

func readyProbe(h healthPlan) health.Probe {
	return func() error {
		if h.PIDFile != "" {
			if _, err := health.PIDFile(h.PIDFile); err != nil {
				return fmt.Errorf("no pid file yet: %w", err)
			}
		}
		if h.Heartbeat != "" {
			if err := health.Heartbeat(h.Heartbeat, h.heartbeatAge); err != nil {
				return fmt.Errorf("no heartbeat: %w", err)
			}
		}
		if h.Ready == "" {
			return nil // it runs, and nothing else is known of it
		}
		return health.HTTP(h.Addresses, h.Ready, health.ProbeTimeout)
	}
}
