package authentik

import (
	"net"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Config is what authentik's configuration says about the few things that its
// launcher must know. Read from the environment; authentik reads files as well.
type Config struct {
	// ListenHTTP is listen.http as authentik has it, such as "0.0.0.0:9000".
	ListenHTTP string
	// ListenHTTPS and ListenMetrics are listen.https and listen.metrics.
	ListenHTTPS, ListenMetrics string
	// WebPath is web.path, with both slashes.
	WebPath string
	// DataDirs are directories for uploads, as far as they are kept in files.
	DataDirs []DataDir
}

// DataDir is a directory that authentik writes to once somebody uploads a file.
type DataDir struct {
	Path string
	// Setting is the variable that moves it, Backend the one that does without it.
	Setting, Backend string
	// IfThere: authentik makes it when it needs it.
	IfThere bool
}

// ReadConfig reads the configuration of a release from the children's environment.
// readFile gives the content of what a file:// value names.
func ReadConfig(getenv func(string) string, readFile func(string) ([]byte, error), root string) Config {
	get := func(name, otherwise string) string {
		if value := resolve(getenv("AUTHENTIK_"+name), getenv, readFile); value != "" {
			return value
		}
		return otherwise
	}
	c := Config{
		// authentik/lib/default.yml, 2026.2
		ListenHTTP:    get("LISTEN__HTTP", "0.0.0.0:9000"),
		ListenHTTPS:   get("LISTEN__HTTPS", "0.0.0.0:9443"),
		ListenMetrics: get("LISTEN__METRICS", "0.0.0.0:9300"),
		WebPath:       get("WEB__PATH", "/"),
	}
	backend := get("STORAGE__BACKEND", "file")
	dir := get("STORAGE__FILE__PATH", "./data")
	// authentik/admin/files/backends/file.py, 2026.2: files lie in <path>/<use>, and a
	// use may have settings of its own.
	for _, use := range []string{"media", "reports"} {
		prefix := "STORAGE__" + strings.ToUpper(use) + "__"
		if get(prefix+"BACKEND", backend) != "file" {
			continue
		}
		d := DataDir{
			Path:    get(prefix+"FILE__PATH", dir),
			Setting: "AUTHENTIK_STORAGE__FILE__PATH",
			Backend: "AUTHENTIK_STORAGE__BACKEND",
		}
		if !path.IsAbs(d.Path) {
			d.Path = path.Join(root, d.Path)
		}
		if !slices.Contains(c.DataDirs, d) {
			c.DataDirs = append(c.DataDirs, d)
		}
		d.Path, d.IfThere = path.Join(d.Path, use), true
		c.DataDirs = append(c.DataDirs, d)
	}
	return c
}

// resolve follows env://NAME?default and file:///path?default as authentik does
// (authentik/lib/config.py, parse_uri; internal/config/config.go, parseScheme).
func resolve(value string, getenv func(string) string, readFile func(string) ([]byte, error)) string {
	if !strings.HasPrefix(value, "env://") && !strings.HasPrefix(value, "file://") {
		return value
	}
	u, err := url.Parse(value)
	if err != nil {
		return value
	}
	if u.Scheme == "env" {
		if found := getenv(u.Host); found != "" {
			return found
		}
		return u.RawQuery
	}
	raw, err := readFile(u.Path)
	if err != nil {
		return u.RawQuery
	}
	return strings.TrimSpace(string(raw))
}

// ProbeAddresses are where a listener is reached from its own machine, likeliest first:
// wildcards are taken for loopback, and [::] also for IPv4's, where a machine without
// IPv6 has it. A list (from 2026.5 on) is asked at its first entry.
func (c Config) ProbeAddresses() []string {
	first := addresses(c.ListenHTTP)[0]
	host, port, err := net.SplitHostPort(first)
	if err != nil {
		return []string{first}
	}
	hosts := []string{host}
	switch host {
	case "0.0.0.0":
		hosts = []string{"127.0.0.1"}
	case "", "::":
		hosts = []string{"::1", "127.0.0.1"}
	}
	for i, h := range hosts {
		hosts[i] = net.JoinHostPort(h, port)
	}
	return hosts
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
// port that is a number stays.
func above(list string, taken map[string]bool) string {
	moved := addresses(list)
	for i, address := range moved {
		host, port, err := net.SplitHostPort(address)
		n, numErr := strconv.Atoi(port)
		if err != nil || numErr != nil {
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
