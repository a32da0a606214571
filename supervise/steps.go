package supervise

import (
	"maps"
	"slices"
	"syscall"
)

// startedStep waits for the step's end, or goes on at once where it runs aside.
func (m *machine) startedStep(s Step, pid int) []order {
	if !s.Aside {
		m.stepPID = pid
		return []order{emit{Started{Command: s.Command, PID: pid, Step: true}}}
	}
	m.asides[pid] = s.Command
	m.code = 0
	return append([]order{emit{Started{Command: s.Command, PID: pid, Aside: true}}}, m.afterStep()...)
}

// afterStep is what comes when the running step is gone: what follows one that went well
// or need not, else the end.
func (m *machine) afterStep() []order {
	switch {
	case m.state == killing:
		return nil
	case m.state == stepping && (m.code == 0 || m.spec.Steps[m.step].Optional || m.spec.Steps[m.step].Aside):
		m.step++
		if m.code = 0; len(m.services) > 0 || m.inStep() {
			return m.startNext()
		}
	}
	return m.sweep()
}

// tellAsides ends what runs beside. Nobody waits for it: what is left of it is swept.
func (m *machine) tellAsides() (orders []order) {
	for _, pid := range slices.Sorted(maps.Keys(m.asides)) {
		orders = append(orders, send{pid, syscall.SIGTERM, false})
	}
	return orders
}

// whole tells whether something runs that has all of the grace period.
func (m *machine) whole() bool {
	return m.stepPID != 0 && m.spec.Steps[m.step].Whole ||
		slices.ContainsFunc(m.services, func(s service) bool { return s.pid != 0 && s.Whole })
}
