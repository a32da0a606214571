package kubelet

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

const sandboxImage = "localhost/ak-pause:test"

// containerdConfig is that of containerd 1.6 and 1.7. The snapshotters that are left out
// need file systems that a test has not, and restrict_oom_score_adj is for a root that may
// not lower oom_score_adj, as in a container.
func (n *Node) containerdConfig() string {
	return fmt.Sprintf(`version = 2
root = "%[1]s/c-root"
state = "%[1]s/c-state"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[grpc]
  address = "%[1]s/c.sock"
[ttrpc]
  address = "%[1]s/c.sock.ttrpc"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "%[2]s"
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
`, n.dir, sandboxImage)
}

// kubeletConfig has a kubelet that stands alone: nobody is asked who may ask, nothing is
// evicted or collected, swap and cgroups of either version are fine, and pods have no
// cgroups of its own making, so that two kubelets do not tidy each other's.
func (n *Node) kubeletConfig(ports []string) string {
	return fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: 127.0.0.1
readOnlyPort: %[2]s
port: %[3]s
healthzBindAddress: 127.0.0.1
healthzPort: %[4]s
staticPodPath: %[1]s/manifests
podLogsDir: %[1]s/logs
volumePluginDir: %[1]s/plugins
containerRuntimeEndpoint: unix://%[1]s/c.sock
cgroupDriver: cgroupfs
cgroupsPerQOS: false
enforceNodeAllocatable: []
failCgroupV1: false
failSwapOn: false
localStorageCapacityIsolation: false
makeIPTablesUtilChains: false
resolvConf: ""
authentication: {anonymous: {enabled: false}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
evictionHard: {memory.available: "0%%", nodefs.available: "0%%", nodefs.inodesFree: "0%%", imagefs.available: "0%%", imagefs.inodesFree: "0%%"}
imageMinimumGCAge: 24h
imageGCHighThresholdPercent: 100
fileCheckFrequency: 1s
syncFrequency: 1s
featureGates: {KubeletCrashLoopBackOffMax: true}
crashLoopBackOff: {maxContainerRestartPeriod: 2s}
`, n.dir, ports[0], ports[1], ports[2])
}

// kubeletArgs are what has no place in its configuration. Events are in the log from
// verbosity 3 on (client-go, StartStructuredLogging), and nowhere else without an API server.
// Each minute all but one dead container of a kind are removed, and one that is made and does
// not run yet counts as dead (pkg/kubelet/kuberuntime/kuberuntime_gc.go, evictableContainers):
// with the default of 1 how the last one ended is sometimes lost.
func (n *Node) kubeletArgs() []string {
	return []string{
		"--config", n.dir + "/kubelet.yaml", "--root-dir", n.dir + "/kubelet", "--cert-dir", n.dir + "/pki",
		"--hostname-override", host, "--v", "3", "--maximum-dead-containers-per-container", "10",
	}
}

// drain takes all manifests away and waits for the ends.
func (n *Node) drain() {
	files, _ := filepath.Glob(n.dir + "/manifests/*")
	for _, f := range files {
		_ = os.Remove(f)
	}
	if !wait(func() bool {
		tasks, err := n.ctr("tasks", "ls", "-q")
		return err == nil && strings.TrimSpace(tasks) == ""
	}) {
		n.t.Error("pods outlive their manifests")
	}
}

// kill ends what is left without a kubelet.
func (n *Node) kill() {
	tasks, _ := n.ctr("tasks", "ls", "-q")
	for id := range strings.FieldsSeq(tasks) {
		_, _ = n.ctr("tasks", "rm", "-f", id)
	}
	all, _ := n.ctr("containers", "ls", "-q")
	for id := range strings.FieldsSeq(all) {
		_, _ = n.ctr("containers", "rm", id)
	}
	// Of the cgroups the parent stays; it is in use where it cannot be removed.
	for _, pattern := range []string{"/sys/fs/cgroup/k8s.io", "/sys/fs/cgroup/*/k8s.io"} {
		parents, _ := filepath.Glob(pattern)
		for _, parent := range parents {
			_ = syscall.Rmdir(parent)
		}
	}
	// The kubelet names each log in a directory of the machine's.
	links, _ := filepath.Glob("/var/log/containers/*_default_*")
	for _, link := range links {
		if to, err := os.Readlink(link); err == nil && strings.HasPrefix(to, n.dir+"/") {
			_ = os.Remove(link)
		}
	}
}

// unmount takes away what is mounted below the node's directory, the last first.
func (n *Node) unmount() {
	table, _ := os.ReadFile("/proc/self/mounts")
	for _, line := range slices.Backward(strings.Split(string(table), "\n")) {
		fields := strings.Fields(line)
		if len(fields) > 1 && strings.HasPrefix(fields[1], n.dir+"/") {
			_ = syscall.Unmount(fields[1], syscall.MNT_DETACH)
		}
	}
}
