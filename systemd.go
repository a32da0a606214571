package main

import (
	"errors"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"ak-init/health"
	"ak-init/logs"
	"ak-init/notify"
)

// manager tells the service manager that started us how it goes, where there is one that
// listens (systemd, Type=notify; Podman, --sdnotify=container). Messages are sent by a
// goroutine of its own: nobody waits for a manager that is busy. A nil one tells nobody.
type manager struct {
	messages chan []string
	// tell sends one message.
	tell func(lines ...string) error
	// over is closed when there are no more, sent when all of them have been sent.
	over, sent chan struct{}
	// interval is half the time within which it wants to hear that we are live, 0 for never.
	interval time.Duration

	mu sync.Mutex
	// last is the state that it was told last.
	last string
	// ready and alive are owed: they go out with the next message, and ready with each until one
	// has been taken, since a service that has not said so is ended after a while.
	ready, alive bool
}

// unsent is how many messages wait for a busy manager; what is more is dropped.
const unsent = 64

// newManager gives nil where nobody listens, or what runs is for a person, or a program of the
// user's own, which may want to speak for itself.
func newManager(o options, log *logger) *manager {
	socket := o.env[notify.SocketVariable]
	if socket == "" || o.dryRun || !slices.Contains([]string{"server", "worker", "all", "migrate"}, o.command) {
		return nil
	}
	m := &manager{messages: make(chan []string, unsent), over: make(chan struct{}), sent: make(chan struct{})}
	m.tell = func(lines ...string) error { return notify.Send(socket, lines...) }
	within, err := notify.Interval(o.env[notify.IntervalVariable], o.env[notify.WatchedVariable], os.Getpid())
	if err != nil {
		log.Warn("the service manager's watchdog is left alone", logs.Str("error", err.Error()))
	}
	m.interval = within / 2 // as sd_watchdog_enabled(3) wants it
	go m.send(log)          // ends by close
	m.state(string(health.Preparing), 3*stillEvery)
	return m
}

// send sends what is said. What cannot be sent is worth one warning.
func (m *manager) send(log *logger) {
	defer close(m.sent)
	warned := false
	for {
		select {
		case lines := <-m.messages:
			if err := m.pass(lines); err != nil && !warned {
				warned = true
				log.Warn("the service manager cannot be told how it goes", logs.Str("error", err.Error()))
			}
		case <-m.over:
			for len(m.messages) > 0 {
				_ = m.pass(<-m.messages) // the log may be closed by now
			}
			return
		}
	}
}

// pass sends a message, and what is owed with it.
func (m *manager) pass(lines []string) error {
	m.mu.Lock()
	ready := m.ready
	if ready {
		lines = append(lines, notify.Ready)
	}
	if m.alive {
		lines = append(lines, notify.Alive)
	}
	m.alive = false
	m.mu.Unlock()
	if len(lines) == 0 {
		return nil
	}
	err := m.tell(lines...)
	switch {
	case !ready:
	case err == nil:
		m.mu.Lock()
		m.ready = false
		m.mu.Unlock()
	case errors.Is(err, unix.EAGAIN) && len(m.messages) == 0:
		m.say() // its queue was full for long, and nothing else will be said
	}
	return err
}

// owe has something said soon, and once, however often it is owed until then.
func (m *manager) owe(what *bool) {
	m.mu.Lock()
	waits := *what
	*what = true
	m.mu.Unlock()
	if !waits {
		m.say() // there is something to send
	}
}

// sayReady says that all services have been ready.
func (m *manager) sayReady() {
	if m != nil {
		m.owe(&m.ready)
	}
}

// say sends a message. It never waits.
func (m *manager) say(lines ...string) {
	if m == nil {
		return
	}
	select {
	case m.messages <- lines:
	default:
	}
}

// state says where everything is, if that is news, and asks for so much more time.
func (m *manager) state(text string, more time.Duration) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if text == m.last {
		return
	}
	m.last = text
	lines := []string{notify.Status(text)}
	if more > 0 {
		lines = append(lines, notify.Extend(more))
	}
	m.say(lines...)
}

// extend asks for so much more time.
func (m *manager) extend(more time.Duration) { m.say(notify.Extend(more)) }

// watchdog says every now and then that we are live, while we are, until stop is closed.
func (m *manager) watchdog(ask func(health.Question) []health.Answer, stop <-chan struct{}) {
	if m == nil || m.interval <= 0 {
		return
	}
	tick := time.NewTicker(m.interval)
	defer tick.Stop()
	for {
		if live(ask(health.Live)) {
			m.owe(&m.alive)
		}
		select {
		case <-tick.C:
		case <-stop:
			return
		}
	}
}

func live(answers []health.Answer) bool {
	return !slices.ContainsFunc(answers, func(a health.Answer) bool { return !a.Healthy })
}

// close sends what is left, for a second at most.
func (m *manager) close() {
	if m == nil {
		return
	}
	close(m.over)
	select {
	case <-m.sent:
	case <-time.After(time.Second):
	}
}
