package main

import (
	"os"
	"os/signal"
	"syscall"
	"time"
)

// dramatiqPause is how long an idle worker process takes to stop. The real one takes
// 3 s (tried: it looks once a second, then its threads end). In that time a second
// TERM ends it with code 1, and under a signal to the whole group the second, from
// the main process, comes right behind the first.
const dramatiqPause = 200 * time.Millisecond

// dramatiq plays the worker process (worker_process in dramatiq/cli.py). It runs one
// task if there is one; the first TERM or HUP lets that end, the second does not; INT
// is the main process's business.
func dramatiq(rec *recorder) int {
	signal.Ignore(syscall.SIGINT)
	signals := notify(syscall.SIGTERM, syscall.SIGHUP)
	_ = os.NewFile(inheritedFD, "ready").Close() // tells the main process

	var task <-chan time.Time // nil: no task
	if d := knobDuration("STANDIN_WORKER_TASK"); d > 0 {
		rec.event("task begin")
		task = time.After(d)
	}
	var pause <-chan time.Time // nil: not stopping, or paused long enough
	stopping := false
	for !stopping || task != nil || pause != nil {
		select {
		case sig := <-signals:
			rec.event("signal %s", signalName(sig))
			if stopping {
				if task != nil {
					rec.event("task dropped")
				}
				return 1
			}
			stopping, pause = true, time.After(dramatiqPause)
		case <-task:
			rec.event("task end")
			task = nil
		case <-pause:
			pause = nil
		}
	}
	return 0
}
