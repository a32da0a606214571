package supervise

import (
	"syscall"
	"time"
)

// companion is the machine's part that stands beside everything else.
type companion struct {
	// pid is its process, 0 for none.
	pid    int
	record record
}

// companionRestart is how it is started again: without end, for who asks it is not to be
// left without an answer by a fault that may pass, and soon at first, since a probe that
// nobody answers counts against the services.
func companionRestart() Restart {
	return Restart{Policy: Always, Soon: 10 * time.Second, First: time.Second / 4, Max: 30 * time.Second, Healthy: time.Minute}
}

// startCompanion starts it as long as anything else runs, or is about to.
func (m *machine) startCompanion() []order {
	if m.spec.Companion == nil || m.state >= sweeping {
		return nil
	}
	return []order{start{theCompanion, *m.spec.Companion}}
}

func (m *machine) startedCompanion(pid int) []order {
	m.companion.pid = pid
	return []order{emit{Started{Command: *m.spec.Companion, PID: pid, Aside: true}}}
}

// endedCompanion starts it again by and by, unless it was told to end.
func (m *machine) endedCompanion(event Exited) []order {
	m.companion.pid = 0
	event.Command = *m.spec.Companion // whose code counts as 0
	event.Asked, event.Aside = m.state >= sweeping, true
	return append([]order{emit{event}}, m.restCompanion(event.Uptime)...)
}

func (m *machine) restCompanion(uptime time.Duration) []order {
	if m.state >= sweeping {
		return nil
	}
	after, _ := m.companion.record.ended(companionRestart(), uptime, m.jitter()) // without a limit
	return []order{
		emit{RestartScheduled{Command: *m.spec.Companion, After: after, Quick: m.companion.record.quick, Aside: true}},
		setTimer{timer{restOver, theCompanion}, after},
	}
}

func (m *machine) tellCompanion() []order {
	if m.companion.pid == 0 {
		return nil
	}
	return []order{send{m.companion.pid, syscall.SIGTERM, false}}
}
