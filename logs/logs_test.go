package logs

import (
	"bufio"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// to gives a logger and a reader of what it writes.
func to(t *testing.T, s Style) (*Logger, *bufio.Scanner) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close(); _ = w.Close() })
	return New(s, w), bufio.NewScanner(r)
}

func TestConsoleLinesAreShortAndUncoloured(t *testing.T) {
	log, lines := to(t, Style{Level: "info", Format: "console"})
	log.Info("child started", Num("child", 7))
	log.Close()
	if !lines.Scan() || strings.Contains(lines.Text(), "\x1b") || !strings.HasSuffix(lines.Text(), `info ak-init child started {"child": 7}`) {
		t.Errorf("%q", lines.Text())
	}
}

func TestLinesBelowTheLevelAreNotWritten(t *testing.T) {
	begun := make(chan bool, 1)
	log, lines := to(t, Style{Level: "warning", Format: "auto", Begin: func() { begun <- true }})
	log.Write(Debug, "1")
	log.Info("2")
	log.Warn("3", Dur("took", 1500400*time.Microsecond), Ints("all", []int{1, 2}))
	log.Error("4")
	log.Close()
	var got []string
	for range 2 {
		lines.Scan()
		var one struct{ Level, Event, Took, Logger string }
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			t.Fatalf("%q: %v", lines.Text(), err)
		}
		got = append(got, one.Logger+" "+one.Level+" "+one.Event+" "+one.Took)
	}
	if want := []string{"ak-init warning 3 1.5s", "ak-init error 4 "}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if log.Enabled(Info) || !log.Enabled(Error) {
		t.Error("what is enabled is not what is written")
	}
	select {
	case <-begun:
	default:
		t.Error("the goroutine that writes has not begun as it should")
	}
}

// Who asks for health may hear of a change when the log is closed already.
func TestALineBehindTheEndIsDropped(t *testing.T) {
	log, lines := to(t, Style{Level: "info", Format: "json"})
	log.Info("before")
	log.Close()
	log.Info("behind")
	if !lines.Scan() || !strings.Contains(lines.Text(), "before") {
		t.Errorf("%q", lines.Text())
	}
}

// Who forwards signals must not be held up by a full pipe.
func TestNoLineWaitsForItsReader(t *testing.T) {
	log, _ := to(t, Style{Level: "info", Format: "json"})
	for range 10_000 {
		log.Info(strings.Repeat("x", 100)) // blocks for ever if it waits
	}
}
