package supervise

import (
	"bufio"
	_ "embed"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// actor is a service that behaves badly.
//
//go:embed testdata/actor.py
var actor string

// writtenLife is a process as its actor wrote it down.
type writtenLife struct {
	role   string
	ended  bool
	status syscall.WaitStatus
}

// reaping is the end of a process as the init saw it.
type reaping struct {
	happening
	// stopping: the stop had begun.
	stopping bool
}

func (r reaping) ours() bool { return r.kind == "Exited" }

// killed tells whether it ended by what an init sends. What may have that before the stop
// is who stays in the process group of a service that has ended.
func (r reaping) killed(near bool) bool {
	sig := r.status.Signal()
	return r.status.Signaled() && (sig == syscall.SIGTERM || sig == syscall.SIGKILL) && (r.stopping || near)
}

func (r reaping) is(life writtenLife) bool {
	return r.ours() == (life.role == "service") &&
		(life.ended && r.status == life.status || r.killed(life.role == "near"))
}

// unwritten: it ended before it could write anything. The main child may have had a signal
// that it was not yet ready for.
func (r reaping) unwritten() bool {
	return r.killed(!r.ours()) || r.ours() && r.service == "0" && r.status.Signaled()
}

// agree tells whether each life of one pid was reaped, as it was written down, in order.
func agree(reaped []reaping, lives []writtenLife) bool {
	switch {
	case len(reaped) == 0:
		return len(lives) == 0
	case len(lives) > 0 && reaped[0].is(lives[0]) && agree(reaped[1:], lives[1:]):
		return true
	default:
		return reaped[0].unwritten() && agree(reaped[1:], lives)
	}
}

// stress is an init under stress.
type stress struct {
	*underInit
	reaped            map[int][]reaping
	running           map[string]int
	services, orphans int
	stopping          bool
}

// For a while (AK_STRESS, such as 60s) services start, end, leave orphans, are stopped and
// stop themselves at random (AK_STRESS_SEED), and signals rain on the init. Whatever
// happens each process is reaped once, as what it was, with the status that it had.
func TestStress(t *testing.T) {
	seed, lasts := uint64(time.Now().UnixNano()%1e9), 3*time.Second
	var err, err2 error
	if text := os.Getenv("AK_STRESS_SEED"); text != "" {
		seed, err = strconv.ParseUint(text, 10, 32)
	}
	if text := os.Getenv("AK_STRESS"); text != "" {
		lasts, err2 = time.ParseDuration(text)
	}
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	for way, wrap := range ways() {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			t.Logf("AK_STRESS_SEED=%d AK_STRESS=%s", seed, lasts)
			spec := initSpec{Lasts: lasts, Spec: Spec{
				Grace:   2 * time.Second,
				Restart: Restart{Policy: Always, First: time.Millisecond, Max: 20 * time.Millisecond, Healthy: 10 * time.Millisecond},
			}}
			program := python(t)
			for n := range 20 {
				argv := []string{program, "-ISc", actor, strconv.Itoa(n), strconv.FormatUint(seed, 10)}
				spec.Services = append(spec.Services, Service{Command: Command{Name: argv[3], Path: program, Argv: argv}})
			}
			s := &stress{underInit: startSpec(t, wrap(t), spec), reaped: map[int][]reaping{}, running: map[string]int{}}
			s.read("Started") // so that there is an init to signal
			init, err := os.FindProcess(s.pid())
			if err != nil {
				t.Fatal(err)
			}
			rained := make(chan int)
			go func() { rained <- rain(init, rand.New(rand.NewPCG(seed, 0)), lasts) }()
			s.read("")
			code := s.end()
			t.Logf("%d runs of services, %d orphans, %d signals, exit code %d", s.services, s.orphans, <-rained, code)
			s.check()
		})
	}
}

// rain sends signals until time is over, and then TERM. It gives how many.
func rain(init *os.Process, random *rand.Rand, lasts time.Duration) (n int) {
	signals := []syscall.Signal{
		syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH, syscall.SIGCONT, syscall.SIGTTIN,
		syscall.SIGTTOU, syscall.SIGALRM, syscall.SIGIO, syscall.SIGPWR, syscall.SIGCHLD, syscall.SIGPIPE, syscall.SIGURG,
	}
	for sig := syscall.Signal(firstRealTime); sig <= lastRealTime; sig++ {
		signals = append(signals, sig)
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	over := time.After(lasts)
	for {
		select {
		case <-tick.C:
			for range random.IntN(4) {
				_ = init.Signal(signals[random.IntN(len(signals))]) // where it is gone the test sees it
				n++
			}
		case <-over:
			_ = init.Signal(syscall.SIGTERM)
			return n
		}
	}
}

// read takes events in up to one of that kind, or all.
func (s *stress) read(kind string) {
	s.t.Helper()
	for s.events.Scan() {
		line := s.events.Text()
		fmt.Fprintln(&s.seen, line)
		h, ok := happened(line)
		switch {
		case !ok:
			if !strings.HasPrefix(line, "event ") {
				s.t.Errorf("somebody says %q", line)
			}
			s.stopping = s.stopping || strings.HasPrefix(line, "event supervise.StopBegun")
		case h.kind == "Started" && (s.running[h.service] != 0 || s.stopping):
			s.t.Errorf("started in spite of that: %s, stopping %t", line, s.stopping)
		case h.kind == "Started":
			s.running[h.service] = h.pid
			s.services++
		case h.kind == "Exited" && s.running[h.service] != h.pid:
			s.t.Errorf("%s, and it ran as %d", line, s.running[h.service])
		case h.kind == "OrphanReaped":
			s.orphans++
		}
		if ok && h.kind != "Started" {
			delete(s.running, h.service)
			s.reaped[h.pid] = append(s.reaped[h.pid], reaping{h, s.stopping})
		}
		if ok && h.kind == kind {
			return
		}
	}
}

// check compares what the init saw with what was written down.
func (s *stress) check() {
	s.t.Helper()
	if len(s.running) > 0 {
		s.t.Errorf("never reaped: %v", s.running)
	}
	if left := withEnvironment("DIR=" + s.dir); len(left) > 0 {
		s.t.Errorf("left behind: %v", left)
	}
	written := s.writtenLives()
	for pid, lives := range written {
		if !agree(s.reaped[pid], lives) {
			s.t.Errorf("%d lived as %+v and was reaped as %+v", pid, lives, s.reaped[pid])
		}
	}
	for pid, reaped := range s.reaped {
		if written[pid] == nil && !agree(reaped, nil) {
			s.t.Errorf("%d wrote nothing and was reaped as %+v", pid, reaped)
		}
	}
	if s.t.Failed() {
		s.t.Logf("seen:\n%s", tail(s.seen.String()))
	}
}

// writtenLives are by pid, in order.
func (s *stress) writtenLives() map[int][]writtenLife {
	s.t.Helper()
	f, err := os.Open(filepath.Join(s.dir, "lives"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	all := map[int][]writtenLife{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var what, role string
		var pid int
		var status syscall.WaitStatus
		_, _ = fmt.Sscan(lines.Text(), &what, &pid, &role, &status) // one that is born has no status
		if lives := all[pid]; what == "end" && len(lives) > 0 {
			lives[len(lives)-1].ended, lives[len(lives)-1].status = true, status
			continue
		}
		all[pid] = append(all[pid], writtenLife{role: role})
	}
	return all
}
