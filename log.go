package main

import (
	"errors"
	"os"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"ak-init/logs"
	"ak-init/supervise"
)

// logger is ak-init's own, with words for what happens.
type logger struct {
	*logs.Logger
	// orphans is the level of the lines about them.
	orphans logs.Level
}

func newLogger(o options, out *os.File) *logger {
	orphans := logs.Debug
	if o.warnOnReap {
		orphans = logs.Warn
	}
	style := logs.Style{Level: o.logLevel, Format: o.logFormat, Plain: o.env["NO_COLOR"] != "", Begin: supervise.WriteFromBackground}
	return &logger{logs.New(style, out), orphans}
}

// event gives each thing that supervise tells its words. It is the one table of them.
//
//nolint:cyclop // a table: one flat case a kind of event
func (l *logger) event(e supervise.Event) {
	switch e := e.(type) {
	case supervise.Started:
		l.Info("child started", logs.Str("role", e.Command.Name), logs.Num("child", e.PID), logs.Str("program", e.Command.Path))
	case supervise.StartFailed:
		l.Error("child cannot be started", logs.Str("role", e.Command.Name), logs.Str("program", e.Command.Path), logs.Str("error", e.Err.Error()))
	case supervise.Exited:
		l.exited(e)
	case supervise.RestartScheduled:
		l.Warn("restart scheduled", logs.Str("role", e.Command.Name), logs.Dur("after", e.After), logs.Num("ended_soon", e.Quick), logs.Num("limit", e.Limit))
	case supervise.RestartsExhausted:
		l.Error("given up: it ended too soon too often", logs.Str("role", e.Command.Name), logs.Num("ended_soon", e.Quick))
	case supervise.OrphanReaped:
		if l.Enabled(l.orphans) { // there may be thousands at a time
			l.Write(l.orphans, "orphan reaped", append(ending(e.Status), logs.Num("child", e.PID))...)
		}
	case supervise.Forwarded:
		l.Info("signal forwarded", logs.Str("signal", signalName(e.Signal)), logs.Str("sent", signalName(e.Sent)), logs.Num("child", e.PID))
	case supervise.Unheard:
		l.Info("signal dropped: no main child runs", logs.Str("signal", signalName(e.Signal)))
	case supervise.StopBegun:
		l.stopBegun(e)
	case supervise.Draining:
		l.Info("helpers told to finish first", logs.Str("role", e.Service), logs.Ints("children", e.PIDs))
	case supervise.StopSent:
		l.Info("child told to stop", logs.Str("role", e.Name), logs.Num("child", e.PID), logs.Str("signal", signalName(e.Signal)))
	case supervise.GraceNearlyOver:
		l.Warn("grace period nearly over, everything told to stop", logs.Num("told", e.Told))
	case supervise.Swept:
		if e.Told > 0 {
			l.Info("what was left told to stop", logs.Num("told", e.Told))
		}
	case supervise.Killed:
		l.Warn("killed what was left", logs.Str("why", e.Why), logs.Num("killed", e.Told))
	case supervise.GaveUp:
		l.Error("processes outlive SIGKILL, leaving them")
	case supervise.Suspended:
		l.Write(logs.Debug, "job stopped", logs.Str("signal", signalName(e.Signal)))
	case supervise.Unguarded:
		l.Warn("should ak-init be killed, its children will live on", logs.Str("error", e.Err.Error()))
	}
}

func (l *logger) stopBegun(e supervise.StopBegun) {
	cause := logs.Str("signal", signalName(e.Signal))
	if e.Signal == 0 {
		cause = logs.Str("ended", e.Ended)
	}
	l.Info("stop begun", cause, logs.Dur("grace_period", e.Grace), logs.Dur("stop_delay", e.StopDelay))
}

// exited is the line that says why a child is gone.
func (l *logger) exited(e supervise.Exited) {
	fields := append([]logs.Field{logs.Str("role", e.Command.Name), logs.Num("child", e.PID)}, ending(e.Status)...)
	fields = append(fields, logs.Dur("uptime", e.Uptime), logs.Num("max_rss_kib", e.MaxRSS))
	if e.OutOfMemory {
		fields = append(fields, logs.Str("why", "out of memory"))
	}
	switch {
	case e.Code != 0 && !e.Asked:
		l.Error("child exited", fields...)
	case e.Code != 0 && e.Command.Whole: // which migrations are alone
		l.Warn("a migration was interrupted: the next start goes on with it; should a first installation fail from then on, make its database anew (docs/compatibility.md)", fields...)
	default:
		l.Info("child exited", fields...)
	}
}

func ending(ws syscall.WaitStatus) []logs.Field {
	if !ws.Signaled() {
		return []logs.Field{logs.Num("exit_code", ws.ExitStatus())}
	}
	fields := []logs.Field{logs.Str("signal", signalName(ws.Signal()))}
	if ws.CoreDump() {
		fields = append(fields, logs.Str("core", "dumped"))
	}
	return fields
}

func signalName(sig syscall.Signal) string {
	if name := unix.SignalName(sig); name != "" {
		return name
	}
	return sig.String() // real-time signals have numbers only
}

// refused says all that is wrong, a line each.
func (l *logger) refused(r *refusal) {
	for _, fault := range r.faults {
		fields := []logs.Field{logs.Num("exit_code", r.code)}
		if f, ok := errors.AsType[*finding](fault); ok {
			fields = append(fields, logs.Str("check", f.Check))
		}
		l.Error(oneLine(fault), fields...)
	}
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// prepared says what was changed on this machine, and what can be lived with, or refuses
// to where strict is set.
func (l *logger) prepared(p plan, r *prepared, strict bool) error {
	all := slices.Concat(p.Findings, r.findings)
	if !isShort(r.room) {
		all = slices.DeleteFunc(all, func(f *finding) bool { return f.ofRoom })
	}
	if err := refusalOf(all, strict); err != nil {
		return err
	}
	for _, dir := range r.made {
		l.Info("directory made", logs.Str("path", dir))
	}
	l.changed(p, r.given)
	l.withoutIPv6(p)
	for _, d := range r.done {
		l.Info(d.event, d.fields...)
	}
	l.warnings(all)
	return nil
}

// withoutIPv6 says which addresses are others than the release's own.
func (l *logger) withoutIPv6(p plan) {
	var taken []string
	for _, v := range p.Environment {
		if v.Origin == originNoIPv6 {
			taken = append(taken, v.Name+"="+v.Value)
		}
	}
	if len(taken) > 0 {
		l.Info("this machine has no IPv6: authentik listens on IPv4 instead", logs.Str("set", strings.Join(taken, " ")))
	}
}

// warnings says what can be lived with.
func (l *logger) warnings(findings []*finding) {
	for _, f := range findings {
		if f.State == warning {
			l.Warn(oneLine(f), logs.Str("check", f.Check))
		}
	}
}

// busy says what takes so long before the start.
func (l *logger) busy(what, path string, looked, changed int) {
	l.Info("preparing takes a while", logs.Str("what", what), logs.Str("path", path), logs.Num("looked", looked), logs.Num("changed", changed))
}

// changed says which directories have another owner now, which nothing undoes.
func (l *logger) changed(p plan, given []string) {
	for _, dir := range given {
		l.Info("directory given to the children's user", logs.Str("path", dir), logs.Num("uid", p.Identity.UID), logs.Num("gid", p.Identity.GID))
	}
}
