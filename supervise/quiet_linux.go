//go:build quiet

package supervise

import (
	"math"
	_ "unsafe" // for go:linkname
)

// forcegcperiod is how often, in nanoseconds, Go's runtime collects garbage though nothing
// asks for it. Half of it is the longest sleep of the thread that watches the others
// (runtime/proc.go, sysmon), so an idle program wakes up once a minute.
//
//go:linkname forcegcperiod runtime.forcegcperiod
var forcegcperiod int64 //nolint:gochecknoglobals // it is the runtime's

// keepQuiet lets an idle process sleep for good. docs/decisions/0008 says what this costs.
func keepQuiet() { forcegcperiod = math.MaxInt64 }
