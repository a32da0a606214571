// Package kubelet runs a real kubelet for tests: no API server, static pods on the machine's
// own network, a containerd of its own. It needs root, containerd, ctr and runc in PATH, and
// a kubelet, which the script "build" beside this file makes.
package kubelet

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"ak-init/testdata/image"
)

// patience bounds every wait; only a broken kubelet takes so long.
const patience = 60 * time.Second

// host is the node's name; a static pod NAME is NAME-host.
const host = "node"

// Node is a kubelet and its containerd.
type Node struct {
	t    *testing.T
	dir  string
	port string // the read-only one
	log  string // the kubelet's
}

// Missing says what of the machine is missing, empty: nothing.
func Missing() string {
	if os.Geteuid() != 0 {
		return "a kubelet needs root"
	}
	for _, program := range []string{"containerd", "ctr", "runc"} {
		if _, err := exec.LookPath(program); err != nil {
			return program + " is missing"
		}
	}
	return ""
}

// Start runs a node until the test ends.
func Start(t *testing.T, kubelet string) *Node {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "ak-k-") //nolint:usetesting // t.TempDir is too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	n := &Node{t: t, dir: dir, log: dir + "/kubelet.log"}
	t.Cleanup(func() { n.must(os.RemoveAll(dir)) })
	t.Cleanup(n.unmount)
	ports := freePorts(t, 3)
	n.port = ports[0]
	n.must(os.Mkdir(dir+"/manifests", 0o755), os.Mkdir(dir+"/logs", 0o755),
		os.WriteFile(dir+"/containerd.toml", []byte(n.containerdConfig()), 0o600),
		os.WriteFile(dir+"/kubelet.yaml", []byte(n.kubeletConfig(ports)), 0o600))
	n.daemon("containerd", "-c", dir+"/containerd.toml")
	n.Await("containerd", func() bool { return exec.Command("ctr", "-a", n.socket(), "version").Run() == nil })
	n.sandbox()
	t.Cleanup(n.kill)
	n.daemon(kubelet, n.kubeletArgs()...)
	t.Cleanup(n.drain)
	n.Await("the kubelet", func() bool { _, err := n.get("/pods"); return err == nil })
	return n
}

// In is the same node for a subtest.
func (n *Node) In(t *testing.T) *Node {
	t.Helper()
	other := *n
	other.t = t
	return &other
}

func (n *Node) must(errs ...error) {
	n.t.Helper()
	if err := errors.Join(errs...); err != nil {
		n.t.Fatal(err)
	}
}

// Await looks until something is so.
func (n *Node) Await(what string, so func() bool) {
	n.t.Helper()
	if !wait(so) {
		log, _ := os.ReadFile(n.log)
		n.t.Fatalf("%s never came; the kubelet's log ends with\n%s", what, log[max(0, len(log)-4000):])
	}
}

func wait(so func() bool) bool {
	limit := time.After(patience)
	for !so() {
		select {
		case <-time.After(100 * time.Millisecond):
		case <-limit:
			return false
		}
	}
	return true
}

// daemon runs a program, and sends it TERM when the test ends.
func (n *Node) daemon(program string, args ...string) {
	n.t.Helper()
	name := filepath.Base(program)
	if name != "containerd" {
		name = "kubelet"
	}
	log, err := os.Create(filepath.Join(n.dir, name+".log"))
	n.must(err)
	defer log.Close()
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = log, log
	n.must(cmd.Start())
	n.t.Cleanup(func() {
		late := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
		defer late.Stop()
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait() // TERM's code
	})
}

func (n *Node) socket() string { return n.dir + "/c.sock" }

// ctr asks containerd.
func (n *Node) ctr(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, "ctr", append([]string{"-a", n.socket(), "-n", "k8s.io"}, args...)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("ctr %q: %w: %s", args, err, out)
	}
	return string(out), nil
}

// sandbox makes the image that each pod begins with.
func (n *Node) sandbox() {
	n.t.Helper()
	root := n.dir + "/pause"
	build := exec.Command("go", "build", "-o", root+"/pause", "./testdata/kubelet/pause")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		n.t.Fatalf("go build: %v\n%s", err, out)
	}
	n.must(image.Write(n.dir+"/pause.tar", sandboxImage, root, image.Config{Entrypoint: []string{"/pause"}}))
	n.Import(n.dir + "/pause.tar")
}

// Import loads a packed image.
func (n *Node) Import(file string) {
	n.t.Helper()
	_, err := n.ctr("images", "import", file)
	n.must(err)
}

// Apply puts a manifest, a value that JSON can have, into the folder of static pods.
func (n *Node) Apply(name string, manifest any) {
	n.t.Helper()
	raw, err := json.Marshal(manifest)
	n.must(err)
	// The kubelet leaves out names that begin with a dot.
	hidden := filepath.Join(n.dir, "manifests", "."+name)
	n.must(os.WriteFile(hidden, raw, 0o600), os.Rename(hidden, n.manifest(name)))
}

func (n *Node) manifest(name string) string { return filepath.Join(n.dir, "manifests", name+".json") }

// Delete takes a pod's manifest away; the pod has its grace period then.
func (n *Node) Delete(name string) {
	n.t.Helper()
	n.must(os.Remove(n.manifest(name)))
}

// Gone tells whether no task of a container is left, by its id.
func (n *Node) Gone(id string) bool {
	tasks, err := n.ctr("tasks", "ls", "-q")
	return err == nil && !slices.Contains(strings.Fields(tasks), id)
}

// Pids are the processes of a container, as the machine has them, by its id.
func (n *Node) Pids(id string) (pids []int) {
	n.t.Helper()
	table, err := n.ctr("tasks", "ps", id)
	n.must(err)
	for line := range strings.Lines(table) {
		if pid, err := strconv.Atoi(strings.Fields(line)[0]); err == nil { // no heading
			pids = append(pids, pid)
		}
	}
	return pids
}

// ExitCode is that of a container by its id, as the kubelet heard it; it is asked for pods
// that are gone, which have no status. The line is that of the kubelet's
// pkg/kubelet/pleg/generic.go, from verbosity 2 on.
func (n *Node) ExitCode(id string) (code int, known bool) {
	log, err := os.ReadFile(n.log)
	n.must(err)
	for line := range strings.Lines(string(log)) {
		if !strings.Contains(line, "container finished") || !strings.Contains(line, id) {
			continue
		}
		if _, number, found := strings.Cut(line, "exitCode="); found {
			code, err = strconv.Atoi(strings.TrimSpace(number))
			return code, err == nil
		}
	}
	return 0, false
}

// Logs are what the containers of a pod have written.
func (n *Node) Logs(pod string) string {
	files, _ := filepath.Glob(fmt.Sprintf("%s/logs/default_%s-%s_*/*/*.log", n.dir, pod, host))
	var all bytes.Buffer
	for _, f := range files {
		raw, _ := os.ReadFile(f)
		fmt.Fprintf(&all, "%s:\n%s", strings.TrimPrefix(f, n.dir+"/logs/"), raw)
	}
	return all.String()
}

func (n *Node) get(path string) ([]byte, error) {
	client := http.Client{Timeout: 5 * time.Second}
	response, err := client.Get("http://127.0.0.1:" + n.port + path)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", path, response.Status, body)
	}
	return body, err
}

// freePorts are ports that nobody listens on now.
func freePorts(t *testing.T, count int) (ports []string) {
	t.Helper()
	for range count {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() // all of them are held until all are had
		_, port, _ := net.SplitHostPort(l.Addr().String())
		ports = append(ports, port)
	}
	return ports
}
