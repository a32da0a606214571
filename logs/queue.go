package logs

import (
	"errors"
	"os"
	"time"
)

// queue hands lines to one goroutine that may block on a slow reader. When it is full
// lines are dropped.
type queue struct {
	lines chan []byte
	done  chan struct{}
}

// queued is how many lines wait for a slow reader.
const queued = 256

var errQueueFull = errors.New("nobody reads the log")

func newQueue(out *os.File, begin func()) *queue {
	q := &queue{make(chan []byte, queued), make(chan struct{})}
	go func() { // ends when close has closed lines
		defer close(q.done)
		if begin != nil {
			begin()
		}
		for line := range q.lines {
			_, _ = out.Write(line) // one write a line: lines of other processes cannot tear it
		}
	}()
	return q
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
	close(q.lines)
	select {
	case <-q.done:
	case <-time.After(time.Second):
	}
}
