// Package pythons finds Pythons to try things on.
package pythons

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// That gives those that run a program without a fault: AK_PYTHON names some, with colons
// between, and PATH has others. Where there are none the test is skipped.
func That(t *testing.T, program string) []string {
	t.Helper()
	candidates := strings.FieldsFunc(os.Getenv("AK_PYTHON"), func(r rune) bool { return r == ':' })
	candidates = append(candidates, "python3")
	for n := 11; n <= 15; n++ {
		candidates = append(candidates, fmt.Sprintf("python3.%d", n))
	}
	var run []string
	for _, python := range candidates {
		if exec.CommandContext(t.Context(), python, "-c", program).Run() == nil {
			run = append(run, python)
		}
	}
	if len(run) == 0 {
		t.Skip("no Python runs here")
	}
	return run
}
