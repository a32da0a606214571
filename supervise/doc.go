// Package supervise starts the processes of one container, forwards signals to
// them, reaps them and stops them. It knows processes and nothing of authentik.
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
//     its program is not there, 126 when it cannot be executed.
//   - TERM, INT and QUIT start the stop sequence below; a second one kills at
//     once. Every other signal that is caught goes to the running child alone.
//   - Idle is idle: nothing polls, no timer runs while a service serves.
//
// # States
//
//	idle ──▶ stepping ──▶ serving ──exit──────────────┐
//	 │          │            │ stop signal            │
//	 │          │            ▼                        │
//	 │          │        delaying   --stop-delay      │
//	 │          │            ▼                        ▼
//	 │          │        draining   TERM to the    sweeping ──no child left──▶ done
//	 │          │            │      helpers named  (TERM to                      ▲
//	 │          │            ▼      in Drain       what is                       │
//	 │          └──────▶ stopping   TERM to the    left)                         │
//	 │                       │      main child        ▲  │                       │
//	 │                       └──exit──────────────────┘  │                       │
//	 │       second stop signal, or grace period over ──▶ killing ──no child────▶┤
//	 └── stop signal before anything ran ────────────────────────────────────────┘
//
// At four fifths of the grace period whatever still runs in delaying, draining or
// stopping gets TERM, the whole tree of it, so that it can put its work away
// before SIGKILL takes it.
package supervise
