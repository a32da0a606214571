package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"ak-init/prepare"
)

// httpName is the program that answers over HTTP. It stands beside ak-init.
const httpName = "ak-init-http"

// addHealthListen takes one HOST:PORT, or several with commas between them.
func (o *options) addHealthListen(addresses string) error {
	for address := range strings.SplitSeq(addresses, ",") {
		plain, ok := plainAddress(address)
		if !ok {
			return fmt.Errorf("%q is not HOST:PORT, such as :9999, 127.0.0.1:9999 or [::1]:9999; HOST is an IP address, localhost, or nothing for all", address)
		}
		o.healthListen = append(o.healthListen, plain)
	}
	return nil
}

// plainAddress writes an address in the one way that there is for each. A name is none: whether
// it can be had would be known too late.
func plainAddress(address string) (plain string, ok bool) {
	host, port, err := net.SplitHostPort(address)
	n, numErr := strconv.ParseUint(port, 10, 16)
	if err != nil || numErr != nil || n == 0 {
		return "", false
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	if host != "" {
		ip, err := netip.ParseAddr(host)
		if err != nil {
			return "", false
		}
		host = ip.Unmap().String()
	}
	return net.JoinHostPort(host, strconv.FormatUint(n, 10)), true
}

// servesHTTP are the commands that are asked over HTTP.
func servesHTTP() []string { return []string{"server", "worker", "all", "run"} }

// surveyHTTP looks for the program and tries the addresses that it is to have.
func (f *facts) surveyHTTP(o options, reader *prepare.Reader) {
	if len(o.healthListen) == 0 || !slices.Contains(servesHTTP(), o.command) {
		return
	}
	f.httpProgram = programBeside(httpName, reader)
	f.httpForeign = f.httpProgram != "" && isForeign(f.httpProgram, reader)
	for _, address := range o.healthListen {
		f.healthListeners = append(f.healthListeners, listener{address: address, err: f.tryAddress(o, address)})
	}
}

// elfHead is as far as the machine in a program's head (elf(5)).
const elfHead = 20

// isForeign tells whether the kernel will not start a program on this machine, as far as can be
// read: it starts scripts, and what begins as ak-init itself does.
func isForeign(program string, reader *prepare.Reader) bool {
	self, err := os.Executable()
	if err != nil {
		return false
	}
	own, ownErr := reader.Head(self, elfHead)
	head, err := reader.Head(program, elfHead)
	return ownErr == nil && err == nil && !bytes.HasPrefix(head, []byte("#!")) && machine(head) != machine(own)
}

// machine is what an ELF file's head says of class, byte order and machine.
func machine(head []byte) string {
	if len(head) < elfHead {
		return ""
	}
	return string(head[:6]) + string(head[18:elfHead])
}

// tryAddress binds an address, and looks at what goes by the outcome.
func (f *facts) tryAddress(o options, address string) error {
	if n, ok := portOf(address); ok && n < 1024 && f.freePorts == 0 {
		f.freePorts, f.bindsLow = prepare.FreePorts(), prepare.BindsLow()
	}
	err := prepare.TryAddress(address)
	if errors.Is(err, unix.EADDRINUSE) && !f.running && len(f.tempDirs) > 0 && o.command != "run" {
		f.running = runsHere(f.tempDirs[len(f.tempDirs)-1].Path, o.command)
	}
	return err
}

// planHTTP adds who answers over HTTP. Who may be reached from a network has nothing of the
// environment, where secrets are, and not docker.sock's group.
func (p *plan) planHTTP(o options, f facts) {
	if len(f.healthListeners) == 0 {
		return
	}
	argv := []string{httpName, "--socket", p.Socket}
	for _, address := range o.healthListen {
		argv = append(argv, "--listen", address)
	}
	if f.config.WebPath != "" {
		argv = append(argv, "--web-path", f.config.WebPath)
	}
	argv = append(argv, "--log-format", o.logFormat, "--log-level", o.logLevel)
	p.Companion = &process{Name: httpName, Path: f.httpProgram, Argv: argv, Dir: p.Layout.Root, bare: true, ownGroups: f.ownGroups}
	if plain := o.env["NO_COLOR"]; plain != "" {
		p.Companion.Environment = []variable{{"NO_COLOR", plain, "environment"}}
	}
}

// judgeHealthListen refuses what cannot be had: who gives such an address has probes that
// would fail, and these end the container.
func judgeHealthListen(c circumstances) []*finding {
	listeners := c.facts.healthListeners
	if len(listeners) == 0 {
		return nil
	}
	var all []*finding
	flag := c.options.origin("health-listen")
	switch f := c.facts; {
	case f.httpProgram == "":
		all = append(all, bad(exitConfig, "put it there, as into an image by COPY, or unset "+flag, "no %s stands beside ak-init", httpName))
	case f.httpForeign:
		all = append(all, bad(exitConfig, "put the one there that was built with this ak-init, or unset "+flag, "%s is no program for this machine (%s)", f.httpProgram, runtime.GOARCH))
	}
	if c.plan.Socket == "" {
		all = append(all, bad(exitConfig, "mount a writable directory and set TMPDIR to it", "there is no TMPDIR for the socket by which %s would ask", httpName))
	}
	for i, l := range listeners {
		others := append(slices.Clone(listeners[:i]), c.facts.listeners...)
		if at := slices.IndexFunc(others, func(other listener) bool { return meet(l.address, other.address) }); at >= 0 {
			all = append(all, collision(flag, l, others[at]))
		} else {
			all = append(all, c.judgeHealthListener(l))
		}
	}
	return all
}

func (c circumstances) judgeHealthListener(l listener) *finding {
	flag := c.options.origin("health-listen")
	switch err := l.err; {
	case err == nil && !c.isPrivileged(l.address):
		return okay("%s is free", l.address)
	case errors.Is(err, unix.EADDRINUSE) && c.facts.running:
		return okay("%s is in use, as it should be: an ak-init runs here", l.address)
	case errors.Is(err, unix.EADDRINUSE):
		return bad(exitConfig, "give "+flag+" another port, or end what listens there", "%s is in use", l.address)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return bad(exitConfig, "give "+flag+" an address of this machine, or the port alone, as :9999", "%s is no address of this machine", l.address)
	case errors.Is(err, unix.EAFNOSUPPORT):
		return bad(exitConfig, "give "+flag+" the port alone, as :9999", "%s cannot be had: this machine has no IPv6", l.address)
	case errors.Is(err, unix.EINVAL):
		return bad(exitConfig, "write "+flag+" with the interface, as [fe80::1%eth0]:9999", "%s is no address without its interface", l.address)
	case err == nil || errors.Is(err, unix.EACCES):
		return bad(exitConfig, "give "+flag+" a port from 1024 on, or set the sysctl net.ipv4.ip_unprivileged_port_start", "%s: low ports are for root, and the children are %s", l.address, c.facts.identity)
	default:
		return bad(exitConfig, "write "+flag+" as HOST:PORT", "%s is no address: %s", l.address, err)
	}
}

// collision is one of our addresses that is another of ours, or authentik's.
func collision(flag string, l, other listener) *finding {
	if other.setting == "" {
		return bad(exitConfig, "leave one of them away", "%s and %s, both of %s, are one address", other.address, l.address, flag)
	}
	return bad(exitConfig, "give "+flag+" another port", "%s is %s's own: its %s is %s", l.address, other.service, other.setting, other.address)
}

// meet tells whether two addresses have a port in common. [::] takes IPv4's as well, as Go's
// listeners do.
func meet(a, b string) bool {
	x, errX := prepare.Address(a)
	y, errY := prepare.Address(b)
	everywhere := x.Addr().IsUnspecified() || y.Addr().IsUnspecified()
	return errX == nil && errY == nil && x.Port() == y.Port() && (everywhere || x.Addr().IsValid() && x.Addr() == y.Addr())
}
