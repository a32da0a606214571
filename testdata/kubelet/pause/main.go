// Pause is the sandbox of a pod: it waits for TERM. Where a pod shares its process
// namespace it is PID 1, and reaps.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	signal.Ignore(syscall.SIGCHLD) // the kernel reaps then (man 2 wait, NOTES)
	<-signals
}
