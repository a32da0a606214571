package prepare

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// FreePorts is the first port that needs no privilege (ip(7), ip_unprivileged_port_start); where
// that cannot be read, what it is by default.
func FreePorts() int {
	raw, _ := readSmall("/proc/sys/net/ipv4/ip_unprivileged_port_start")
	if n, err := strconv.Atoi(strings.TrimSpace(string(raw))); err == nil {
		return n
	}
	return 1024
}

// HasIPv6 tells whether such a socket can be had at all.
func HasIPv6() bool {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err != unix.EAFNOSUPPORT
	}
	_ = unix.Close(fd)
	return true
}

// BindsLow tells whether this process may bind the ports below (capabilities(7),
// CAP_NET_BIND_SERVICE, of the effective ones: man 2 capget).
func BindsLow() bool { return capable(unix.CAP_NET_BIND_SERVICE) }

// capable tells whether a capability is among this process's effective ones.
func capable(capability int) bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return true // trying will tell
	}
	return data[capability/32].Effective&(1<<(capability%32)) != 0
}

// isMount tells whether a mount begins at exactly this path (man 2 statx,
// STATX_ATTR_MOUNT_ROOT; before Linux 5.8 by the table of mounts). Nothing there is none. A
// file server is not asked.
func isMount(path string) bool {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_STATX_DONT_SYNC|unix.AT_NO_AUTOMOUNT, 0, &st); err != nil {
		return false
	}
	if st.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT != 0 {
		return st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
	}
	return mountOf(path).point == path
}

// TryAddress binds a TCP address and lets go of it at once. It never listens: nobody can
// connect meanwhile. Only addresses are tried; a name would have to be asked for, and is left
// to who listens. What is no address to Go's listeners is an error in words; of the kernel's
// errors those are given that are about the address (EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT,
// EACCES, and EINVAL for a link-local one without its interface), and others tell only that it
// was not tried.
func TryAddress(address string) error {
	at, err := Address(address)
	if err != nil || !at.Addr().IsValid() {
		return err
	}
	zone, err := zoneNumber(at.Addr().Zone())
	if err != nil {
		return err
	}
	switch err := bind(at.Addr(), zone, int(at.Port())); err {
	case unix.EADDRINUSE, unix.EADDRNOTAVAIL, unix.EAFNOSUPPORT, unix.EACCES, unix.EINVAL:
		return err
	default:
		return nil
	}
}

// Address is what HOST:PORT means, however it is written. No host is 0.0.0.0; of another name
// than localhost there is the port alone.
func Address(text string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return netip.AddrPort{}, malformed(err)
	}
	number, err := portNumber(port)
	if err != nil {
		return netip.AddrPort{}, err
	}
	switch host {
	case "localhost":
		host = "127.0.0.1"
	case "":
		host = "0.0.0.0"
	}
	ip, _ := netip.ParseAddr(host) // invalid: a name
	return netip.AddrPortFrom(ip.Unmap(), number), nil
}

// malformed says what net.SplitHostPort means.
func malformed(err error) error {
	e, ok := errors.AsType[*net.AddrError](err)
	switch {
	case !ok:
		return err
	case e.Err == "missing port in address":
		return errors.New("the port is missing")
	case e.Err == "too many colons in address":
		return errors.New("it has too many colons; an IPv6 address is written in brackets, as [::1]:9000")
	default:
		return errors.New(e.Err)
	}
}

// portNumber takes names too, as of /etc/services; an empty one is any port.
func portNumber(port string) (uint16, error) {
	if n, err := strconv.Atoi(port); err == nil && (n < 0 || n > 65535) {
		return 0, fmt.Errorf("%d is no port: they end at 65535", n)
	}
	n, err := net.DefaultResolver.LookupPort(context.Background(), "tcp", port)
	if err != nil {
		return 0, fmt.Errorf("no port is called %q", port)
	}
	return uint16(n), nil
}

// zoneNumber is an interface's, by its name or its number (RFC 4007, section 11.2).
func zoneNumber(zone string) (uint32, error) {
	if zone == "" {
		return 0, nil
	}
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n), nil
	}
	one, err := net.InterfaceByName(zone)
	if err != nil {
		return 0, fmt.Errorf("no network interface is called %q", zone)
	}
	return uint32(one.Index), nil
}

// bind does as a listener would: without SO_REUSEADDR connections of an earlier run that are
// not quite over would be in its way, and with it one that listens still is (man 7 socket).
func bind(ip netip.Addr, zone uint32, port int) error {
	family, address := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: port, ZoneId: zone, Addr: ip.As16()})
	if ip.Is4() {
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
