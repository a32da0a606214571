package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"ak-init/chart"
	"ak-init/health"
	"ak-init/logs"
	"ak-init/prepare"
	"ak-init/supervise"
)

// watchEvery is the pause between two drawings of a status that is watched.
const watchEvery = 2 * time.Second

// showStatus asks every ak-init of ours and prints what they say, once or until a signal
// ends it.
func showStatus(o options, caught *supervise.Signals, stdout *os.File) error {
	width := columns(stdout)
	if !o.watch {
		return drawStatus(o, stdout, width)
	}
	home := ""
	if logs.IsTerminal(stdout) {
		home = "\x1b[H\x1b[J" // to the top left, and clear all below (ECMA-48)
	}
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		var page strings.Builder
		if err := drawStatus(o, &page, width); err != nil {
			fmt.Fprintln(&page, "ak-init:", oneLine(err))
		}
		if _, err := io.WriteString(stdout, home+page.String()); err != nil {
			return nil // nobody looks any more
		}
		select {
		case <-tick.C:
		case <-caught.Asked():
			return nil
		}
	}
}

// columns is how wide the terminal is (man 2 ioctl_tty, TIOCGWINSZ), or 80 where there is none.
func columns(f *os.File) int {
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil || size.Col == 0 {
		return 80
	}
	return int(size.Col)
}

func drawStatus(o options, w io.Writer, width int) error {
	found, mute := askStatus(o)
	if o.output == "svg" && len(found) > 0 {
		var charts []chart.Chart
		for _, s := range found {
			charts = append(charts, s.charted())
		}
		return errors.Join(chart.SVG(w, charts), mute)
	}
	if o.output == "json" && (len(found) > 0 || mute == nil) {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return errors.Join(enc.Encode(found), mute)
	}
	for i, s := range found {
		if i > 0 {
			_, _ = fmt.Fprintln(w)
		}
		draw := s.draw
		if o.timeline {
			draw = func(w io.Writer) error { return s.charted().Text(w, width) }
		}
		if err := draw(w); err != nil {
			return err
		}
	}
	return mute
}

// askStatus asks all who can be asked in the first directory that has any. The error names
// those who do not answer as they should.
func askStatus(o options) ([]status, error) {
	dirs := tempDirs(o)
	var hung error
	for _, dir := range dirs {
		sockets, err := sockets(o, dir, os.Geteuid())
		hung = errors.Join(hung, err)
		heard, faults := make([]*status, len(sockets)), make([]error, len(sockets))
		var askers sync.WaitGroup
		for i, socket := range sockets {
			askers.Go(func() { heard[i], faults[i] = askOneStatus(socket) })
		}
		askers.Wait()
		found := []status{}
		for _, s := range heard {
			if s != nil {
				found = append(found, *s)
			}
		}
		if mute := errors.Join(faults...); mute != nil {
			return found, refuse(exitUnavailable, mute)
		}
		if len(found) > 0 {
			return found, nil
		}
	}
	if hung != nil {
		return nil, refuse(exitUnavailable, hung)
	}
	return nil, refuse(exitUnavailable, fmt.Errorf("no ak-init of %s runs with its files in %s", prepare.Self(), strings.Join(dirs, ", ")))
}

// statusTimeout is longer than a probe's: somebody looks, perhaps because the machine is short of
// everything, and no kubelet gives up on it.
const statusTimeout = 3 * time.Second

// askOneStatus gives nothing where nobody is.
func askOneStatus(socket string) (*status, error) {
	line, err := health.AskStatus(socket, statusTimeout)
	if errors.Is(err, health.ErrNobody) {
		return nil, nil //nolint:nilnil // nobody is no error
	}
	var s status
	if err == nil {
		err = json.Unmarshal(line, &s)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path.Dir(socket), err)
	}
	return &s, nil
}

// draw prints one ak-init as a table.
func (s status) draw(w io.Writer) error {
	_, _ = fmt.Fprintf(w, "ak-init %s %s, pid %d, up %s, phase %s, %d orphans reaped\n",
		s.Version, s.Command, s.PID, upTime(s.UptimeSeconds), s.Phase, s.OrphansReaped)
	if line := s.boot(); line != "" {
		_, _ = fmt.Fprintln(w, line)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "SERVICE\tPHASE\tPID\tUPTIME\tRESTARTS\tLAST EXIT\tRSS\tPROCESSES\tREASON") // t keeps the first error
	for _, one := range s.Services {
		pid, up, rss := "-", "-", "-"
		if one.PID != 0 {
			pid, up, rss = fmt.Sprint(one.PID), upTime(one.UptimeSeconds), fmt.Sprintf("%.1f MiB", float64(one.RSSKiB)/1024)
		}
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%s\t%s\t%d\t%s\n",
			one.Name, one.Phase, pid, up, one.Restarts, one.LastExit, rss, one.Processes, one.Reason)
	}
	return t.Flush()
}

// String says how it ended; when it did is in the JSON and in the log.
func (e *exitStatus) String() string {
	switch {
	case e == nil:
		return "-"
	case e.OutOfMemory:
		return e.Signal + ", out of memory"
	case e.Signal != "":
		return e.Signal
	default:
		return fmt.Sprintf("code %d", e.Code)
	}
}

func upTime(seconds float64) string {
	return time.Duration(seconds * float64(time.Second)).Truncate(time.Second).String()
}
