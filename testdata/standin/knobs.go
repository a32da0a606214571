package main

import (
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

// knobDuration reads a duration from the environment; unset is 0.
func knobDuration(name string) time.Duration {
	value := os.Getenv(name)
	if value == "" {
		return 0
	}
	d, err := time.ParseDuration(value)
	if err != nil {
		panic(fmt.Errorf("cannot read %s: %w", name, err))
	}
	return d
}

// knobCode reads an exit code from the environment and says whether one is set.
func knobCode(name string) (code int, set bool) {
	value := os.Getenv(name)
	if value == "" {
		return 0, false
	}
	code, err := strconv.Atoi(value)
	if err != nil {
		panic(fmt.Errorf("cannot read %s: %w", name, err))
	}
	return code, true
}

// knob tells whether a variable is set.
func knob(name string) bool { return os.Getenv(name) != "" }

// listenHTTP is listen.http; authentik/lib/default.yml has the default.
func listenHTTP() string {
	if address := os.Getenv("AUTHENTIK_LISTEN__HTTP"); address != "" {
		return address
	}
	return "0.0.0.0:9000"
}

// webPath is web.path; it begins and ends with a slash.
func webPath() string {
	if path := os.Getenv("AUTHENTIK_WEB__PATH"); path != "" {
		return path
	}
	return "/"
}

// notify returns a channel wide enough for every signal that a test may send
// before it is read; signal.Notify drops what does not fit.
func notify(signals ...os.Signal) <-chan os.Signal {
	c := make(chan os.Signal, 16)
	signal.Notify(c, signals...)
	return c
}

// signalName is the name without SIG, as in "kill -TERM".
func signalName(sig os.Signal) string {
	switch sig {
	case syscall.SIGHUP:
		return "HUP"
	case syscall.SIGINT:
		return "INT"
	case syscall.SIGQUIT:
		return "QUIT"
	case syscall.SIGUSR1:
		return "USR1"
	case syscall.SIGUSR2:
		return "USR2"
	case syscall.SIGTERM:
		return "TERM"
	case syscall.SIGTTIN:
		return "TTIN"
	case syscall.SIGTTOU:
		return "TTOU"
	case syscall.SIGWINCH:
		return "WINCH"
	}
	return sig.String()
}
