package prepare

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Host is what this machine gives and allows, as far as authentik's start depends on it.
type Host struct {
	// IPv6 tells whether such a socket can be had at all.
	IPv6 bool
	// FreePorts is the first port that needs no privilege (ip(7), ip_unprivileged_port_start),
	// and BindsLow whether this process may take the ones below (capabilities(7),
	// CAP_NET_BIND_SERVICE).
	FreePorts int
	BindsLow  bool
	Mounts    []Mount
	// Now is its clock.
	Now time.Time
}

// Mount is one line of /proc/self/mountinfo (proc_pid_mountinfo(5)).
type Mount struct {
	// Path is where it is mounted, Source what, Type the file system's name.
	Path, Source, Type string
}

// LookAtHost looks and changes nothing. What it may not see it takes for what is usual.
func LookAtHost(now time.Time) Host {
	h := Host{IPv6: hasIPv6(), FreePorts: 1024, BindsLow: mayBindLow(), Now: now}
	if raw, err := ReadSmall("/proc/sys/net/ipv4/ip_unprivileged_port_start"); err == nil {
		if n, err := strconv.Atoi(strings.TrimSpace(string(raw))); err == nil {
			h.FreePorts = n
		}
	}
	if raw, err := ReadSmall("/proc/self/mountinfo"); err == nil {
		h.Mounts = mountsIn(string(raw))
	}
	return h
}

func hasIPv6() bool {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err != unix.EAFNOSUPPORT
	}
	_ = unix.Close(fd)
	return true
}

// mayBindLow asks for the effective capabilities (man 2 capget).
func mayBindLow() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return true // binding will tell
	}
	return data[0].Effective&(1<<unix.CAP_NET_BIND_SERVICE) != 0
}

// mountsIn reads mountinfo: the fifth field is the mount point, and behind the lone dash come
// type and source. Spaces in them are written \040.
func mountsIn(text string) []Mount {
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	var mounts []Mount
	for line := range strings.Lines(text) {
		before, after, ok := strings.Cut(strings.TrimSpace(line), " - ")
		place, what := strings.Fields(before), strings.Fields(after)
		if ok && len(place) > 4 && len(what) > 1 {
			mounts = append(mounts, Mount{unescape.Replace(place[4]), unescape.Replace(what[1]), what[0]})
		}
	}
	return mounts
}

// MountAt gives the mount at exactly this path, the last one where several lie on each other.
func (h Host) MountAt(path string) (found Mount, ok bool) {
	for _, m := range h.Mounts {
		if m.Path == path {
			found, ok = m, true
		}
	}
	return found, ok
}

// TryAddress binds a TCP address and lets go of it at once. It never listens: nobody can
// connect meanwhile. Only addresses are tried; a name would have to be asked for, and is left
// to who listens.
func TryAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return err
	}
	switch host {
	case "localhost":
		host = "127.0.0.1"
	case "":
		host = "0.0.0.0"
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return nil //nolint:nilerr // a name
	}
	return bind(ip, int(number))
}

// bind does as a listener would: without SO_REUSEADDR connections of an earlier run that are
// not quite over would be in its way, and with it one that listens still is (man 7 socket).
func bind(ip netip.Addr, port int) error {
	family, address := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: port, Addr: ip.As16()})
	if ip = ip.Unmap(); ip.Is4() {
		family, address = unix.AF_INET, &unix.SockaddrInet4{Port: port, Addr: ip.As4()}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	if family == unix.AF_INET6 { // [::] takes IPv4's port as well, as Go's listeners do
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0); err != nil {
			return err
		}
	}
	return unix.Bind(fd, address)
}
