package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// withoutIPv6 is a scene on a machine whose kernel has no IPv6, and whose release listens at these
// addresses by default. Nobody has set them otherwise.
func withoutIPv6(t *testing.T, http, https, metrics string) *scene {
	t.Helper()
	t.Parallel()
	s := newScene(t)
	filter := s.dir + "/noipv6"
	cmd := exec.Command("go", "build", "-trimpath", "-o", filter, "./testdata/noipv6")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	if out, err := exec.Command(filter, "true").CombinedOutput(); err != nil {
		t.Skipf("no seccomp filter can be set here: %s", out)
	}
	s.wrap = []string{filter}
	defaults := filepath.Join(s.root, "authentik/lib/default.yml")
	raw, err := os.ReadFile(defaults)
	s.must(err)
	text := strings.NewReplacer("0.0.0.0:9000", http, "0.0.0.0:9443", https, "0.0.0.0:9300", metrics).Replace(string(raw))
	s.must(os.WriteFile(defaults, []byte(text), 0o644))
	s.env = slices.DeleteFunc(s.env, func(v string) bool { return strings.HasPrefix(v, "AUTHENTIK_LISTEN__") })
	return s
}

// portOfScene is a port that is free on all addresses.
func portOfScene(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// goauthentik/authentik#24303: from 2026.5 on the default is [::], and a server without IPv6 ends at once.
func TestWithoutIPv6WhatIsIPv6sByDefaultIsIPv4s(t *testing.T) {
	port := portOfScene(t)
	s := withoutIPv6(t, `"[::]:`+port+`"`, `"[::]:0"`, `"[::]:0"`)
	check := s.start("check", "server")
	if code := check.exitCode(); code != 0 {
		t.Errorf("check gives %d", code)
	}
	check.says("server's listen.http 0.0.0.0:"+port+" is free, and in the place of [::]: this machine has no IPv6, and nobody has set AUTHENTIK_LISTEN__HTTP", "ok")
	plan := s.start("server", "--dry-run")
	if code := plan.exitCode(); code != 0 {
		t.Errorf("--dry-run gives %d", code)
	}
	plan.says("AUTHENTIK_LISTEN__HTTP=0.0.0.0:"+port, "this machine has no IPv6")
	r := s.start("server")
	s.awaitHealth(0, "--started")
	env := s.starts("server")[0].Env
	for name, want := range map[string]string{"HTTP": "0.0.0.0:" + port, "HTTPS": "0.0.0.0:0", "METRICS": "0.0.0.0:0"} {
		if got := env["AUTHENTIK_LISTEN__"+name]; got != want {
			t.Errorf("the server's %s is %q, want %q", name, got, want)
		}
	}
	r.stop()
	r.says("this machine has no IPv6: authentik listens on IPv4 instead", "AUTHENTIK_LISTEN__HTTP=0.0.0.0:"+port+" AUTHENTIK_LISTEN__HTTPS=0.0.0.0:0")
}

func TestWithoutIPv6IPv4IsLeftAlone(t *testing.T) {
	s := withoutIPv6(t, "0.0.0.0:0", "0.0.0.0:0", "0.0.0.0:0") // as 2026.2 has it, but for the ports
	plan := s.start("server", "--dry-run")
	if code := plan.exitCode(); code != 0 || strings.Contains(plan.logs.String(), "IPv6") || strings.Contains(plan.logs.String(), "AUTHENTIK_LISTEN__") {
		t.Errorf("exit code %d, and the plan is\n%s", code, plan.logs.String())
	}
	s.env = append(s.env, "AUTHENTIK_LISTEN__HTTP="+s.address) // which is the stand-in's only way to know
	r := s.start("server")
	s.awaitHealth(0, "--started")
	r.stop()
	if said := r.logs.String(); strings.Contains(said, "IPv6") {
		t.Errorf("it speaks of IPv6:\n%s", said)
	}
}

func TestWithoutIPv6WhatSomebodySetToItIsNamed(t *testing.T) {
	port := portOfScene(t)
	s := withoutIPv6(t, "0.0.0.0:0", "0.0.0.0:0", "0.0.0.0:0")
	s.env = append(s.env, "AUTHENTIK_LISTEN__HTTP=[::]:"+port)
	const says = "cannot be had: this machine has no IPv6"
	check := s.start("check", "server")
	if code := check.exitCode(); code != 0 { // HTTPS is left
		t.Errorf("check gives %d", code)
	}
	check.says("server's listen.http [::]:"+port+" "+says, "warning")
	check.says("→ set AUTHENTIK_LISTEN__HTTP to an IPv4 address such as 0.0.0.0:9000")

	s.env = append(s.env, "AUTHENTIK_LISTEN__HTTPS=[::1]:0")
	for _, words := range [][]string{{"server"}, {"check", "server"}} {
		r := s.start(words...)
		if code := r.exitCode(); code != exitConfig {
			t.Errorf("%q: exit code %d, want %d", words, code, exitConfig)
		}
		r.says("server's listen.http [::]:"+port+" "+says, "error")
		r.says("server's listen.https [::1]:0 "+says, "error")
		r.says("set AUTHENTIK_LISTEN__HTTP to an IPv4 address such as 0.0.0.0:9000")
	}
	if started := s.starts("server"); len(started) > 0 {
		t.Errorf("started %v", started)
	}
}
