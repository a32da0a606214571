// Package supervise starts the processes of one container, forwards signals to
// them, reaps them, starts them again and stops them. It knows processes and nothing of
// authentik.
//
// # Promises
//
//   - Every descendant that becomes an orphan is reaped, as PID 1 and, elsewhere,
//     as child subreaper (man 2 prctl, PR_SET_CHILD_SUBREAPER).
//   - One goroutine starts processes, waits for them and sends them signals
//     ([Run]). A pid leaves its table in the same breath as wait4 returns it, so
//     no signal can reach a pid that the kernel has given to somebody else, and a
//     child that dies at once cannot be reaped before it is known.
//   - The exit code is the service's own; 128+n when signal n ended it; 127 when
//     its program is not there, 126 when it cannot be executed. Of several services
//     that of the first that did not end well.
//   - TERM, INT and QUIT start the stop sequence below; a second one kills at
//     once. Every other signal that is caught goes to the main child alone.
//   - Children get default signal dispositions, an empty mask, descriptors 0 to 2 and
//     nothing else that ak-init has changed for itself.
//   - Whoever sits at the terminal has it: a child that is to be in the foreground is
//     made so, and a stop there (Ctrl-Z) stops us as well, for the shell to see. Where
//     nobody could continue us, nothing stops. A terminal that hangs up is a stop signal.
//   - A step that runs aside has no say: nobody waits for it, whatever becomes of it, and a
//     stop tells it first.
//   - A companion stands beside all of this, from before the first step until the last service
//     is gone. It has no say either, and is started again whenever it ends.
//   - Should we be killed, a second process, the guard, ends our children. As PID 1 the
//     kernel does.
//   - Idle is idle: nothing polls, no timer runs while services serve.
//
// # States of a run
//
//	idle ──▶ stepping ──▶ serving ──a service ends for good──┐
//	 │          │            │ stop signal                   │
//	 │          │            ▼                               │
//	 │          │        delaying   --stop-delay             │
//	 │          │            ▼                               ▼
//	 │          └──────▶ stopping ◀──others still run── (all gone?)
//	 │                       │      one service after another,   │
//	 │                       │      the last started first       │
//	 │                       └──all gone──▶ sweeping ◀───────────┘
//	 │                                      (TERM to what they left)
//	 │       second stop signal, or             │      │
//	 │       grace period over ────▶ killing    │      └──no child left──▶ done
//	 │                                  └───────┴──no child left─────────▶  ▲
//	 └── stop signal before anything ran ───────────────────────────────────┘
//
// # Life of a service
//
//	waiting ──▶ up ──exit, to be started again──▶ resting ──delay over──▶ up
//	             │ its turn to stop                  │ stop
//	             ▼                                   ▼
//	          draining ──helpers gone──▶ told ──▶ gone
//
// One without helpers goes from up to told, one that ends by itself for good from up or
// resting to gone. In draining the helpers that its Drain names are told to end, and their children once
// more after 1, 2, 4... seconds, until no helper is found any more; told is TERM to the service itself. Each service has its
// share of the time to stop before the next begins; at four fifths of the grace period
// whatever still runs gets TERM, the whole tree of it, so that it can put its work away
// before SIGKILL takes it. Only while something runs that has all of the grace period, such as
// migrations, nothing is told then.
//
// # Life of a companion
//
//	up ──exit──▶ resting ──delay over──▶ up ──sweeping──▶ told ──▶ gone
//
// It is up before the state leaves idle, and what it answers may be that all else stops: at
// four fifths of the grace period it is spared, as far as /proc tells who it is. Sweeping begins by
// telling it.
package supervise
