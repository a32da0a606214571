//go:build !quiet

package supervise

// keepQuiet does nothing in a build without the tag quiet: Go's own watchman wakes an idle
// process once a minute.
func keepQuiet() {}

// softLimit is not known without the tag quiet.
func softLimit(uint64) uint64 { return 0 }
