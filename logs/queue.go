package logs

import (
	"errors"
	"os"
	"time"
)

// queue hands lines to one goroutine that may block on a slow reader. When it is full, or
// closed, lines are dropped.
type queue struct {
	lines chan []byte
	// over is closed when no more lines are waited for, done when those before have been
	// written. lines itself stays open: who asks for health may write until the very end.
	over, done chan struct{}
}

// queued is how many lines wait for a slow reader.
const queued = 256

var errQueueFull = errors.New("nobody reads the log")

func newQueue(out *os.File, begin func()) *queue {
	q := &queue{make(chan []byte, queued), make(chan struct{}), make(chan struct{})}
	go func() { // ends by close
		defer close(q.done)
		if begin != nil {
			begin()
		}
		q.drain(out)
	}()
	return q
}

func (q *queue) drain(out *os.File) {
	for {
		select {
		case line := <-q.lines:
			_, _ = out.Write(line) // one write a line: lines of other processes cannot tear it
		case <-q.over:
			for range len(q.lines) {
				_, _ = out.Write(<-q.lines)
			}
			return
		}
	}
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
	close(q.over)
	select {
	case <-q.done:
	case <-time.After(time.Second):
	}
}
