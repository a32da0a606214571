package main

import (
	"encoding/json"
	"os"
	"time"
)

// logLine writes one line to stderr as logrus does for authentik's Go programs
// (internal/common/prerun.go): sorted keys, no escapes for HTML. structlog's lines
// from Python have the same four keys and more.
func logLine(level, logger, event string, err error) {
	line := map[string]string{
		"event":     event,
		"level":     level,
		"logger":    logger,
		"timestamp": time.Now().Format(time.RFC3339),
	}
	if err != nil {
		line["error"] = err.Error()
	}
	out := json.NewEncoder(os.Stderr)
	out.SetEscapeHTML(false)
	_ = out.Encode(line) // nowhere left to complain
}
