package prepare

import (
	"errors"
	"fmt"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

func TestTryAddress(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = busy.Close() }()
	for address, want := range map[string]error{
		"127.0.0.1:0":           nil,
		"127.0.0.1:":            nil, // any port, as to Go
		"localhost:0":           nil,
		"a-name-of-a-host:9000": nil,
		busy.Addr().String():    unix.EADDRINUSE,
		"192.0.2.1:9000":        unix.EADDRNOTAVAIL, // for documentation alone (RFC 5737)
	} {
		if err := TryAddress(address); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", address, err, want)
		}
	}
	if HasIPv6() {
		for address, want := range map[string]error{
			"[::1%lo]:0":          nil,
			"[fe80::4711%lo]:99":  unix.EADDRNOTAVAIL,
			"[fe80::4711%1]:9000": unix.EADDRNOTAVAIL,
			"[fe80::4711]:9000":   unix.EINVAL, // of which interface?
		} {
			if err := TryAddress(address); !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", address, err, want)
			}
		}
	}
}

// Go's listeners know ports by name, and so do we.
func TestPortsHaveNames(t *testing.T) {
	for name, want := range map[string]uint16{"http": 80, "https": 443, "": 0, "9000": 9000, "65535": 65535} {
		if got, err := portNumber(name); got != want || err != nil {
			t.Errorf("%q is %d, %v, want %d", name, got, err, want)
		}
	}
}

func TestWhatIsNoAddressIsSaidInWords(t *testing.T) {
	for address, want := range map[string]string{
		"":                   "the port is missing",
		"0.0.0.0":            "the port is missing",
		"::1:9000":           "it has too many colons; an IPv6 address is written in brackets, as [::1]:9000",
		"[::1:9000":          "missing ']' in address",
		"0.0.0.0:nosuchport": `no port is called "nosuchport"`,
		"0.0.0.0:70000":      "70000 is no port: they end at 65535",
		"[fe80::1%nosuch]:1": `no network interface is called "nosuch"`,
	} {
		if err := TryAddress(address); fmt.Sprint(err) != want {
			t.Errorf("%s: %v, want %s", address, err, want)
		}
	}
}
