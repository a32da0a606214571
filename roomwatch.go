package main

import (
	"sync"
	"time"

	"ak-init/logs"
	"ak-init/prepare"
)

// roomWatch looks at the room in TMPDIR while services run: metric files grow there, and a
// process that finds it full ends by SIGBUS (goauthentik/authentik#10768). It has no timer, so
// that idle stays idle: it looks when somebody asks for health.
type roomWatch struct {
	dir string
	log *logger

	mu   sync.Mutex
	next time.Time
	// short: it has been said, and is not said again before there is room once more.
	short bool
}

// roomEvery is the shortest time between two looks.
const roomEvery = time.Minute

// asked looks if it is time to, and keeps nobody waiting.
func (w *roomWatch) asked(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now.Before(w.next) {
		return
	}
	w.next = now.Add(roomEvery)
	go func() { // ends with the look, which has a bound
		if s, err := prepare.Room(w.dir); err == nil {
			w.saw(s)
		}
	}()
}

func (w *roomWatch) saw(s prepare.Space) {
	w.mu.Lock()
	was := w.short
	w.short = isShort(s)
	now := w.short
	w.mu.Unlock()
	if now && !was {
		w.log.Warn("TMPDIR is nearly full: processes that find it full end by SIGBUS; "+moreRoom, logs.Str("check", "tmpdir"),
			logs.Str("path", w.dir), logs.Str("free", size(s.Free)), logs.Str("total", size(s.Total)))
	}
}

// A fifth of a small TMPDIR is little; of a large one this much is enough for a long time.
// Each process that ever ran has some ten files.
const (
	muchRoom  = 1 << 30
	fewInodes = 1000
)

// isShort tells whether TMPDIR is nearly full. What counts no blocks never is.
func isShort(s prepare.Space) bool {
	return s.Total > 0 && (s.Free < littleRoom || s.Free < min(s.Total/5, muchRoom)) ||
		s.Inodes > 0 && s.FreeInodes < fewInodes
}
