package main

import (
	"bufio"
	"encoding/json"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"ak-init/supervise"
)

// logTo gives a logger and a reader of what it writes.
func logTo(t *testing.T, words ...string) (*logger, *os.File) {
	t.Helper()
	o, err := parse(append([]string{"server"}, words...), nil)
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close(); _ = w.Close() })
	return newLogger(o, w), r
}

func TestLinesHaveAuthentiksShape(t *testing.T) {
	log, r := logTo(t)
	log.event(supervise.Exited{
		Command: supervise.Command{Name: "server"}, PID: 7,
		Status: syscall.WaitStatus(syscall.SIGKILL), Code: 137, Uptime: 1500 * time.Millisecond, MaxRSS: 2048,
	})
	log.Warn("something \"odd\"\nin two lines")
	log.Write(-1, "not at this level") // debug
	log.Close()
	lines := bufio.NewScanner(r)
	var got []map[string]any
	for range 2 {
		lines.Scan()
		one := map[string]any{}
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			t.Fatalf("%q: %v", lines.Text(), err)
		}
		stamp, _ := one["timestamp"].(string)
		if _, err := time.Parse(time.RFC3339Nano, stamp); err != nil {
			t.Errorf("timestamp %v: %v", one["timestamp"], err)
		}
		if one["logger"] != "ak-init" || one["pid"] != float64(os.Getpid()) {
			t.Errorf("logger %v, pid %v", one["logger"], one["pid"])
		}
		got = append(got, one)
	}
	for key, want := range map[string]any{
		"event": "child exited", "level": "error", "role": "server", "child": 7.0, "signal": "SIGKILL", "uptime": "1.5s", "max_rss_kib": 2048.0,
	} {
		if got[0][key] != want {
			t.Errorf("%s is %v, want %v", key, got[0][key], want)
		}
	}
	if got[1]["level"] != "warning" {
		t.Errorf("level is %v", got[1]["level"])
	}
}

func TestEveryEventHasItsWords(t *testing.T) {
	log, r := logTo(t, "--log-level", "debug")
	events := []supervise.Event{
		supervise.Started{}, supervise.StartFailed{Err: syscall.ENOENT}, supervise.Exited{}, supervise.OrphanReaped{},
		supervise.Forwarded{Signal: syscall.Signal(40)}, supervise.StopBegun{Signal: syscall.SIGTERM}, supervise.Draining{PIDs: []int{1, 2}},
		supervise.StopSent{}, supervise.GraceNearlyOver{}, supervise.Swept{Told: 1}, supervise.Killed{Why: "x"}, supervise.GaveUp{},
	}
	for _, e := range events {
		log.event(e)
	}
	log.Close()
	lines := bufio.NewScanner(r)
	var said []string
	for range events {
		if !lines.Scan() {
			t.Fatal("an event without a line")
		}
		one := map[string]any{}
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			t.Fatal(err)
		}
		event, _ := one["event"].(string)
		if event == "" || slices.Contains(said, event) {
			t.Errorf("%s has no words of its own", lines.Text())
		}
		said = append(said, event)
	}
}
