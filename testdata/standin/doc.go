// Standin plays the three programs that authentik's container consists of,
// where the real ones cannot be had: the Go server "authentik", "gunicorn",
// and "python" (python3). The name it is called by decides. It follows
// authentik 2026.2.2 (but for rust.go, which plays what replaced the Go server since), whose files are named where a fact comes from one; facts
// about gunicorn 25.0.3, uvicorn 0.40.0 and dramatiq 1.17.1, the versions in
// that release's uv.lock, were read in those packages and tried with them.
//
// # Faithful
//
//   - argument vectors, names and contents of the files in TMPDIR, the order in
//     which things appear, process groups, standard streams;
//   - signals: the server goes at once and cuts what it serves, gunicorn drains,
//     dramatiq drops its task at the second TERM; exit codes;
//   - supervision: the server starts a failed gunicorn again and leaves one that
//     exited 0 alone, gunicorn and its worker process, dramatiq and its child;
//   - health: 502, 503 and 200 at the same times, the pid file of the worker.
//
// # Not faithful
//
//   - No database, no migrations, no embedded outpost, no TLS (9443), no metrics
//     (9300), no static files. Waiting for all of that is one delay.
//   - Settings come from AUTHENTIK_LISTEN__HTTP and AUTHENTIK_WEB__PATH alone;
//     no YAML is read, and no file of the tree (manage.py, gunicorn.conf.py).
//   - One process each under gunicorn and dramatiq (authentik has two and one,
//     and three more forks beside the latter). Neither renames itself; real
//     gunicorn reads "gunicorn: master [authentik.root.asgi:application]" in
//     /proc, for setproctitle is installed.
//   - INT or QUIT to gunicorn ends it at once. The real master, when it alone gets
//     one, waits its full 30 s, idle or not, and then kills its workers, which
//     cannot be ended by the QUIT that they are sent.
//   - HUP to gunicorn is only recorded. During boot QUIT gives a Go stack dump.
//   - Polling is quicker: 100 ms where authentik waits 1 s or gunicorn 1 s.
//   - A stop of dramatiq's idle process takes 0.2 s; the real one takes 3 s, and
//     gives up on a task after 600 s.
//
// # Environment
//
// Durations are Go's ("1.5s"); a value that cannot be read is a panic.
//
//	STANDIN_RECORD           directory for ROLE-PID.json and events (see recorder)
//	STANDIN_RECORD_HEALTH    set: gunicorn's health requests are events too
//	STANDIN_SERVER_EXIT      code with which the server exits once it is healthy
//	STANDIN_LIVE_ALONE       set: the server answers the live question itself, as up to 2025.10.3
//	STANDIN_SERVER_HOG       set: the server takes memory, once it is healthy, until killed
//	STANDIN_GUNICORN_DELAY   time that gunicorn boots (database, migrations)
//	STANDIN_GUNICORN_EXIT    code with which gunicorn exits at once
//	STANDIN_RUST_DELAY       time that the child of the binary in Rust boots
//	STANDIN_WORKER_DELAY     time that the worker boots
//	STANDIN_WORKER_TASK      length of the one task that the worker runs
//	STANDIN_MIGRATE_DELAY    time that the migrations take, as a step of their own
//	STANDIN_MIGRATE_EXIT     their exit code
//	STANDIN_MIGRATE_DEAF     set: TERM, which ends Python's at once, does not end them
//	STANDIN_BOOTSTRAP_DELAY  time that the bootstrap blueprint takes
//	STANDIN_BOOTSTRAP_EXIT   its exit code
//
// STANDIN_CHILD is set by the stand-in itself, for the processes that stand for
// forks; GUNICORN_PID and GUNICORN_FD are gunicorn's own, from an old master to
// its successor.
package main
