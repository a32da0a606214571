package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"ak-init/authentik"
	"ak-init/prepare"
)

var writePage = flag.Bool("write-checks", false, "write docs/checks.md")

// TestPageOfChecks holds docs/checks.md to the checks' own table.
func TestPageOfChecks(t *testing.T) {
	const path = "docs/checks.md"
	want := pageOfChecks()
	if *writePage {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("write it anew by \"go test . -run PageOfChecks -write-checks\" (-want +got):\n%s", diff)
	}
}

func pageOfChecks() string {
	var b strings.Builder
	b.WriteString(`# Checks

What ak-init looks at before it starts anything. "ak-init check [server|worker|all|migrate]" shows all of it and changes
nothing; a start says only what is wrong. A warning is a line in the log, and with --strict an error.

The exit code is that of the error, and 78 where there are errors of several kinds. "check" gives 78 in the place of
126 and 127, which a shell would say of ak-init itself.

This page is made from the table in the source, by "go test . -run PageOfChecks -write-checks".

| check | looks at | says besides ok |
|---|---|---|
`)
	for _, c := range checks() {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", c.id, c.looks, c.goesWrong)
	}
	return b.String()
}

func TestChecksHaveIDsOfTheirOwn(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range checks() {
		if seen[c.id] || c.id == "" || c.looks == "" || c.goesWrong == "" {
			t.Errorf("check %+v", c)
		}
		seen[c.id] = true
	}
}

// TestJudges is the table of what each check says of which circumstances. What can be had for
// real is in testdata/script/check.txtar; here is what cannot: other clocks, machines without
// IPv6, mounts of a container.
func TestJudges(t *testing.T) {
	const week = 7 * 24 * time.Hour
	published := authentik.Newest().Published
	tests := []struct {
		name  string
		judge func(circumstances) []*finding
		with  func(*circumstances)
		// want are "state: words of what was found", in order.
		want []string
	}{
		{"a clock before the release", judgeClock, func(c *circumstances) { c.facts.now = published.Add(-week) }, []string{"warning: was published on"}},
		{"a clock behind it", judgeClock, func(c *circumstances) { c.facts.now = published.Add(week) }, []string{"ok: "}},

		{"no zone", judgeTimeZone, func(*circumstances) {}, []string{"ok: UTC"}},
		{"UTC by another name", judgeTimeZone, func(c *circumstances) { c.options.env["TZ"] = ":Etc/UTC" }, []string{"ok: UTC"}},
		{"another zone", judgeTimeZone, func(c *circumstances) { c.options.env["TZ"] = "Asia/Tokyo" }, []string{`warning: TZ is "Asia/Tokyo"`}},
		{"the host's zone, mounted", judgeTimeZone, func(c *circumstances) {
			c.facts.mounts = map[string]bool{"/etc/localtime": true, "/etc/timezone": true}
		}, []string{"warning: /etc/localtime is a mount", "warning: /etc/timezone is a mount"}},

		{"descriptors that are not known", judgeOpenFiles, func(*circumstances) {}, nil},
		{"few, and no more to be had", judgeOpenFiles, func(c *circumstances) { c.facts.openFiles, c.facts.openFilesMax = 256, 1024; c.plan.OpenFiles = 1024 }, []string{"warning: at most 1024 descriptors"}},
		{"Docker's usual ones", judgeOpenFiles, func(c *circumstances) {
			c.facts.openFiles, c.facts.openFilesMax = 1024, 524288
			c.plan.OpenFiles = 65536
		}, []string{"ok: 1024 descriptors (nofile), raised to 65536"}},
		{"enough", judgeOpenFiles, func(c *circumstances) { c.facts.openFiles, c.facts.openFilesMax = 100000, 1<<20 }, []string{"ok: 100000"}},
		{"without bound", judgeOpenFiles, func(c *circumstances) {
			c.facts.openFiles, c.facts.openFilesMax, c.plan.OpenFiles = 1<<30, 1<<30, 65536
		}, []string{"ok: 1073741824 descriptors (nofile), lowered to 65536"}},

		{"free", judgeListen, listening(listener{service: "server", setting: "listen.http", address: "0.0.0.0:9000", vital: true}), []string{"ok: server's listen.http 0.0.0.0:9000 is free"}},
		{"without IPv6, by default", judgeListen, listening(listener{service: "server", setting: "listen.http", address: "0.0.0.0:9000", onIPv4: true}), []string{"ok: server's listen.http 0.0.0.0:9000 is free, and in the place of [::]: this machine has no IPv6"}},
		{"one address twice", judgeListen, func(c *circumstances) {
			c.facts.listeners = []listener{
				{service: "server", setting: "listen.http", address: "0.0.0.0:9000", vital: true},
				{service: "server", setting: "listen.https", address: "0.0.0.0:0", vital: true},
				{service: "server", setting: "listen.metrics", address: "0.0.0.0:9000"},
				{service: "server", setting: "listen.debug", address: "0.0.0.0:0"},
			}
		}, []string{
			"ok: server's listen.http 0.0.0.0:9000 is free", "ok: server's listen.https 0.0.0.0:0 is free",
			"warning: server's listen.http and server's listen.metrics are both 0.0.0.0:9000: one of them will not be had", "ok: server's listen.debug 0.0.0.0:0 is free",
		}},
		{"without IPv6, and wanted", judgeListen, listening(listener{service: "server", setting: "listen.http", address: "[::]:9000", vital: true, err: unix.EAFNOSUPPORT}), []string{"error: server's listen.http [::]:9000 cannot be had: this machine has no IPv6"}},
		{"in use, and vital", judgeListen, listening(listener{service: "server", setting: "listen.http", address: "0.0.0.0:9000", vital: true, err: unix.EADDRINUSE}), []string{"error: server's listen.http 0.0.0.0:9000 is in use"}},
		{"in use, and HTTPS is left", judgeListen, func(c *circumstances) {
			c.facts.listeners = []listener{
				{service: "server", setting: "listen.http", address: "0.0.0.0:9000", vital: true, err: unix.EADDRINUSE},
				{service: "server", setting: "listen.https", address: "0.0.0.0:9443", vital: true},
			}
		}, []string{"warning: server's listen.http 0.0.0.0:9000 is in use", "ok: server's listen.https"}},
		{"in use, and not vital", judgeListen, listening(listener{service: "worker", setting: "listen.http", address: "0.0.0.0:9000", err: unix.EADDRINUSE}), []string{"warning: worker's listen.http 0.0.0.0:9000 is in use"}},
		{"in use by ourselves", judgeListen, func(c *circumstances) {
			listening(listener{service: "server", setting: "listen.http", address: "0.0.0.0:9000", vital: true, err: unix.EADDRINUSE})(c)
			c.facts.running = true
		}, []string{"ok: server's listen.http 0.0.0.0:9000 is in use, as it should be"}},
		{"a low port for who is not root", judgeListen, func(c *circumstances) {
			listening(listener{service: "server", setting: "listen.http", address: "0.0.0.0:80", vital: true})(c)
			c.facts.identity.UID = 1000
		}, []string{"warning: server's listen.http 0.0.0.0:80: low ports are for root"}},
		{"where ports are free for all", judgeListen, func(c *circumstances) {
			listening(listener{service: "server", setting: "listen.http", address: "0.0.0.0:80", vital: true})(c)
			c.facts.identity.UID, c.facts.freePorts = 1000, 0
		}, []string{"ok: server's listen.http 0.0.0.0:80 is free"}},
		{"with the capability", judgeListen, func(c *circumstances) {
			listening(listener{service: "server", setting: "listen.http", address: "0.0.0.0:80", vital: true})(c)
			c.facts.identity.UID, c.facts.self.UID, c.facts.bindsLow = 1000, 1000, true
		}, []string{"ok: server's listen.http 0.0.0.0:80 is free"}},

		{"nobody asked for HTTP", judgeHealthListen, func(*circumstances) {}, nil},
		{"HTTP where it can be had", judgeHealthListen, answering(nil, ":9999", "[::1]:9998"), []string{"ok: :9999 is free", "ok: [::1]:9998 is free"}},
		{"HTTP without the program", judgeHealthListen, func(c *circumstances) {
			answering(nil, ":9999")(c)
			c.facts.httpProgram = ""
		}, []string{"error: no ak-init-http stands beside ak-init", "ok: :9999 is free"}},
		{"HTTP without a TMPDIR", judgeHealthListen, func(c *circumstances) {
			answering(nil, ":9999")(c)
			c.plan.Socket = ""
		}, []string{"error: there is no TMPDIR for the socket by which ak-init-http would ask", "ok: :9999 is free"}},
		{"HTTP at a port in use", judgeHealthListen, answering(unix.EADDRINUSE, ":9999"), []string{"error: :9999 is in use"}},
		{"HTTP at a port in use by ourselves", judgeHealthListen, func(c *circumstances) {
			answering(unix.EADDRINUSE, ":9999")(c)
			c.facts.running = true
		}, []string{"ok: :9999 is in use, as it should be: an ak-init runs here"}},
		{"HTTP at somebody else's address", judgeHealthListen, answering(unix.EADDRNOTAVAIL, "192.0.2.1:9999"), []string{"error: 192.0.2.1:9999 is no address of this machine"}},
		{"HTTP without IPv6", judgeHealthListen, answering(unix.EAFNOSUPPORT, "[::]:9999"), []string{"error: [::]:9999 cannot be had: this machine has no IPv6"}},
		{"HTTP at no address", judgeHealthListen, answering(errors.New("too odd"), "x:9999"), []string{"error: x:9999 is no address: too odd"}},
		{"HTTP at a low port that nobody may have", judgeHealthListen, answering(unix.EACCES, ":99"), []string{"error: :99: low ports are for root"}},
		{"HTTP at a low port that root may have and the children not", judgeHealthListen, func(c *circumstances) {
			answering(nil, ":99")(c)
			c.facts.identity.UID = 1000
		}, []string{"error: :99: low ports are for root"}},
		{"HTTP at authentik's port", judgeHealthListen, func(c *circumstances) {
			answering(nil, "127.0.0.1:9300")(c)
			c.facts.listeners = []listener{{service: "server", setting: "listen.metrics", address: "0.0.0.0:9300"}}
		}, []string{"error: 127.0.0.1:9300 is server's own: its listen.metrics is 0.0.0.0:9300"}},
		{"HTTP at one port twice", judgeHealthListen, answering(nil, ":9999", "[::]:9999"), []string{"ok: :9999 is free", "error: :9999 and [::]:9999, both of --health-listen, are one address"}},

		{"no module of the user's", judgeUserSettings, func(*circumstances) {}, nil},
		{"one that is read", judgeUserSettings, func(c *circumstances) { c.facts.userSettings = "/data/user_settings.py" }, []string{"ok: /data/user_settings.py is loaded: it may change any setting"}},
		{"one that cannot be read", judgeUserSettings, func(c *circumstances) {
			c.facts.userSettings, c.facts.userSettingsFault = "/data/user_settings.py", &fs.PathError{Op: "open", Path: "/data/user_settings.py", Err: unix.EACCES}
		}, []string{"warning: /data/user_settings.py is there and cannot be read: permission denied; authentik loads it"}},

		{"uploads on a mount", judgeStorage, data("/data"), []string{"ok: /data is a mount"}},
		{"uploads where they were before 2025.12", judgeStorage, data("/media"), []string{"warning: /media is a mount"}},
		{"uploads on no mount", judgeStorage, data("/elsewhere"), []string{"ok: /data is no mount"}},
		{"uploads of another layout", judgeStorage, func(c *circumstances) { data("/elsewhere")(c); c.facts.layout.Kind = "nix" }, nil},

		{"TMPDIR with room", judgeTempDir, room(1<<30, 1<<29), []string{"ok: /dev/shm (default): 512 MiB free of 1024 MiB"}},
		{"Docker's usual /dev/shm", judgeTempDir, room(64<<20, 64<<20), []string{"ok: /dev/shm (default): 64 MiB free of 64 MiB; metric files grow there with every process"}},
		{"nearly full", judgeTempDir, room(512<<20, 100<<20), []string{"warning: /dev/shm (default): 100 MiB free of 512 MiB; metric files grow there, and processes that find it full end by SIGBUS"}},
		{"nearly full, and small", judgeTempDir, room(64<<20, 15<<20), []string{"warning: /dev/shm (default): 15 MiB free of 64 MiB"}},
		{"no programs, and a checkout", judgeTempDir, func(c *circumstances) {
			room(1<<30, 1<<29)(c)
			c.facts.room.NoExec = true
			c.plan.Services = []servicePlan{{process: process{Argv: []string{"go", "run", "./cmd/server/"}}}}
		}, []string{"warning: /dev/shm: nothing can be executed there", "ok: /dev/shm (default): 512 MiB free of 1024 MiB"}},
		{"no programs, and none needed", judgeTempDir, func(c *circumstances) {
			room(1<<30, 1<<29)(c)
			c.facts.room.NoExec = true
		}, []string{"ok: /dev/shm (default): 512 MiB free of 1024 MiB"}},
		{"still to be made", judgeTempDir, room(0, 0), []string{"ok: /dev/shm (default)"}},

		{"PUID for who is not root", judgeIdentity, func(c *circumstances) { c.options.env["PUID"] = "5"; c.facts.self.UID = 1000 }, []string{"ok: the children run as", "warning: PUID=5 is ignored"}},
		{"a container engine's socket that is closed to the worker", judgeDockerSocket, func(c *circumstances) {
			c.options.command, c.facts.docker = "worker", dockerSocket{"/var/run/docker.sock", unix.EACCES}
		}, []string{"warning: /var/run/docker.sock is there and the children"}},
		{"the same with a server", judgeDockerSocket, func(c *circumstances) { c.facts.docker = dockerSocket{"/var/run/docker.sock", unix.EACCES} }, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := circumstances{
				options: options{command: "server", env: map[string]string{}},
				facts:   facts{layout: authentik.Layout{Kind: "image", Root: "/"}, release: authentik.Newest(), freePorts: 1024},
				plan:    &plan{},
			}
			tt.with(&c)
			got := tt.judge(c)
			if len(got) != len(tt.want) {
				t.Fatalf("%d findings %q, want %q", len(got), got, tt.want)
			}
			for i, f := range got {
				s, words, _ := strings.Cut(tt.want[i], ": ")
				if string(f.State) != s || !strings.Contains(f.Found, words) {
					t.Errorf("%s: %s; want %q", f.State, f.Found, tt.want[i])
				}
				if f.State != fine && f.Remedy == "" {
					t.Errorf("%s: nothing to do about it", f.Found)
				}
			}
		})
	}
}

func listening(l listener) func(*circumstances) {
	return func(c *circumstances) { c.facts.listeners = []listener{l} }
}

// answering has ak-init-http listen at these addresses, of which err is what came of trying.
func answering(err error, addresses ...string) func(*circumstances) {
	return func(c *circumstances) {
		c.facts.httpProgram, c.plan.Socket = "/ak-init-http", "/tmp/sock"
		for _, address := range addresses {
			c.facts.healthListeners = append(c.facts.healthListeners, listener{address: address, err: err})
		}
	}
}

// data is the official image with one mount.
func data(mount string) func(*circumstances) {
	return func(c *circumstances) {
		c.facts.config = authentik.Newest().Config(authentik.Settings{}, authentik.Newest().Server, "/")
		c.facts.mounts = map[string]bool{mount: true}
	}
}

func room(total, free uint64) func(*circumstances) {
	return func(c *circumstances) {
		c.plan.TempDir = tempDir{Path: "/dev/shm", Origin: "default"}
		c.facts.room = prepare.Space{Total: total, Free: free}
	}
}

func TestExitCodeOfSeveralFaults(t *testing.T) {
	tests := []struct {
		codes []int
		want  int
	}{
		{[]int{73}, 73}, {[]int{73, 73}, 73}, {[]int{73, 77}, 78}, {[]int{78, 73}, 78}, {[]int{73, 64}, 64}, {[]int{70, 78}, 70},
	}
	for _, tt := range tests {
		var all []*finding
		for _, code := range tt.codes {
			all = append(all, bad(code, "", "x"))
		}
		if got := asRefusal(refusalOf(all, false)).code; got != tt.want {
			t.Errorf("%v give %d, want %d", tt.codes, got, tt.want)
		}
	}
	if err := refusalOf([]*finding{warn("", "x"), okay("y")}, false); err != nil {
		t.Errorf("a warning refuses: %v", err)
	}
	if got := asRefusal(refusalOf([]*finding{warn("", "x")}, true)).code; got != exitConfig {
		t.Errorf("a warning with --strict gives %d", got)
	}
}

func TestAddressesThatCannotBothBeBound(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"0.0.0.0:9000", "0.0.0.0:9000", true},
		{"0.0.0.0:9000", "127.0.0.1:9000", true},
		{"127.0.0.1:9000", ":9000", true},
		{"[::]:9000", "127.0.0.1:9000", true},
		{"[::1]:9000", "127.0.0.1:9000", false},
		{"127.0.0.1:9000", "127.0.0.2:9000", false},
		{"0.0.0.0:9000", "0.0.0.0:9443", false},
		{"nonsense", "nonsense", true},
		{"nonsense", ":9000", false},
	} {
		if got := overlap(tt.a, tt.b); got != tt.want {
			t.Errorf("%s and %s: %v", tt.a, tt.b, got)
		}
	}
}
