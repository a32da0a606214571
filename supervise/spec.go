package supervise

import (
	"syscall"
	"time"
)

// Spec is what one run of ak-init does: the steps one after another, then the
// services, until they end or are told to.
type Spec struct {
	Steps []Step
	// Services are started in this order and stopped in the reverse of it. Once one has
	// ended for good the others are stopped.
	Services []Service
	// Companion stands beside all of it: it is started first, again whenever it has ended,
	// and told to end last, when steps and services are gone. Nobody waits for it, no signal
	// is handed on to it, and what becomes of it has no consequence. Nil: there is none.
	Companion *Command
	// Grace is the time from the first stop signal to SIGKILL.
	Grace time.Duration
	// StopDelay is how long the services go on serving after the first stop
	// signal, so that load balancers can turn away from them. It is part of Grace.
	StopDelay time.Duration
	// Group sends what is meant for the main child to its whole process group.
	Group bool
	// Rewrite says what the main child gets in the place of a signal; 0 drops it. A
	// stop signal that is rewritten still starts the stop, unless it is dropped, and so
	// does one that is rewritten to a stop signal.
	Rewrite map[syscall.Signal]syscall.Signal
	Restart Restart
	// Success are exit codes of a service that count as 0 (systemd.service(5),
	// SuccessExitStatus=).
	Success []int
	// OpenFiles is the soft limit of descriptors that the children get (getrlimit(2),
	// RLIMIT_NOFILE); 0 leaves them the one that ak-init was started with.
	OpenFiles uint64
	// NoNewPrivileges keeps ak-init and all below it from gaining any by execve (man 2 prctl,
	// PR_SET_NO_NEW_PRIVS).
	NoNewPrivileges bool
}

// Command is one process, fully resolved: nothing is looked up any more.
type Command struct {
	// Name is what the log calls it, such as "server".
	Name string
	// Path is the program's absolute path; Argv[0] may differ from it.
	Path string
	Argv []string
	Env  []string
	Dir  string
	// Identity is who it runs as; nil leaves it as ak-init is.
	Identity *Identity
	// Foreground gives it the terminal on stdin, where there is one and it is ours to
	// give (credentials(7), tcsetpgrp(3)).
	Foreground bool
	// Whole: told to stop it has all of the grace period to end in, and only it is told.
	// It is for what must not be cut short, such as migrations.
	Whole bool
}

// Identity is a numeric user: no name is needed (OpenShift gives uids none).
type Identity struct {
	UID    uint32
	GID    uint32
	Groups []uint32
}

// Step is a child that runs to its end before the services start.
type Step struct {
	Command
	// Optional means that its failure, to start even, does not keep the services from
	// starting.
	Optional bool
	// Aside means that it is not waited for: what follows starts at once, its end has no
	// consequence, and when a stop begins it is told first.
	Aside bool
}

// Service is a long-running child. The first one is the main child, who gets the
// signals that are handed on.
type Service struct {
	Command
	// Drain names helpers that must end before the service is told to stop: the
	// nearest below it, and processes re-parented to us, whose command line holds
	// this word. Empty: none.
	Drain string
}

// ExitCode is a wait status as a shell gives it: the exit code, or 128+n when
// signal n ended the process.
func ExitCode(ws syscall.WaitStatus) int {
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}
