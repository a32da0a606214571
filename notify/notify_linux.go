package notify

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// What a service manager sets for its service (sd_notify(3), sd_watchdog_enabled(3)). They
// are meant for one process alone.
const (
	SocketVariable   = "NOTIFY_SOCKET"
	IntervalVariable = "WATCHDOG_USEC"
	WatchedVariable  = "WATCHDOG_PID"
)

// Variables are all of them.
func Variables() []string { return []string{SocketVariable, IntervalVariable, WatchedVariable} }

// What can be said (sd_notify(3)).
const (
	Ready    = "READY=1"
	Stopping = "STOPPING=1"
	Alive    = "WATCHDOG=1"
)

// maxStatus bounds a status, in bytes. systemd takes 4096 for the whole datagram
// (src/core/manager.c, NOTIFY_BUFFER_MAX).
const maxStatus = 512

// Status is a line for people: valid UTF-8, and short.
func Status(text string) string {
	text = strings.NewReplacer("\n", "; ", "\r", " ").Replace(text)
	return "STATUS=" + strings.ToValidUTF8(text[:min(len(text), maxStatus)], "")
}

// Extend asks for that much more time from now on in the state that the service is in. It has
// no effect where less has passed than the unit allows.
func Extend(by time.Duration) string {
	return fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", by.Microseconds())
}

// sendTimeout bounds one message: the manager's queue may be full (unix(7)).
const sendTimeout = 5 * time.Second

// Send sends these lines as one message. The socket is a path, or, behind an @, a name in the
// abstract namespace. It waits for a full queue, five seconds at most.
func Send(socket string, lines ...string) error {
	if !strings.HasPrefix(socket, "/") && !strings.HasPrefix(socket, "@") || len(socket) < 2 {
		return fmt.Errorf("%s is neither an absolute path nor an abstract name: %.100q", SocketVariable, socket)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	tv := unix.NsecToTimeval(int64(sendTimeout))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &tv); err != nil {
		return fmt.Errorf("setsockopt: %w", err)
	}
	// An @ at the front of a name is x/sys/unix's for the abstract namespace, too.
	to, message := &unix.SockaddrUnix{Name: socket}, []byte(strings.Join(lines, "\n"))
	for {
		err := unix.Sendto(fd, message, unix.MSG_NOSIGNAL, to)
		switch {
		case errors.Is(err, unix.EINTR): // a time-out set, SA_RESTART does not repeat it (signal(7))
		case err != nil:
			return fmt.Errorf("%s: %w", socket, err)
		default:
			return nil
		}
	}
}

// Interval is within which time the manager wants to hear [Alive], 0 for never: from the two
// variables, and the pid that asks.
func Interval(usec, watched string, self int) (time.Duration, error) {
	if usec == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(usec, 10, 64)
	if err != nil || n <= 0 || n > math.MaxInt64/int64(time.Microsecond) {
		return 0, fmt.Errorf("%s is no number of microseconds: %.40q", IntervalVariable, usec)
	}
	if watched != "" && watched != strconv.Itoa(self) {
		return 0, nil // somebody else's
	}
	return time.Duration(n) * time.Microsecond, nil
}
