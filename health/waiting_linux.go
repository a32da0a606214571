package health

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
)

// WaitsFor gives the peer that a family waits for in vain, by one of these ports: a connection that
// is still to be made, or whose data has been sent again. Empty: there is none, or what may not
// be looked into.
func WaitsFor(family []Process, ports []int) (peer string) {
	peers := map[string]string{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		f, err := os.Open(table)
		if err != nil {
			continue
		}
		lines := bufio.NewScanner(f)
		for read := 0; read < maxConnections && lines.Scan(); read++ {
			if socket, peer, ok := unheard(strings.Fields(lines.Text()), ports); ok {
				peers[socket] = peer
			}
		}
		_ = f.Close()
	}
	if len(peers) == 0 {
		return ""
	}
	held, _ := heldBy(family, peers)
	return peers[held]
}

// Bound tells whether somebody listens at a unix socket of this path, be its file still there or
// not (unix(7), proc_pid_net(5): number, references, protocol, flags, type, state, inode, path; flag
// 00010000 is __SO_ACCEPTCON).
func Bound(path string) bool {
	f, err := os.Open("/proc/net/unix")
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	lines := bufio.NewScanner(f)
	for read := 0; read < maxConnections && lines.Scan(); read++ {
		if field := strings.Fields(lines.Text()); len(field) > 7 && field[3] == "00010000" && strings.HasSuffix(lines.Text(), " "+path) {
			return true
		}
	}
	return false
}

// maxConnections bounds how much of each table is read: 150 bytes a line.
const maxConnections = 20_000

// unheard reads one line (proc_pid_net(5)): slot, local and remote address, state, queues, timer,
// retransmissions, uid, timeouts, inode. State 02 is SYN_SENT, and timer 01 waits for what was
// sent to be acknowledged.
func unheard(field []string, ports []int) (socket, peer string, ok bool) {
	if len(field) < 10 {
		return "", "", false
	}
	address, ok := addressIn(field[2])
	if !ok || !slices.Contains(ports, int(address.Port())) {
		return "", "", false
	}
	again := strings.HasPrefix(field[5], "01:") && strings.Trim(field[6], "0") != ""
	return "socket:[" + field[9] + "]", address.String(), field[3] == "02" || again
}

// addressIn reads an address in hexadecimal: words of 32 bits in the machine's order, a colon, and
// the port (net/ipv4/tcp_ipv4.c, get_tcp4_sock; net/ipv6/tcp_ipv6.c, get_tcp6_sock).
func addressIn(text string) (netip.AddrPort, bool) {
	host, number, _ := strings.Cut(text, ":")
	raw, err := hex.DecodeString(host)
	port, portErr := strconv.ParseUint(number, 16, 16)
	if err != nil || portErr != nil || len(raw)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(raw); i += 4 {
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	ip, ok := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(ip.Unmap(), uint16(port)), ok
}
