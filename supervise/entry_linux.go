//go:build amd64 || arm64

package supervise

// entry is where the process begins when it is linked with
//
//	-ldflags "-E ak-init/supervise.entry"
//
// and not at all without. Nothing in Go calls it.
//
// Until Go's runtime has its own handlers, the kernel drops a TERM to PID 1
// (pid_namespaces(7)), and the container runtime waits in vain. From there to [Catch] Go
// ends PID 1 with code 2. So TERM, INT and QUIT get a handler before Go's first
// instruction, which ends the process with 128 + signal: nothing has been started or
// prepared. HUP is left alone: whether it was ignored, as by nohup(1), is of interest later.
//
// Go's runtime takes over from there (runtime/signal_unix.go). initsig remembers the
// handler that it replaces, and dieFromSignal, the end of a TERM or INT that nobody has
// asked for, calls it. A QUIT between initsig and Catch is lost to us: the runtime prints
// a trace and ends with 2.
//
// Blocking these signals would not do: Go unblocks what would end it, before its own
// handlers are there (minitSignalMask, blockableSig). Those that only a child can do
// something with it leaves blocked, in all of its threads, and so they are blocked here:
// [Signals] hears them without Go's help.
//
// A link by the C linker (-linkmode=external) ignores -E without a word.
func entry() //nolint:unused // the linker refers to it
