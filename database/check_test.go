package database

import (
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"ak-init/testdata/postgres"
)

// canary is in every password here and must be in no message.
const canary = "c4nary"

// tell wants an attempt to fail for this cause, with a message in the house's style.
func tell(t *testing.T, err error, cause Cause, parts ...string) {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("got %v, want the cause %s", err, cause)
	}
	if e.Cause != cause || Classify(err) != cause {
		t.Errorf("cause %s, want %s: %v", e.Cause, cause, err)
	}
	line := err.Error()
	for _, part := range parts {
		if !strings.Contains(line, part) {
			t.Errorf("no %q in %s", part, line)
		}
	}
	if !strings.HasPrefix(line, "cannot ") || strings.HasSuffix(line, ".") || strings.ContainsAny(line, "\n\r\x00") || len(line) > 900 {
		t.Errorf("not in the house's style: %q", line)
	}
	secretive(t, err)
	t.Log(line)
}

// secretive wants no password wherever an error might be printed.
func secretive(t *testing.T, err error) {
	t.Helper()
	for ; err != nil; err = errors.Unwrap(err) {
		for _, format := range []string{"%v", "%+v", "%#v"} {
			if text := fmt.Sprintf(format, err); strings.Contains(text, canary) {
				t.Errorf("%s of %T has the password: %s", format, err, text)
			}
		}
	}
}

// libpq is what psql says to the same settings.
func libpq(t *testing.T, s Settings) error {
	t.Helper()
	keywords, err := s.keywords()
	if err != nil {
		return err
	}
	for name, value := range keywords {
		if value == "" {
			delete(keywords, name)
		}
	}
	if s.Password != "" {
		keywords["password"] = s.Password
	}
	if address := s.Options["hostaddr"]; address != "" {
		keywords["hostaddr"] = address
	}
	keywords["connect_timeout"] = "20"
	cmd := exec.Command(postgres.Binaries()+"/psql", "-XAtw", "-c", "select 1", conninfo(keywords))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// nothingRuns wants every goroutine that pgconn started to end.
func nothingRuns(t *testing.T) {
	t.Helper()
	var left string
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range 200 {
		buffer := make([]byte, 1<<20)
		all := string(buffer[:runtime.Stack(buffer, true)])
		left = ""
		for stack := range strings.SplitSeq(all, "\n\n") {
			if strings.Contains(stack, "jackc/pgx") && !strings.Contains(stack, "nothingRuns") {
				left = stack
			}
		}
		if left == "" {
			return
		}
		<-tick.C
	}
	t.Errorf("left behind:\n%s", left)
}
