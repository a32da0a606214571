// Package logs writes lines in authentik's shape: timestamp, level, event, logger, pid,
// then fields (authentik/lib/logging.py, 2026.2). No line ever waits for its reader: who
// forwards signals must not be held up by a full pipe.
package logs

import (
	"os"
	"time"

	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"
)

// Level is how grave a line is.
type Level = zapcore.Level

// Field is what a line says beside its event.
type Field = zapcore.Field

// The levels.
const (
	Debug = zapcore.DebugLevel
	Info  = zapcore.InfoLevel
	Warn  = zapcore.WarnLevel
	Error = zapcore.ErrorLevel
)

// Style is how lines look.
type Style struct {
	// Level is debug, info, warning or error: lines below it are not written.
	Level string
	// Format is json, console, or auto: console on a terminal, else JSON.
	Format string
	// Plain leaves out colours where a terminal could show them.
	Plain bool
	// Begin, if there is one, is run by the goroutine that writes, before its first line.
	Begin func()
}

// Logger writes lines to one file. Its methods may be called from any goroutine.
type Logger struct {
	core zapcore.Core
	out  *queue
}

// New makes a logger. [Logger.Close] ends the goroutine that it starts.
func New(s Style, out *os.File) *Logger {
	level := map[string]Level{"debug": Debug, "info": Info, "warning": Warn, "error": Error}[s.Level]
	terminal := IsTerminal(out)
	encoder := zapcore.NewJSONEncoder(jsonShape())
	if s.Format == "console" || s.Format == "auto" && terminal {
		encoder = zapcore.NewConsoleEncoder(consoleShape(terminal && !s.Plain))
	} else {
		encoder.AddInt("pid", os.Getpid())
	}
	q := newQueue(out, s.Begin)
	return &Logger{zapcore.NewCore(encoder, q, level), q}
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

// IsTerminal asks for the terminal's settings (man 2 ioctl_tty), which nothing else has.
func IsTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// Enabled tells whether lines of this level are written.
func (l *Logger) Enabled(level Level) bool { return l.core.Enabled(level) }

// Write writes a line of any level.
func (l *Logger) Write(level Level, event string, fields ...Field) {
	if l.core.Enabled(level) {
		_ = l.core.Write(zapcore.Entry{Level: level, Time: time.Now(), LoggerName: "ak-init", Message: event}, fields)
	}
}

// Info writes what is good to know.
func (l *Logger) Info(event string, fields ...Field) { l.Write(Info, event, fields...) }

// Warn writes what can be lived with.
func (l *Logger) Warn(event string, fields ...Field) { l.Write(Warn, event, fields...) }

// Error writes what cannot.
func (l *Logger) Error(event string, fields ...Field) { l.Write(Error, event, fields...) }

// Close writes what is queued, for a second at most.
func (l *Logger) Close() { l.out.close() }
