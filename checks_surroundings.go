package main

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ak-init/authentik"
)

// surroundingChecks are about the machine, or what a container shows of it.
func surroundingChecks() []check {
	return []check{
		{
			id: "file-systems", looks: "paths that do not answer within 5s, as on a file server that is gone",
			goesWrong: "warning", judge: judgeHung,
		},
		{
			// Pains 4, 5, 32.
			id: "listen", looks: "every address that will be listened on, by binding it",
			goesWrong: "warning for one that is in use, not to be had or no address; error 78 where neither HTTP nor HTTPS is left", judge: judgeListen,
		},
		{
			id: "health-listen", looks: "every address of --health-listen, by binding it, and whether ak-init-http is there, for this machine",
			goesWrong: "error 78: who gives one has probes that would fail", judge: judgeHealthListen,
		},
		{
			// Pain 21.
			id: "open-files", looks: "the limit of descriptors",
			goesWrong: "warning where it is very low; the children get 65536 in place of less, as far as may be, and of more than a million", judge: judgeOpenFiles,
		},
		{
			// Pain 33.
			id: "clock", looks: "whether the clock is behind the release's first day",
			goesWrong: "warning: certificates and tokens will not be valid", judge: judgeClock,
		},
		{
			// Pain 33.
			id: "time-zone", looks: "TZ, and mounts on /etc/localtime and /etc/timezone",
			goesWrong: "warning: authentik wants UTC, and logins by OAuth and SAML fail with another zone", judge: judgeTimeZone,
		},
	}
}

func judgeHung(c circumstances) []*finding {
	if c.facts.hung == nil {
		return nil
	}
	var all []*finding
	for _, err := range c.facts.hung() {
		all = append(all, found("", warning, exitConfig, err))
	}
	return all
}

// judgeListen names what was tried, by service. authentik goes on without an address that it
// cannot have, and so do we as long as one is left by which somebody can log in.
func judgeListen(c circumstances) []*finding {
	var all []*finding
	lost, vital := 0, 0
	for _, l := range c.facts.listeners {
		f := c.judgeListener(l)
		if l.vital {
			vital++
			// A low port may be the program's by a capability of its file (capabilities(7)).
			if f.State == warning && !errors.Is(l.err, unix.EACCES) && !c.isPrivileged(l.address) {
				lost++
			}
		}
		all = append(all, f)
	}
	c.judgeShared(all)
	if vital == 0 || lost < vital {
		return all
	}
	for i, l := range c.facts.listeners {
		if l.vital {
			all[i].State, all[i].code = wrong, exitConfig
		}
	}
	return all
}

// judgeShared is for addresses that each alone can be had, and that two want.
func (c circumstances) judgeShared(all []*finding) {
	for i, l := range c.facts.listeners {
		same := slices.IndexFunc(c.facts.listeners[:i], func(o listener) bool { return overlap(o.address, l.address) })
		if same >= 0 && all[i].State == fine && !strings.HasSuffix(l.address, ":0") { // that is any
			other := c.facts.listeners[same]
			all[i] = warn("set "+authentik.Variable(l.setting)+" to another port",
				"%s's %s and %s's %s are both %s: one of them will not be had", other.service, other.setting, l.service, l.setting, l.address)
			if other.address != l.address {
				all[i].Found = fmt.Sprintf("%s's %s is %s, which %s's %s %s takes: one of them will not be had",
					l.service, l.setting, l.address, other.service, other.setting, other.address)
			}
		}
	}
}

// overlap tells whether two addresses cannot both be bound: one port, of one address or of all
// (man 7 ip, INADDR_ANY; a wildcard of IPv6's takes IPv4's as well, as Go listens).
func overlap(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil {
		return a == b
	}
	all := func(host string) bool { return host == "" || host == "0.0.0.0" || host == "::" }
	return portA == portB && (hostA == hostB || all(hostA) || all(hostB))
}

func (c circumstances) judgeListener(l listener) *finding {
	where := l.service + "'s " + l.setting + " " + l.address
	variable := authentik.Variable(l.setting)
	if raw := c.options.env[variable]; l.service == "server" && (strings.HasPrefix(raw, `"`) || strings.HasPrefix(raw, `["`)) {
		return warn("write "+variable+" as it is, without quotes", "%s: quotes are part of the address for the server, which cannot listen then", where)
	}
	switch {
	case l.err != nil:
		remedy, why := whyNotBound(l.err, variable, c.facts.running)
		if remedy == "" {
			return okay("%s %s", where, why)
		}
		return warn(remedy, "%s %s", where, why)
	case l.onIPv4:
		return okay("%s is free, and in the place of [::]: this machine has no IPv6, and nobody has set %s", where, variable)
	case c.isPrivileged(l.address):
		return warn(lowPort(variable), "%s: low ports are for root, and the children are %s", where, c.facts.identity)
	default:
		return okay("%s is free", where)
	}
}

// whyNotBound puts bind's errors (man 2 bind, man 7 ip) into words.
func whyNotBound(err error, variable string, running bool) (remedy, why string) {
	switch {
	case errors.Is(err, unix.EADDRINUSE) && running:
		return "", "is in use, as it should be: an ak-init runs here"
	case errors.Is(err, unix.EADDRINUSE):
		return "set " + variable + " to another port, or end what listens there (server and worker in one network, as in a pod, need ports of their own)", "is in use"
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return "set " + variable + " to an address of this machine", "is no address of this machine"
	case errors.Is(err, unix.EAFNOSUPPORT):
		return "set " + variable + " to an IPv4 address such as 0.0.0.0:9000", "cannot be had: this machine has no IPv6"
	case errors.Is(err, unix.EINVAL):
		return "write " + variable + " with the interface, as [fe80::1%eth0]:9000", "is no address without its interface"
	case errors.Is(err, unix.EACCES):
		return lowPort(variable), "is not for us to bind: low ports are for root"
	default:
		return "write " + variable + " as HOST:PORT", "is no address: " + err.Error()
	}
}

func lowPort(variable string) string {
	return "take a port from 1024 on in " + variable + ", or set the sysctl net.ipv4.ip_unprivileged_port_start, or give the program CAP_NET_BIND_SERVICE"
}

// isPrivileged tells whether the children may not bind an address that we could.
func (c circumstances) isPrivileged(address string) bool {
	n, ok := portOf(address)
	if !ok || n >= c.facts.freePorts {
		return false
	}
	drops := c.facts.identity.UID != c.facts.self.UID
	return drops && c.facts.identity.UID != 0 || !drops && !c.facts.bindsLow
}

// Limits of descriptors: below few an authentik runs out of them, wanted is what the children
// get where they may, and above most software that closes every possible one takes minutes.
const (
	fewOpenFiles    = 4096
	wantedOpenFiles = 65536
	mostOpenFiles   = 1 << 20
)

func judgeOpenFiles(c circumstances) []*finding {
	soft, hard := c.facts.openFiles, c.facts.openFilesMax
	given := c.plan.OpenFiles
	switch {
	case soft == 0:
		return nil // it is not known
	case given > soft && given >= fewOpenFiles:
		return []*finding{okay("%d descriptors (nofile), raised to %d for the children", soft, given)}
	case max(soft, given) < fewOpenFiles:
		return []*finding{warn("raise the container's limit (ulimits: nofile: 65536)", "at most %d descriptors (nofile): too few under load", max(soft, given))}
	case soft > mostOpenFiles:
		return []*finding{okay("%d descriptors (nofile), lowered to %d for the children: software that closes every possible one takes minutes for it", soft, given)}
	default:
		return []*finding{okay("%d descriptors (nofile), at most %d", soft, hard)}
	}
}

// saneOpenFiles is the limit that the children get in place of a low or a boundless one; 0:
// theirs is left alone.
func saneOpenFiles(soft, hard uint64) uint64 {
	wanted := min(hard, wantedOpenFiles)
	if soft != 0 && (soft < wanted || soft > mostOpenFiles) {
		return wanted
	}
	return 0
}

func judgeClock(c circumstances) []*finding {
	now, first := c.facts.now.UTC(), c.facts.release.Published
	if now.Before(first) {
		return []*finding{warn("set the clock of the host", "it is %s by this machine's clock, and authentik %s was published on %s", now.Format(time.DateTime), c.facts.release.Name, first.Format(time.DateOnly))}
	}
	return []*finding{okay("%s", now.Format(time.RFC3339))}
}

func judgeTimeZone(c circumstances) []*finding {
	var all []*finding
	if zone := c.options.env["TZ"]; !isUTC(zone) {
		all = append(all, warn("unset it: authentik shows times in each user's own zone", "TZ is %q, and authentik wants UTC", zone))
	}
	for _, file := range zoneFiles() {
		if c.facts.mounts[file] {
			all = append(all, warn("take that mount away: authentik wants UTC", "%s is a mount", file))
		}
	}
	if len(all) == 0 {
		all = append(all, okay("UTC, as far as TZ and mounts tell"))
	}
	return all
}

// isUTC takes a zone's name as tzset(3) does.
func isUTC(zone string) bool {
	zone = strings.TrimPrefix(zone, ":")
	switch strings.TrimPrefix(zone, "Etc/") {
	case "", "UTC", "UTC0", "Zulu", "UCT", "Universal", "GMT", "GMT0", "Greenwich", "/usr/share/zoneinfo/UTC", "/usr/share/zoneinfo/Etc/UTC":
		return true
	}
	return false
}
