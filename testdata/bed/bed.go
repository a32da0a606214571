// Package bed is how tests say what they need of a machine.
package bed

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// Need skips a test whose bed is missing, or fails it where AK_BEDS, a list with commas, promises
// the bed.
func Need(tb testing.TB, name string, have bool, missing string) {
	tb.Helper()
	switch {
	case have:
	case slices.Contains(strings.Split(os.Getenv("AK_BEDS"), ","), name):
		tb.Fatalf("AK_BEDS names %s, and %s", name, missing)
	default:
		tb.Skip(missing)
	}
}
