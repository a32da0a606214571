//go:build quiet

package supervise

import (
	"math"
	"sync/atomic"
	"syscall"
	_ "unsafe" // for go:linkname
)

// forcegcperiod is how often, in nanoseconds, Go's runtime collects garbage though nothing
// asks for it. Half of it is the longest sleep of the thread that watches the others
// (runtime/proc.go, sysmon), so an idle program wakes up once a minute.
//
//go:linkname forcegcperiod runtime.forcegcperiod
var forcegcperiod int64 //nolint:gochecknoglobals // it is the runtime's

// firstLimit is the limit of descriptors that this process was started with, where Go has
// raised it since (syscall/rlimit.go). Children get it back.
//
//go:linkname firstLimit syscall.origRlimitNofile
var firstLimit atomic.Pointer[syscall.Rlimit] //nolint:gochecknoglobals // it is syscall's

// softLimit is the soft limit of descriptors that this process was started with, given the one
// that it has.
func softLimit(now uint64) uint64 {
	if first := firstLimit.Load(); first != nil {
		return first.Cur
	}
	return now
}

// keepQuiet lets an idle process sleep for good. docs/decisions/0008 says what this costs.
func keepQuiet() { forcegcperiod = math.MaxInt64 }
