package main

import (
	"errors"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"

	"ak-init/supervise"
)

// logger writes ak-init's own lines in authentik's shape: timestamp, level, event,
// logger, pid, then fields (authentik/lib/logging.py, 2026.2). No line ever waits for
// its reader: who forwards signals must not be held up by a full pipe.
type logger struct {
	core zapcore.Core
	out  *queue
	// orphans is the level of the lines about them.
	orphans zapcore.Level
}

func newLogger(o options, out *os.File) *logger {
	level := map[string]zapcore.Level{
		"debug": zapcore.DebugLevel, "info": zapcore.InfoLevel,
		"warning": zapcore.WarnLevel, "error": zapcore.ErrorLevel,
	}[o.logLevel]
	terminal := isTerminal(out)
	encoder := zapcore.NewJSONEncoder(jsonShape())
	if o.logFormat == "console" || o.logFormat == "auto" && terminal {
		encoder = zapcore.NewConsoleEncoder(consoleShape(terminal && o.env["NO_COLOR"] == ""))
	} else {
		encoder.AddInt("pid", os.Getpid())
	}
	orphans := zapcore.DebugLevel
	if o.warnOnReap {
		orphans = zapcore.WarnLevel
	}
	q := newQueue(out)
	return &logger{zapcore.NewCore(encoder, q, level), q, orphans}
}

func jsonShape() zapcore.EncoderConfig {
	return zapcore.EncoderConfig{
		TimeKey: "timestamp", LevelKey: "level", MessageKey: "event", NameKey: "logger",
		LineEnding:  "\n",
		EncodeTime:  zapcore.RFC3339NanoTimeEncoder,
		EncodeLevel: func(l zapcore.Level, enc zapcore.PrimitiveArrayEncoder) { enc.AppendString(levelName(l)) },
	}
}

func consoleShape(colour bool) zapcore.EncoderConfig {
	c := jsonShape()
	c.ConsoleSeparator = " "
	c.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
	if colour {
		c.EncodeLevel = zapcore.LowercaseColorLevelEncoder
	}
	return c
}

// levelName is authentik's: logrus and structlog both say warning.
func levelName(l zapcore.Level) string {
	if l == zapcore.WarnLevel {
		return "warning"
	}
	return l.String()
}

// isTerminal asks for the terminal's settings (man 2 ioctl_tty), which nothing else has.
func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

func (l *logger) write(level zapcore.Level, event string, fields ...zapcore.Field) {
	if l.core.Enabled(level) {
		_ = l.core.Write(zapcore.Entry{Level: level, Time: time.Now(), LoggerName: "ak-init", Message: event}, fields)
	}
}

func (l *logger) info(event string, fields ...zapcore.Field) {
	l.write(zapcore.InfoLevel, event, fields...)
}

func (l *logger) warn(event string, fields ...zapcore.Field) {
	l.write(zapcore.WarnLevel, event, fields...)
}

func (l *logger) error(event string, fields ...zapcore.Field) {
	l.write(zapcore.ErrorLevel, event, fields...)
}

// close writes what is queued, for a second at most.
func (l *logger) close() { l.out.close() }

func str(key, value string) zapcore.Field {
	return zapcore.Field{Key: key, Type: zapcore.StringType, String: value}
}

func num[N ~int | ~int64](key string, value N) zapcore.Field {
	return zapcore.Field{Key: key, Type: zapcore.Int64Type, Integer: int64(value)}
}

func dur(key string, value time.Duration) zapcore.Field {
	return str(key, value.Round(time.Millisecond).String())
}

// event gives each thing that supervise tells its words. It is the one table of them.
//
//nolint:cyclop // a table: one flat case a kind of event
func (l *logger) event(e supervise.Event) {
	switch e := e.(type) {
	case supervise.Started:
		l.info("child started", str("role", e.Command.Name), num("child", e.PID), str("program", e.Command.Path))
	case supervise.StartFailed:
		l.error("child cannot be started", str("role", e.Command.Name), str("program", e.Command.Path), str("error", e.Err.Error()))
	case supervise.Exited:
		l.exited(e)
	case supervise.RestartScheduled:
		l.warn("restart scheduled", str("role", e.Command.Name), dur("after", e.After), num("ended_soon", e.Quick), num("limit", e.Limit))
	case supervise.RestartsExhausted:
		l.error("given up: it ended too soon too often", str("role", e.Command.Name), num("ended_soon", e.Quick))
	case supervise.OrphanReaped:
		if l.core.Enabled(l.orphans) { // there may be thousands at a time
			l.write(l.orphans, "orphan reaped", append(ending(e.Status), num("child", e.PID))...)
		}
	case supervise.Forwarded:
		l.info("signal forwarded", str("signal", signalName(e.Signal)), str("sent", signalName(e.Sent)), num("child", e.PID))
	case supervise.Unheard:
		l.info("signal dropped: no main child runs", str("signal", signalName(e.Signal)))
	case supervise.StopBegun:
		l.stopBegun(e)
	case supervise.Draining:
		l.info("helpers told to finish first", str("role", e.Service), ints("children", e.PIDs))
	case supervise.StopSent:
		l.info("child told to stop", str("role", e.Name), num("child", e.PID), str("signal", signalName(e.Signal)))
	case supervise.GraceNearlyOver:
		l.warn("grace period nearly over, everything told to stop", num("told", e.Told))
	case supervise.Swept:
		if e.Told > 0 {
			l.info("what was left told to stop", num("told", e.Told))
		}
	case supervise.Killed:
		l.warn("killed what was left", str("why", e.Why), num("killed", e.Told))
	case supervise.GaveUp:
		l.error("processes outlive SIGKILL, leaving them")
	case supervise.Suspended:
		l.write(zapcore.DebugLevel, "job stopped", str("signal", signalName(e.Signal)))
	case supervise.Unguarded:
		l.warn("should ak-init be killed, its children will live on", str("error", e.Err.Error()))
	}
}

func (l *logger) stopBegun(e supervise.StopBegun) {
	cause := str("signal", signalName(e.Signal))
	if e.Signal == 0 {
		cause = str("ended", e.Ended)
	}
	l.info("stop begun", cause, dur("grace_period", e.Grace), dur("stop_delay", e.StopDelay))
}

// exited is the line that says why a child is gone.
func (l *logger) exited(e supervise.Exited) {
	fields := append([]zapcore.Field{str("role", e.Command.Name), num("child", e.PID)}, ending(e.Status)...)
	fields = append(fields, dur("uptime", e.Uptime), num("max_rss_kib", e.MaxRSS))
	if e.OutOfMemory {
		fields = append(fields, str("why", "out of memory"))
	}
	if e.Code != 0 && !e.Asked {
		l.error("child exited", fields...)
		return
	}
	l.info("child exited", fields...)
}

func ending(ws syscall.WaitStatus) []zapcore.Field {
	if !ws.Signaled() {
		return []zapcore.Field{num("exit_code", ws.ExitStatus())}
	}
	fields := []zapcore.Field{str("signal", signalName(ws.Signal()))}
	if ws.CoreDump() {
		fields = append(fields, str("core", "dumped"))
	}
	return fields
}

func signalName(sig syscall.Signal) string {
	if name := unix.SignalName(sig); name != "" {
		return name
	}
	return sig.String() // real-time signals have numbers only
}

func ints(key string, values []int) zapcore.Field {
	return zapcore.Field{Key: key, Type: zapcore.ArrayMarshalerType, Interface: zapcore.ArrayMarshalerFunc(
		func(enc zapcore.ArrayEncoder) error {
			for _, v := range values {
				enc.AppendInt(v)
			}
			return nil
		})}
}

// refused says all that is wrong, a line each.
func (l *logger) refused(r *refusal) {
	for _, fault := range r.faults {
		fields := []zapcore.Field{num("exit_code", r.code)}
		if f, ok := errors.AsType[*finding](fault); ok {
			fields = append(fields, str("check", f.Check))
		}
		l.error(oneLine(fault), fields...)
	}
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// queue hands lines to one goroutine that may block on a slow reader. When it is full
// lines are dropped.
type queue struct {
	lines chan []byte
	done  chan struct{}
}

// queued is how many lines wait for a slow reader.
const queued = 256

var errQueueFull = errors.New("nobody reads the log")

func newQueue(out *os.File) *queue {
	q := &queue{make(chan []byte, queued), make(chan struct{})}
	go func() { // ends when close has closed lines
		defer close(q.done)
		supervise.WriteFromBackground()
		for line := range q.lines {
			_, _ = out.Write(line) // one write a line: lines of other processes cannot tear it
		}
	}()
	return q
}

// Write implements zapcore.WriteSyncer and never waits.
func (q *queue) Write(line []byte) (int, error) {
	select {
	case q.lines <- append([]byte(nil), line...):
		return len(line), nil
	default:
		return 0, errQueueFull
	}
}

// Sync implements zapcore.WriteSyncer. zapcore calls it behind lines above error.
func (q *queue) Sync() error { return nil }

func (q *queue) close() {
	close(q.lines)
	select {
	case <-q.done:
	case <-time.After(time.Second):
	}
}

// prepared says what was changed on this machine, and what can be lived with, or refuses
// to where strict is set.
func (l *logger) prepared(p plan, r *prepared, strict bool) error {
	all := slices.Concat(p.Findings, r.findings)
	if err := refusalOf(all, strict); err != nil {
		return err
	}
	for _, dir := range r.made {
		l.info("directory made", str("path", dir))
	}
	l.changed(p, r.given)
	for _, f := range all {
		if f.State == warning {
			l.warn(oneLine(f), str("check", f.Check))
		}
	}
	return nil
}

// changed says which directories have another owner now, which nothing undoes.
func (l *logger) changed(p plan, given []string) {
	for _, dir := range given {
		l.info("directory given to the children's user", str("path", dir), num("uid", p.Identity.UID), num("gid", p.Identity.GID))
	}
}
