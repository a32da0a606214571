package kubelet

import (
	"encoding/json"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Container is the status of one, as the kubelet has it.
type Container struct {
	Name             string
	ContainerID      string
	Ready            bool
	RestartCount     int
	State, LastState struct {
		Running    *struct{ StartedAt time.Time }
		Terminated *Terminated
	}
}

// Terminated is how a container ended.
type Terminated struct {
	ExitCode, Signal      int
	Reason                string
	StartedAt, FinishedAt time.Time
}

// ID is the container's own, without the runtime's scheme.
func (c Container) ID() string {
	_, id, _ := strings.Cut(c.ContainerID, "://")
	return id
}

// Container is the first container of a pod; its zero value: there is none yet.
func (n *Node) Container(pod string) Container {
	n.t.Helper()
	body, err := n.get("/pods")
	n.must(err)
	var list struct {
		Items []struct {
			Metadata struct{ Name string }
			Status   struct{ ContainerStatuses []Container }
		}
	}
	n.must(json.Unmarshal(body, &list))
	for _, p := range list.Items {
		if p.Metadata.Name == pod+"-"+host && len(p.Status.ContainerStatuses) > 0 {
			return p.Status.ContainerStatuses[0]
		}
	}
	return Container{}
}

// Probes is how many probes of a kind (Liveness, Readiness, Startup) of a pod had a result
// (successful, failed): prober_probe_total of the kubelet's /metrics/probes.
func (n *Node) Probes(pod, kind, result string) int {
	n.t.Helper()
	body, err := n.get("/metrics/probes")
	n.must(err)
	all := 0
	for line := range strings.Lines(string(body)) {
		if strings.HasPrefix(line, "prober_probe_total{") && strings.Contains(line, `pod="`+pod+"-"+host+`"`) &&
			strings.Contains(line, `probe_type="`+kind+`"`) && strings.Contains(line, `result="`+result+`"`) {
			count, err := strconv.Atoi(strings.TrimSpace(line[strings.LastIndexByte(line, '}')+1:]))
			n.must(err)
			all += count
		}
	}
	return all
}

// Event is what the kubelet would tell an API server of a pod.
type Event struct{ Reason, Message string }

// eventLine is an event in the kubelet's log. A message of several lines is indented, and
// stands between angle brackets (k8s.io/klog/v2, internal/serialize).
var eventLine = regexp.MustCompile(`"Event occurred" object="default/([^"]*)-` + host + `".* reason="(\w*)" message=(?:("(?:[^"\\]|\\.)*")|<\n((?:\t.*\n)*) >)`)

// Events are those of a pod, oldest first.
func (n *Node) Events(pod string) (all []Event) {
	n.t.Helper()
	log, err := os.ReadFile(n.log)
	n.must(err)
	for _, found := range eventLine.FindAllStringSubmatch(string(log), -1) {
		if found[1] != pod {
			continue
		}
		message := strings.ReplaceAll(strings.TrimPrefix(found[4], "\t"), "\n\t", "\n")
		if found[3] != "" {
			message, err = strconv.Unquote(found[3])
			n.must(err)
		}
		all = append(all, Event{found[2], message})
	}
	return all
}
