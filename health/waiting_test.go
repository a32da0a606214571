package health

import (
	"net"
	"os"
	"strings"
	"testing"
)

func TestWhoIsNotHeard(t *testing.T) {
	const tail = "     0        0 4711 1 0000000000000000 100 0 0 10 0"
	for line, want := range map[string]string{
		"0: 0100007F:D2C4 0500000A:1538 02 00000001:00000000 01:00000063 00000000":                                          "10.0.0.5:5432",
		"1: 0100007F:D2C4 0500000A:1538 01 0000001C:00000000 01:00000063 00000002":                                          "10.0.0.5:5432",
		"2: 0100007F:D2C4 0500000A:1538 01 0000001C:00000000 01:00000063 00000000":                                          "", // sent just now
		"3: 0100007F:D2C4 0500000A:1538 01 00000000:00000000 00:00000000 00000000":                                          "",
		"4: 0100007F:D2C4 0500000A:1539 02 00000001:00000000 01:00000063 00000000":                                          "", // another port
		"5: 00000000:1538 00000000:0000 0A 00000000:00000000 00:00000000 00000000":                                          "",
		"6: B80D0120000000000000000001000000:D2C4 B80D0120000000000000000005000000:1538 02 00000001:00000000 01:00000063 0": "[2001:db8::5]:5432",
		"7: 0000000000000000FFFF00000100007F:D2C4 0000000000000000FFFF00000500000A:1538 02 00000001:00000000 01:00000063 0": "10.0.0.5:5432",
		"sl local_address rem_address st": "",
		"8: x y:z 02 0:0 01:0 0":          "",
	} {
		socket, peer, ok := unheard(strings.Fields(line+tail), []int{5432})
		if !ok {
			peer = ""
		}
		if peer != want || ok && socket != "socket:[4711]" {
			t.Errorf("%s: %s by %s, want %q", line, peer, socket, want)
		}
	}
}

func TestWhoIsHeardIsNotWaitedFor(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	self := []Process{{PID: os.Getpid()}}
	if peer := WaitsFor(self, []int{l.Addr().(*net.TCPAddr).Port}); peer != "" {
		t.Errorf("it waits for %s, which has answered", peer)
	}
}

func TestASocketWithoutItsFileIsBound(t *testing.T) {
	path := t.TempDir() + "/a sock"
	if Bound(path) {
		t.Error("before anybody has bound it")
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil || !Bound(path) {
		t.Errorf("somebody listens there (%v)", err)
	}
	if Bound(path[1:]) {
		t.Error("by a part of its name")
	}
	if err := l.Close(); err != nil && !strings.Contains(err.Error(), "no such file") || Bound(path) {
		t.Errorf("closed (%v), and still bound", err)
	}
}
