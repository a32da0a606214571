package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What docker exec does in a container that is healthy.
func TestCheckBesideARunningOne(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.env = append(s.env, "AUTHENTIK_LISTEN__HTTPS=127.0.0.1:0", "AUTHENTIK_LISTEN__METRICS=127.0.0.1:0")
	s.write(s.root+"/data", "upload.png")
	r := s.start("server")
	s.awaitHealth(0, "--started")
	s.write(s.tmpdir+metricsOfScene, "counter_99999.db", "mine.txt")
	look := func() []map[string]string {
		return []map[string]string{s.timesOf(s.tmpdir), s.timesOf(s.root)}
	}
	before := look()
	check := s.start("check", "server")
	if code := check.exitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if diff := cmp.Diff(before, look()); diff != "" {
		t.Errorf("check changed something (-before +after):\n%s", diff)
	}
	check.row("instance", "ok", "an ak-init runs here: ")
	check.row("listen", "ok", s.address+" is in use, as it should be: an ak-init runs here")
	if said := check.logs.String(); !strings.Contains(said, "server would start (") || !strings.Contains(said, " 0 warnings, 0 errors)") {
		t.Errorf("it says\n%s", said)
	}
	if started := s.starts("server"); len(started) != 1 {
		t.Errorf("started %v", started)
	}
	if code, said := s.health("--ready"); code != 0 {
		t.Errorf("afterwards the server is %q", said)
	}
	r.stop()
}

// row wants one row of a check's table that begins so and holds the words.
func (r *running) row(check, state, words string) {
	r.t.Helper()
	for text := range strings.Lines(r.logs.String()) {
		if f := strings.Fields(text); len(f) > 1 && slices.Equal(f[:2], []string{check, state}) && strings.Contains(text, words) {
			return
		}
	}
	r.t.Errorf("no row %s %s with %q in\n%s", check, state, words, r.logs.String())
}
