// Command bench measures what design bounds as ratios: start-up and health check of
// ak-init beside an empty Go program and beside the bash script's way, all in one run,
// in turn, so that a machine's moods meet everybody alike. It prints one table.
//
//	go run ./bench
//
// AK_SCRIPT names a lifecycle/ak to measure instead of the three steps that stand for
// it here (bash, a Python start, the program).
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"time"

	"ak-init/testdata/standin/layout"
)

// runs is how often everything is measured, in turn, after a few that do not count.
const runs, warmUps = 101, 5

func main() {
	if err := bench(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// candidate is one thing to measure.
type candidate struct {
	name string
	cmd  func() *exec.Cmd
	// toFirstByte stops the clock when the service writes; otherwise the end counts.
	toFirstByte bool
	wall, cpu   []time.Duration
}

func bench() error {
	dir, err := os.MkdirTemp("", "ak-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	b, err := newBed(dir)
	if err != nil {
		return err
	}
	server, err := b.startServer()
	if err != nil {
		return err
	}
	defer func() {
		_ = server.Process.Signal(syscall.SIGTERM)
		_ = server.Wait()
	}()
	all := b.candidates()
	for i := range runs + warmUps {
		for _, c := range all {
			wall, cpu, err := c.measure()
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			if i >= warmUps {
				c.wall, c.cpu = append(c.wall, wall), append(c.cpu, cpu)
			}
		}
	}
	report(all)
	return nil
}

func (c *candidate) measure() (wall, cpu time.Duration, err error) {
	cmd := c.cmd()
	begin := time.Now()
	if !c.toFirstByte {
		err = cmd.Run()
		wall = time.Since(begin)
	} else {
		var first time.Time
		first, err = untilFirstByte(cmd)
		wall = first.Sub(begin)
	}
	if err != nil {
		return 0, 0, err
	}
	return wall, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), nil
}

func untilFirstByte(cmd *exec.Cmd) (time.Time, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return time.Time{}, err
	}
	defer func() { _ = r.Close() }()
	cmd.Stdout = w
	err = cmd.Start()
	_ = w.Close()
	if err != nil {
		return time.Time{}, err
	}
	_, err = r.Read(make([]byte, 1))
	first := time.Now()
	return first, errors.Join(err, cmd.Wait())
}

// bed is where things run: binaries, two authentik roots, and their environment.
type bed struct {
	dir, akInit, empty, service, script string
	// quick has a server that only says that it runs; whole has the stand-in.
	quick, whole string
	env          []string
}

func newBed(dir string) (*bed, error) {
	b := &bed{
		dir: dir, akInit: dir + "/ak-init", empty: dir + "/empty", service: dir + "/service",
		quick: dir + "/quick", whole: dir + "/whole", script: os.Getenv("AK_SCRIPT"),
	}
	for out, source := range map[string]string{
		b.akInit: ".", b.empty: "./bench/empty", b.service: "./bench/service", dir + "/standin": "./testdata/standin",
	} {
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, source)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		cmd.Stderr = os.Stderr
		if err := cmd.Run(); err != nil {
			return nil, fmt.Errorf("build %s: %w", source, err)
		}
	}
	if err := errors.Join(
		layout.Image(b.quick, b.service), layout.Image(b.whole, dir+"/standin"),
		os.Mkdir(dir+"/t", 0o700), os.Mkdir(dir+"/u", 0o700),
	); err != nil {
		return nil, err
	}
	b.env = []string{
		"PATH=" + b.quick + "/bin:/usr/local/bin:/usr/bin:/bin", "TMPDIR=" + dir + "/t",
		"PROMETHEUS_MULTIPROC_DIR=" + dir + "/t/metrics", "AUTHENTIK_LISTEN__HTTP=127.0.0.1:9000",
	}
	if b.script == "" {
		b.script = dir + "/ak"
		return b, os.WriteFile(b.script, []byte(threeSteps), 0o755)
	}
	return b, nil
}

// threeSteps stands for lifecycle/ak of 2026.2 where it is not at hand. It asks Python
// for nothing where the real one loads Django's settings and a YAML reader for the
// debugger flag, so it is a lower bound.
const threeSteps = `#!/usr/bin/env -S bash
set -e -o pipefail
mkdir -p "$PROMETHEUS_MULTIPROC_DIR"
if [[ "$(/usr/bin/python3 -c pass 2>/dev/null)" == "True" ]]; then exit 1; fi
if [[ "$1" == healthcheck ]]; then exec authentik healthcheck "$(cat "$TMPDIR/authentik-mode")"; fi
echo "$1" >"$TMPDIR/authentik-mode"
exec authentik
`

// startServer runs ak-init with the stand-in until it is healthy.
func (b *bed) startServer() (*exec.Cmd, error) {
	server := b.command(b.akInit, "server", "--root", b.whole)
	server.Env = append(server.Env, "TMPDIR="+b.dir+"/u", "PROMETHEUS_MULTIPROC_DIR=")
	if err := server.Start(); err != nil {
		return nil, err
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for range 400 {
		if b.healthcheck().Run() == nil {
			return server, nil
		}
		<-tick.C
	}
	_ = server.Process.Kill()
	return nil, errors.New("the stand-in server does not become healthy: is port 9000 taken?")
}

func (b *bed) command(argv ...string) *exec.Cmd {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = slices.Clone(b.env)
	return cmd
}

func (b *bed) healthcheck() *exec.Cmd {
	cmd := b.command(b.akInit, "healthcheck", "--started")
	cmd.Env = append(cmd.Env, "TMPDIR="+b.dir+"/u")
	return cmd
}

// The candidates by place; report compares them by it.
const (
	empty = iota
	serviceAlone
	akInitServer
	scriptServer
	akInitHealth
	binaryHealth
	scriptHealth
)

func (b *bed) candidates() []*candidate {
	whole := func(argv ...string) func() *exec.Cmd {
		return func() *exec.Cmd {
			cmd := b.command(argv...)
			cmd.Env = append(cmd.Env, "TMPDIR="+b.dir+"/u", "PATH="+b.whole+"/bin:/usr/local/bin:/usr/bin:/bin")
			return cmd
		}
	}
	quick := func(argv ...string) func() *exec.Cmd { return func() *exec.Cmd { return b.command(argv...) } }
	return []*candidate{
		empty:        {name: "an empty Go program, whole run", cmd: quick(b.empty)},
		serviceAlone: {name: "service alone, to its first byte", cmd: quick(b.service), toFirstByte: true},
		akInitServer: {name: "`ak-init server`, to the service's first byte", cmd: quick(b.akInit, "server", "--root", b.quick), toFirstByte: true},
		scriptServer: {name: "bash `ak server`, to the service's first byte", cmd: quick(b.script, "server"), toFirstByte: true},
		akInitHealth: {name: "`ak-init healthcheck` against a running ak-init", cmd: b.healthcheck},
		binaryHealth: {name: "`authentik healthcheck server` (stand-in, net/http)", cmd: whole(b.whole+"/bin/authentik", "healthcheck", "server")},
		scriptHealth: {name: "bash `ak healthcheck`", cmd: whole(b.script, "healthcheck")},
	}
}

func report(all []*candidate) {
	fmt.Printf("| %d runs in turn | wall, median ms | cpu, median ms | wall / empty |\n|---|---|---|---|\n", runs)
	for _, c := range all {
		fmt.Printf("| %s | %.2f | %.2f | %.1f |\n", c.name, ms(median(c.wall)), ms(median(c.cpu)), ratio(median(c.wall), median(all[empty].wall)))
	}
	fmt.Println()
	start := median(all[akInitServer].wall) - median(all[serviceAlone].wall)
	script := median(all[scriptServer].wall) - median(all[serviceAlone].wall)
	for _, row := range []struct {
		what         string
		value, bound float64
		atLeast      bool
	}{
		{"exec of ak-init to exec of the service / empty program", ratio(start, median(all[empty].wall)), 4, false},
		{"the same for bash ak / ak-init", ratio(script, start), 1, true},
		{"healthcheck / empty program", ratio(median(all[akInitHealth].wall), median(all[empty].wall)), 3, false},
		{"cpu of bash ak healthcheck / ak-init's", ratio(median(all[scriptHealth].cpu), median(all[akInitHealth].cpu)), 1, true},
	} {
		word, verdict := "at most", "holds"
		if row.atLeast {
			word = "at least"
		}
		if (row.value > row.bound) != row.atLeast {
			verdict = "DOES NOT HOLD"
		}
		fmt.Printf("%s: %.1f (%s %g: %s)\n", row.what, row.value, word, row.bound, verdict)
	}
}

func median(d []time.Duration) time.Duration {
	s := slices.Sorted(slices.Values(d))
	return s[len(s)/2]
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }
