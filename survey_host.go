package main

import (
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"ak-init/authentik"
	"ak-init/prepare"
	"ak-init/supervise"
)

// surveyHost looks at the machine, and at the addresses that will be listened on.
func (f *facts) surveyHost(o options, reader *prepare.Reader) {
	f.now = time.Now()
	f.mounts = map[string]bool{}
	for _, path := range append(f.dataMounts(), zoneFiles()...) {
		f.mounts[path] = reader.IsMount(path)
	}
	f.openFiles, f.openFilesMax = supervise.OpenFiles()
	if onIPv4 := f.config; len(onIPv4.TakeIPv4(f.settings)) > 0 && !prepare.HasIPv6() {
		f.onIPv4 = f.config.TakeIPv4(f.settings)
	}
	f.listeners = listenersOf(o.command, f.release, f.config)
	for i, l := range f.listeners {
		f.listeners[i].onIPv4 = f.onIPv4[authentik.Variable(l.setting)] != ""
		f.listeners[i].err = f.tryAddress(o, l.address)
	}
}

// runsHere tells whether a live ak-init has this command's services, of whatever uid.
func runsHere(tmpdir, command string) bool {
	commands := []string{command}
	if command == "all" {
		commands = append(commands, "server", "worker")
	}
	found, _ := claimedIn(tmpdir, func(name string) bool {
		return slices.ContainsFunc(commands, func(c string) bool { return strings.HasSuffix(name, "-"+c) })
	})
	return found
}

// isOfficial tells whether this is the official image, whose directories are well known.
// Elsewhere it is the installation's own affair where data lies.
func (f *facts) isOfficial() bool { return f.layout.Kind == "image" && f.layout.Root == "/" }

// dataMounts are where uploads lie, and where they lay before 2025.12.
func (f *facts) dataMounts() []string {
	if !f.isOfficial() {
		return nil
	}
	paths := []string{"/media"}
	for _, d := range f.config.DataDirs {
		paths = append(paths, d.Path)
	}
	return paths
}

// zoneFiles are what decides the time zone beside TZ.
func zoneFiles() []string { return []string{"/etc/localtime", "/etc/timezone"} }

// portOf is an address's port, where that is a number.
func portOf(address string) (int, bool) {
	_, port, err := net.SplitHostPort(address)
	n, numErr := strconv.Atoi(port)
	return n, err == nil && numErr == nil && n > 0
}

// listenersOf are the addresses of a command's services. Where authentik's worker listens it is
// at the settings of the server (authentik/tasks/forks.py, 2026.2).
func listenersOf(command string, release authentik.Release, config authentik.Config) []listener {
	var all []listener
	add := func(service, setting, list string, vital bool) {
		for address := range strings.SplitSeq(list, ",") {
			all = append(all, listener{service: service, setting: setting, address: strings.TrimSpace(address), vital: vital})
		}
	}
	if command == "server" || command == "all" {
		add("server", "listen.http", config.ListenHTTP, true)
		add("server", "listen.https", config.ListenHTTPS, true)
		add("server", "listen.metrics", config.ListenMetrics, false)
	}
	if command == "all" {
		config = config.Beside()
	}
	if listen := release.Worker.Listen; listen != "" && (command == "worker" || command == "all") {
		add("worker", listen+"http", config.ListenHTTP, false)
		add("worker", listen+"metrics", config.ListenMetrics, false)
	}
	return all
}
