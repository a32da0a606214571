// Command sleeper says that it has been started, in one byte, and sleeps for good.
package main

import (
	"os"

	"golang.org/x/sys/unix"
)

func main() {
	_, _ = os.Stdout.WriteString("x")
	for {
		_ = unix.Pause() // a signal that Go's runtime takes ends it
	}
}
