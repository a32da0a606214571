package health

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Ports are those at which a service has to answer itself: authentik goes on without one
// that it cannot bind, and says so once (internal/web/web.go, authentik/tasks/middleware.py,
// 2026.2); what answers there then is somebody else.
type Ports struct {
	Numbers []int
	// owner is the main process of the family that was found listening. A socket stays with
	// its family, so that nobody needs to look again.
	owner int
}

// Saw takes in a family, the main process first. It gives what is wrong: none of the family
// listens on any of the ports. What may not be looked into is taken for right.
func (p *Ports) Saw(family []Process) error {
	if len(p.Numbers) == 0 || len(family) == 0 || p.owner == family[0].PID {
		return nil
	}
	var strange error
	for _, port := range p.Numbers {
		sockets, err := listening(port)
		if err != nil {
			return nil //nolint:nilerr // no /proc/net: nothing is known
		}
		if len(sockets) == 0 {
			strange = errors.Join(strange, fmt.Errorf("nobody listens on port %d", port))
			continue
		}
		switch held, known := heldBy(family, sockets); {
		case held != "":
			p.owner = family[0].PID
			return nil
		case !known:
			return nil
		default:
			strange = errors.Join(strange, fmt.Errorf("port %d is another process's: it could not be bound, and what answers there is somebody else", port))
		}
	}
	return strange
}

// listening gives the names of the sockets that listen on a port, of either family.
func listening(port int) (map[string]bool, error) {
	sockets := map[string]bool{}
	var last error
	read := 0
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} { // the latter is missing without IPv6
		f, err := os.Open(table)
		if err != nil {
			last = err
			continue
		}
		read++
		whole := listeningIn(f, port, sockets)
		_ = f.Close()
		if !whole {
			return nil, fmt.Errorf("%s is too long, and in no order", table)
		}
	}
	if read == 0 {
		return nil, last
	}
	return sockets, nil
}

// maxOthers bounds how many connections are read past for one that listens: 150 bytes each.
const maxOthers = 1000

// listeningIn adds those of one table, by the names that links in /proc/PID/fd have:
// "socket:[4711]" (proc_pid_fd(5)). Linux has all that listen before all connections
// (net/ipv4/tcp_ipv4.c, tcp_get_idx); another kernel, as gVisor's, may not, and whole is false
// where such a table was not read to its end.
func listeningIn(table io.Reader, port int, sockets map[string]bool) (whole bool) {
	suffix := fmt.Sprintf(":%04X", port)
	lines := bufio.NewScanner(table)
	lines.Scan() // the heading
	others, mixed := 0, false
	for lines.Scan() {
		// proc_pid_net(5): sl, local address, remote address, state, … , the tenth the inode.
		field := strings.Fields(lines.Text())
		if len(field) < 10 || field[3] != "0A" {
			if others++; others > maxOthers {
				return !mixed
			}
			continue
		}
		mixed = mixed || others > 0
		if strings.HasSuffix(field[1], suffix) {
			sockets["socket:["+field[9]+"]"] = true
		}
	}
	return true
}

// heldBy gives the first of the sockets that one of the processes has open. known is false where
// some of them cannot be looked into: those of another uid, without CAP_SYS_PTRACE (ptrace(2),
// PTRACE_MODE_READ).
func heldBy[T any](family []Process, sockets map[string]T) (socket string, known bool) {
	known = true
	for _, process := range family {
		dir := "/proc/" + strconv.Itoa(process.PID) + "/fd"
		descriptors, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrPermission) {
			known = false
		}
		for _, d := range descriptors {
			link, err := os.Readlink(filepath.Join(dir, d.Name()))
			if _, wanted := sockets[link]; wanted {
				return link, true
			}
			if errors.Is(err, fs.ErrPermission) { // root by its CAP_DAC_OVERRIDE sees their numbers, and no more
				known = false
				break
			}
		}
	}
	return "", known
}
