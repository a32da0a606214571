package authentik

import (
	"cmp"
	"net"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Config is what authentik's configuration says about the few things that its
// launcher must know.
type Config struct {
	// ListenHTTP is listen.http as authentik has it, such as "0.0.0.0:9000".
	ListenHTTP string
	// ListenHTTPS and ListenMetrics are listen.https and listen.metrics.
	ListenHTTPS, ListenMetrics string
	// WebPath is web.path, with both slashes.
	WebPath string
	// DataDirs are directories for uploads, as far as they are kept in files.
	DataDirs []DataDir
	// DatabasePorts are where PostgreSQL and its replicas listen.
	DatabasePorts []int
	// Debug: the Go server starts ./manage.py dev_server in gunicorn's place, which binds no
	// socket in TMPDIR (internal/gounicorn/gounicorn.go).
	Debug bool
}

// DataDir is a directory that authentik writes to once somebody uploads a file.
type DataDir struct {
	Path string
	// Setting is the variable that moves it, Backend the one that does without it.
	Setting, Backend string
	// IfThere: authentik makes it when it needs it.
	IfThere bool
}

// Config picks from settings what a verb's launcher must know. Where a setting has no
// value, not even in the release's own file, the default of 2026.2 stands in
// (authentik/lib/default.yml).
func (r Release) Config(s Settings, verb Verb, root string) Config {
	listen := func(name, otherwise string) string {
		// Through 2025.8.3 the release's own file has the last, the Go server takes the second from
		// the environment (internal/config/struct.go), and the worker knows the last alone.
		return withoutUser(cmp.Or(s.joined(cmp.Or(verb.Listen, "listen.")+name), s.joined("listen."+name), s.joined("listen.listen_"+name), otherwise))
	}
	return Config{
		ListenHTTP:    listen("http", "0.0.0.0:9000"),
		ListenHTTPS:   listen("https", "0.0.0.0:9443"),
		ListenMetrics: listen("metrics", "0.0.0.0:9300"),
		WebPath:       cmp.Or(s.Text("web.path"), "/"),
		DataDirs:      r.Uploads.dirs(s, root),
		Debug:         s.True("debug"),
		DatabasePorts: s.databasePorts(),
	}
}

// dirs are the directories that these settings give.
func (u Uploads) dirs(s Settings, root string) (dirs []DataDir) {
	get := func(name, otherwise string) string { return cmp.Or(s.Text(name), otherwise) }
	backend, dir := get(u.Backend, "file"), get(u.Path, u.Default)
	for _, below := range u.Below {
		if get("storage."+below+".backend", backend) != "file" {
			continue
		}
		d := DataDir{
			Path:    get("storage."+below+".file.path", dir),
			Setting: Variable(u.Path),
			Backend: Variable(u.Backend),
		}
		if !path.IsAbs(d.Path) {
			d.Path = path.Join(root, d.Path)
		}
		if !slices.Contains(dirs, d) {
			dirs = append(dirs, d)
		}
		d.Path, d.IfThere = path.Join(d.Path, below), true
		dirs = append(dirs, d)
	}
	return dirs
}

// TakeIPv4 replaces IPv6's wildcards by IPv4's for a machine that has no IPv6, where nobody but
// the release itself has set them, and gives what it has changed, by variables. (The default is
// [::] from 2026.5 on, with nothing to fall back on: goauthentik/authentik#24303.)
func (c *Config) TakeIPv4(s Settings) map[string]string {
	changed := map[string]string{}
	for setting, list := range map[string]*string{
		"listen.http": &c.ListenHTTP, "listen.https": &c.ListenHTTPS, "listen.metrics": &c.ListenMetrics,
	} {
		if s.GivenBy(setting) != "" {
			continue
		}
		taken := addresses(*list)
		for i, address := range taken {
			host, port, err := net.SplitHostPort(address)
			if ip, ipErr := netip.ParseAddr(host); err == nil && ipErr == nil && ip == netip.IPv6Unspecified() {
				taken[i] = net.JoinHostPort("0.0.0.0", port)
			}
		}
		if now := strings.Join(slices.Compact(taken), ","); now != *list {
			*list, changed[Variable(setting)] = now, now
		}
	}
	return changed
}

// ProbeAddresses are where a listener is reached from its own machine, likeliest first:
// wildcards are taken for loopback, and [::] also for IPv4's, where a machine without
// IPv6 has it. Of a list (from 2026.5 on) every entry is given.
func (c Config) ProbeAddresses() []string {
	var all []string
	for _, address := range addresses(c.ListenHTTP) {
		for _, reached := range loopbackOf(address) {
			if !slices.Contains(all, reached) {
				all = append(all, reached)
			}
		}
	}
	return all
}

// loopbackOf is where what listens at an address is reached.
func loopbackOf(address string) []string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return []string{address}
	}
	ip, err := netip.ParseAddr(host)
	switch {
	case host == "", err == nil && ip == netip.IPv6Unspecified():
		return []string{net.JoinHostPort("::1", port), net.JoinHostPort("127.0.0.1", port)}
	case err == nil && ip.Unmap().IsUnspecified():
		return []string{net.JoinHostPort("127.0.0.1", port)}
	default:
		return []string{address}
	}
}

// Beside gives the configuration of a second service in the same network namespace: its
// ports are the next free ones above this one's. The worker serves its health and its
// metrics at the same settings as the server (authentik/tasks/forks.py, 2026.2).
func (c Config) Beside() Config {
	taken := map[string]bool{}
	for _, list := range []string{c.ListenHTTP, c.ListenHTTPS, c.ListenMetrics} {
		for _, address := range addresses(list) {
			if _, port, err := net.SplitHostPort(address); err == nil {
				taken[port] = true
			}
		}
	}
	c.ListenHTTP = above(c.ListenHTTP, taken)
	c.ListenMetrics = above(c.ListenMetrics, taken)
	return c
}

// addresses are the entries of a list (from 2026.5 on).
func addresses(list string) []string {
	all := strings.Split(list, ",")
	for i, address := range all {
		all[i] = strings.TrimSpace(address)
	}
	return all
}

// above moves each address to the next port that is not taken, and takes it. What has no
// port that is a number stays, and so does 0, which the kernel chooses.
func above(list string, taken map[string]bool) string {
	moved := addresses(list)
	for i, address := range moved {
		host, port, err := net.SplitHostPort(address)
		n, numErr := strconv.Atoi(port)
		if err != nil || numErr != nil || n == 0 { // 0 is any that is free
			continue
		}
		for taken[strconv.Itoa(n)] {
			n++
		}
		taken[strconv.Itoa(n)] = true
		moved[i] = net.JoinHostPort(host, strconv.Itoa(n))
	}
	return strings.Join(moved, ",")
}

// ProbePath is a health path below web.path.
func (c Config) ProbePath(below string) string {
	return "/" + strings.TrimPrefix(path.Join(c.WebPath, below)+"/", "/")
}
