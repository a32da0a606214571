package main

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"ak-init/health"
	"ak-init/testdata/bed"
	"ak-init/testdata/image"
	"ak-init/testdata/kubelet"
	"ak-init/testdata/postgres"
	"ak-init/testdata/standin/layout"
)

// kube is a kubelet with an image of authentik under ak-init: real gunicorn and dramatiq out
// of the machine's own /usr and virtualenv, which are mounted, behind the stand-in server.
type kube struct {
	node *kubelet.Node
	// venv is the virtualenv's path, the same inside.
	venv string
}

const kubeImage = "localhost/ak-init:test"

// newKube needs a kubelet, whose path is in AK_KUBELET.
func newKube(t *testing.T) kube {
	t.Helper()
	program, venv := os.Getenv("AK_KUBELET"), os.Getenv("AK_VENV")
	bed.Need(t, "kubelet", program != "", "AK_KUBELET names no kubelet; testdata/kubelet/build makes one")
	bed.Need(t, "kubelet", venv != "", "AK_VENV names no virtualenv with gunicorn and dramatiq")
	missing := kubelet.Missing()
	bed.Need(t, "kubelet", missing == "", missing)
	k := kube{kubelet.Start(t, program), venv}
	file := filepath.Join(t.TempDir(), "image.tar")
	if err := image.Write(file, kubeImage, realRoot(t), image.Config{
		Entrypoint: []string{"/ak-init"}, Cmd: []string{"server"}, WorkingDir: "/",
		Env: []string{"PATH=/ak-root/.venv/bin:/bin:/usr/bin", "TMPDIR=/tmp", "PYTHONDONTWRITEBYTECODE=1"},
	}); err != nil {
		t.Fatal(err)
	}
	k.node.Import(file)
	return k
}

// realRoot is imageRoot with testdata/real; Python comes from mounts at /usr and at the
// virtualenv's own path.
func realRoot(t *testing.T) string {
	t.Helper()
	root := imageRoot(t)
	for _, words := range [][]string{
		{"rm", "-r", root + "/ak-root"},
		{"sh", "-c", "cp -RL testdata/real/* " + root},
		{"mkdir", root + "/ak-root"},
		{"ln", "-s", os.Getenv("AK_VENV"), root + "/ak-root/.venv"},
		{"ln", "-s", "usr/lib", root + "/lib"},
		{"ln", "-s", "usr/lib64", root + "/lib64"},
	} {
		if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", words, err, out)
		}
	}
	return root
}

// imageRoot is the root directory of an image that holds the stand-in, and ak-init with what
// stands beside it.
func imageRoot(t *testing.T) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root")
	standin, err := standIn()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(layout.Image(root, standin), os.Mkdir(root+"/tmp", 0o777)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "build", "-trimpath", "-o", root+"/", ".", "./cmd/ak-init-database", "./cmd/ak-init-http")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return root
}

// pod is one of README's pods.
type pod struct {
	*scene
	node *kubelet.Node
	name string
	spec map[string]any
	// container is the only one.
	container map[string]any
	deleted   bool
}

// readmeYAML is README's block of YAML that begins with these words.
func readmeYAML(t *testing.T, begins string) (block map[string]any) {
	t.Helper()
	text := regexp.MustCompile("(?s)```yaml\n( *)(" + begins + ".*?)```").FindStringSubmatch(readme(t))
	if text == nil {
		t.Fatalf("README has no YAML that begins with %s", begins)
	}
	if err := yaml.Unmarshal([]byte(strings.ReplaceAll(text[2], "\n"+text[1], "\n")), &block); err != nil {
		t.Fatal(err)
	}
	return block
}

// pod is README's first pod, with quicker probes, on the machine's network, in front of a
// PostgreSQL. It is changed as wanted, then applied.
func (k kube) pod(t *testing.T, name string, db *postgres.Server, words ...string) *pod {
	t.Helper()
	s := &scene{t: t, dir: t.TempDir(), record: t.TempDir(), address: freeAddress(t, name)}
	spec := readmeYAML(t, "containers:")
	p := &pod{scene: s, node: k.node.In(t), name: name, spec: spec, container: spec["containers"].([]any)[0].(map[string]any)}
	s.must(os.Chmod(s.record, 0o777|os.ModeSticky))
	spec["hostNetwork"] = true
	maps.Copy(p.container, map[string]any{"image": kubeImage, "imagePullPolicy": "Never", "args": words})
	p.env("AUTHENTIK_LISTEN__HTTP", s.address, "AUTHENTIK_SECRET_KEY", "canary-of-the-pod", "REAL_EVENTS", "/record/events",
		"AUTHENTIK_POSTGRESQL__HOST", "127.0.0.1", "AUTHENTIK_POSTGRESQL__PORT", db.Port, "POSTGRES_PASSWORD", "canary",
		"REAL_DATABASE", "127.0.0.1:"+db.Port, "AK_INIT_LOG_LEVEL", "debug")
	for mount, path := range map[string]string{"/record": s.record, "/usr": "/usr", k.venv: k.venv} {
		volume := fmt.Sprintf("v%d", len(spec["volumes"].([]any)))
		spec["volumes"] = append(spec["volumes"].([]any), map[string]any{"name": volume, "hostPath": map[string]any{"path": path, "type": "Directory"}})
		p.container["volumeMounts"] = append(p.container["volumeMounts"].([]any),
			map[string]any{"name": volume, "mountPath": mount, "readOnly": mount != "/record"})
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of %s:\n%s", name, p.node.Logs(name))
		}
	})
	return p
}

// env adds to the environment: names and values by turns.
func (p *pod) env(pairs ...string) {
	list, _ := p.container["env"].([]any)
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, map[string]any{"name": pairs[i], "value": pairs[i+1]})
	}
	p.container["env"] = list
}

// overHTTP has README's second block for its probes: ak-init-http is asked.
func (p *pod) overHTTP() {
	p.t.Helper()
	maps.DeleteFunc(p.container, func(key string, _ any) bool { return strings.HasSuffix(key, "Probe") })
	block := readmeYAML(p.t, "args:")
	p.healthAddress = freeAddress(p.t, p.name+"health")
	delete(block, "args")
	delete(block, "ports")
	maps.Copy(p.container, block)
	p.env("AK_INIT_HEALTH_LISTEN", p.healthAddress)
	p.asked(p.healthAddress)
}

// asked says at which address the kubelet asks over HTTP; its own choice is the machine's.
func (p *pod) asked(address string) {
	host, port, err := net.SplitHostPort(address)
	p.must(err)
	for _, key := range []string{"startupProbe", "livenessProbe", "readinessProbe"} {
		if probe, ok := p.container[key].(map[string]any); ok {
			maps.Copy(probe["httpGet"].(map[string]any), map[string]any{"host": host, "port": number(p.t, port)})
		}
	}
}

func number(t *testing.T, text string) (n int) {
	t.Helper()
	if _, err := fmt.Sscan(text, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// authentiksOwn asks authentik itself over HTTP, as its chart does.
func (p *pod) authentiksOwn() {
	get := func(path string) map[string]any {
		return map[string]any{"httpGet": map[string]any{"path": path}, "failureThreshold": 3}
	}
	p.container["startupProbe"] = map[string]any{"httpGet": map[string]any{"path": "/-/health/live/"}, "failureThreshold": 60}
	p.container["livenessProbe"], p.container["readinessProbe"] = get("/-/health/live/"), get("/-/health/ready/")
	p.asked(p.address)
}

// apply starts the pod, which is probed each second.
func (p *pod) apply() {
	p.t.Helper()
	for _, key := range []string{"startupProbe", "livenessProbe", "readinessProbe"} {
		if probe, ok := p.container[key].(map[string]any); ok {
			probe["periodSeconds"] = 1
			if probe["exec"] != nil || p.healthAddress != "" {
				probe["timeoutSeconds"] = 5 // a busy machine takes long to enter a container, or to answer
			}
		}
	}
	p.node.Apply(p.name, map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": p.name}, "spec": p.spec})
	p.t.Cleanup(func() {
		if !p.deleted {
			id := p.now().ID()
			p.node.Delete(p.name)
			p.node.Await("the end of "+p.name, func() bool { return p.node.Gone(id) })
		}
	})
}

func (p *pod) now() kubelet.Container { return p.node.Container(p.name) }

func (p *pod) awaitReady(ready bool) {
	p.t.Helper()
	p.node.Await(fmt.Sprintf("%s with ready %t", p.name, ready), func() bool { return p.now().Ready == ready })
}

// awaitProbes waits for that many more liveness probes of each pod, all of which succeed.
func awaitProbes(more int, pods ...*pod) {
	count := func(p *pod, result string) int { return p.node.Probes(p.name, "Liveness", result) }
	var begin []int
	for _, p := range pods {
		begin = append(begin, count(p, "successful"))
	}
	for i, p := range pods {
		p.node.Await("liveness probes of "+p.name, func() bool { return count(p, "successful") >= begin[i]+more })
		if failed := count(p, "failed"); failed > 0 {
			p.t.Errorf("%d liveness probes of %s failed", failed, p.name)
		}
	}
}

// told is how many events of this reason, whose message holds these words, the pod has had.
func (p *pod) told(reason, words string) (n int) {
	p.t.Helper()
	for _, e := range p.node.Events(p.name) {
		if e.Reason == reason && strings.Contains(e.Message, words) {
			n++
		}
	}
	return n
}

// tells wants such an event.
func (p *pod) tells(reason, words string) {
	p.t.Helper()
	if p.told(reason, words) == 0 {
		p.t.Errorf("%s has no event %s, %q among %+v", p.name, reason, words, p.node.Events(p.name))
	}
}

// untouched wants a container that runs, and that has never been restarted.
func (p *pod) untouched() {
	p.t.Helper()
	if c := p.now(); c.RestartCount != 0 || c.State.Running == nil || c.LastState.Terminated != nil {
		p.t.Errorf("%s: %d restarts, %+v", p.name, c.RestartCount, c.LastState.Terminated)
	}
	if p.told("Killing", "") > 0 {
		p.t.Errorf("%s was to be ended: %+v", p.name, p.node.Events(p.name))
	}
}

// awaitRestart waits for the first restart, and gives the end before it.
func (p *pod) awaitRestart() *kubelet.Terminated {
	p.t.Helper()
	var c kubelet.Container
	p.node.Await("a restart of "+p.name, func() bool { c = p.now(); return c.RestartCount > 0 })
	if c.RestartCount != 1 || c.LastState.Terminated == nil {
		p.t.Fatalf("%s: %d restarts, %+v; want one", p.name, c.RestartCount, c.LastState)
	}
	return c.LastState.Terminated
}

// restarted waits for the first restart, wants this end before it, and says when that was.
func (p *pod) restarted(code int, reason string) time.Time {
	p.t.Helper()
	last := p.awaitRestart()
	if last.ExitCode != code || last.Reason != reason {
		p.t.Fatalf("%s: %+v; want %d, %s", p.name, last, code, reason)
	}
	return last.FinishedAt
}

// service is the host's pid of the pod's service: the one that this program was started for,
// and that no other of its kind has started.
func (p *pod) service(program string) int {
	p.t.Helper()
	is := func(pid string) bool {
		raw, _ := os.ReadFile("/proc/" + pid + "/cmdline")
		name, _, _ := strings.Cut(string(raw), "\x00")
		return filepath.Base(name) == program
	}
	for _, pid := range p.node.Pids(p.now().ID()) {
		if is(strconv.Itoa(pid)) && !is(procStatus(p.t, pid, "PPid")) {
			return pid
		}
	}
	p.t.Fatalf("no %s runs in %s", program, p.name)
	return 0
}

// server is authentik's.
func (p *pod) server() int {
	p.t.Helper()
	return p.service("authentik")
}

func TestKubelet(t *testing.T) {
	k := newKube(t)
	db := authentiks(t)
	for name, test := range map[string]func(kube, *testing.T, *postgres.Server){
		"a healthy server is left alone":                          kube.healthy,
		"a hung server is restarted":                              kube.hung,
		"a request in flight is answered when the pod is deleted": kube.drain,
		"a migration is live for as long as it lasts":             kube.migration,
		"an outage of the database restarts nobody who asks us":   kube.outage,
		"a worker finishes its task":                              kube.worker,
		"a hung worker is restarted":                              kube.hungWorker,
		"a killed server is restarted, and its code is known":     kube.killed,
		"server and worker in one pod finish both":                kube.all,
		"a server that neither answers nor ends is restarted":     kube.wedged,
	} {
		t.Run(name, func(t *testing.T) { t.Parallel(); test(k, t, db) })
	}
}

// asked is a pod for each way that a kubelet may ask.
func (k kube) asked(t *testing.T, name string, db *postgres.Server, env ...string) (pods []*pod) {
	t.Helper()
	for way, asks := range map[string]func(*pod){"exec": func(*pod) {}, "http": (*pod).overHTTP, "own": (*pod).authentiksOwn} {
		p := k.pod(t, name+"-"+way, db, "server")
		asks(p)
		p.env(env...)
		p.apply()
		pods = append(pods, p)
	}
	for _, p := range pods {
		p.awaitReady(true)
	}
	return pods
}

func (k kube) healthy(t *testing.T, db *postgres.Server) {
	t.Helper()
	pods := k.asked(t, "healthy", db)
	awaitProbes(10, pods...)
	for _, p := range pods {
		p.untouched()
	}
}

// hung stops a server as a deadlock would. ak-init says so after health.Threshold; authentik's
// own path does not answer from the first second on.
func (k kube) hung(t *testing.T, db *postgres.Server) {
	t.Helper()
	pods := k.asked(t, "hung", db)
	begin := time.Now()
	for _, p := range pods {
		p.must(syscall.Kill(p.server(), syscall.SIGSTOP))
	}
	for _, p := range pods {
		// A stop wakes whom SIGSTOP had stopped, so this one ends well.
		took := p.restarted(0, "Completed").Sub(begin)
		p.tells("Unhealthy", "Liveness probe failed: "+map[string]string{
			"hung-exec": "unhealthy: server degraded: its main process, ", "hung-http": "HTTP probe failed with statuscode: 503", "hung-own": "Get ",
		}[p.name])
		p.tells("Killing", "failed liveness probe, will be restarted")
		t.Logf("%s ended %s after its server hung", p.name, took.Round(time.Second))
		if patient := !strings.HasSuffix(p.name, "-own"); patient != (took > health.Threshold-5*time.Second) {
			t.Errorf("%s was ended after %s, while ak-init is live for %s", p.name, took, health.Threshold)
		}
		p.awaitReady(true)
	}
}

// wedged keeps gunicorn's one worker process in a loop: it neither answers nor ends, so the
// grace period passes, and SIGKILL ends what is left.
func (k kube) wedged(t *testing.T, db *postgres.Server) {
	t.Helper()
	p := k.pod(t, "wedged", db, "server")
	p.env("AUTHENTIK_WEB__WORKERS", "1", "AK_INIT_GRACE_PERIOD", "5s", "AK_INIT_LIVE_THRESHOLD", "5s")
	p.apply()
	p.awaitReady(true)
	p.get("/wedge")
	p.awaitEvent("request begin")
	p.awaitReady(false)
	p.restarted(0, "Completed") // the server's own, which has its TERM at four fifths
	p.tells("Killing", "failed liveness probe, will be restarted")
	if !strings.Contains(p.node.Logs(p.name), "grace period nearly over") {
		t.Error("the wedged process ended before the grace period did")
	}
	p.awaitReady(true)
}

// killed ends the server as the kernel does for want of memory.
func (k kube) killed(t *testing.T, db *postgres.Server) {
	t.Helper()
	p := k.pod(t, "killed", db, "server")
	p.apply()
	p.awaitReady(true)
	p.must(syscall.Kill(p.server(), syscall.SIGKILL))
	p.restarted(137, "Error")
	if p.told("Killing", "") > 0 { // it ended by itself
		t.Errorf("%s was to be ended: %+v", p.name, p.node.Events(p.name))
	}
	p.awaitReady(true)
}

// drain deletes a pod whose server has a request in flight.
func (k kube) drain(t *testing.T, db *postgres.Server) {
	t.Helper()
	p := k.pod(t, "drain", db, "server")
	p.apply()
	p.awaitReady(true)
	answer := p.get("/slow?for=3")
	p.awaitEvent("request begin")
	done := make(chan struct{})
	go func() { // ends with the request
		defer close(done)
		if got := <-answer; got.status != 200 || got.body != "done" {
			t.Errorf("the client has %+v, want 200 done", got)
		}
	}()
	p.end(0)
	p.tells("Killing", "Stopping container server")
	<-done
	if err := dialed(p.address); err == nil {
		t.Error("somebody listens still")
	}
}

func dialed(address string) error {
	conn, err := net.Dial("tcp", address)
	if err == nil {
		_ = conn.Close()
	}
	return err
}

// migration lets server and all wait for authentik's lock. A liveness probe of one second
// that may not fail once stands for the ten minutes that a release may take: the budget
// passes fifteen times.
func (k kube) migration(t *testing.T, _ *postgres.Server) {
	t.Helper()
	db := authentiks(t)
	release := db.Hold(t, "other-pod", "authentik", "select pg_advisory_lock(1000)")
	server, all := k.pod(t, "migrating-server", db, "server", "--migrate", "before"), k.pod(t, "migrating-all", db, "all")
	all.overHTTP()
	all.startRedis()
	for _, p := range []*pod{server, all} {
		p.env("REAL_PSQL", postgres.Binaries()+"/psql")
		p.container["livenessProbe"].(map[string]any)["failureThreshold"] = 1
		p.apply()
	}
	for _, p := range []*pod{server, all} {
		p.node.Await("a line of who holds it", func() bool {
			return strings.Contains(p.node.Logs(p.name), `"event":"waiting for the migration lock"`)
		})
	}
	awaitProbes(15, server, all)
	for _, p := range []*pod{server, all} {
		p.untouched()
		if p.now().Ready || len(p.events("migrate")) > 0 {
			t.Errorf("%s is ready, or has migrated: %q", p.name, p.events("migrate"))
		}
	}
	server.tells("Unhealthy", "Readiness probe failed: unhealthy: server migrating: ")
	release()
	for _, p := range []*pod{server, all} {
		p.awaitReady(true)
		p.untouched()
		if len(p.events("migrate")) != 1 {
			t.Errorf("%s migrated: %q", p.name, p.events("migrate"))
		}
	}
}

// outage takes PostgreSQL away from pods that are ready, and gives it back. authentik's own live
// path answers 502 meanwhile, so that who asks there restarts a server that nothing is wrong with.
func (k kube) outage(t *testing.T, _ *postgres.Server) {
	t.Helper()
	db := authentiks(t)
	pods := k.asked(t, "outage", db)
	all := k.pod(t, "outage-all", db, "all")
	all.startRedis()
	all.apply()
	all.awaitReady(true)
	own := pods[slices.IndexFunc(pods, func(p *pod) bool { return p.name == "outage-own" })]
	pods = append(slices.DeleteFunc(pods, func(p *pod) bool { return p == own }), all)
	db.Stop()
	own.restarted(0, "Completed")
	own.tells("Unhealthy", "Liveness probe failed: HTTP probe failed with statuscode: 502")
	for _, p := range pods {
		p.awaitReady(false)
	}
	awaitProbes(10, pods...)
	for _, p := range pods {
		p.untouched()
		if p.container["livenessProbe"].(map[string]any)["exec"] != nil { // of others only the status is told
			p.tells("Unhealthy", "Readiness probe failed: unhealthy: server degraded: ")
		}
	}
	db.Run(t, postgres.As(db.Cmd.Path, db.Cmd.Args[1:]...))
	for _, p := range pods {
		p.awaitReady(true)
		p.untouched()
	}
	own.awaitReady(true)
}

// workers are two pods with a worker, whom a kubelet asks by exec and over HTTP.
func (k kube) workers(t *testing.T, name string, db *postgres.Server, env ...string) (exec, http *pod) {
	t.Helper()
	exec, http = k.pod(t, name+"-exec", db, "worker"), k.pod(t, name+"-http", db, "worker")
	http.overHTTP()
	for _, p := range []*pod{exec, http} {
		p.spec["shareProcessNamespace"] = true // ak-init is not PID 1
		p.env(env...)
		p.startRedis()
		p.apply()
	}
	exec.awaitReady(true)
	http.awaitReady(true)
	return exec, http
}

// worker deletes pods whose workers have a task at work.
func (k kube) worker(t *testing.T, db *postgres.Server) {
	t.Helper()
	exec, http := k.workers(t, "worker", db)
	awaitProbes(5, exec, http)
	for _, p := range []*pod{exec, http} {
		p.untouched()
		if log := p.node.Logs(p.name); strings.Contains(log, `"pid":1,`) {
			t.Error("ak-init is PID 1")
		}
		p.enqueue("tea")
		p.end(0)
		p.finished("tea")
	}
}

// hungWorker stops dramatiq's main process in one pod, and in another the processes that it
// has started, as a deadlock would. These hear that they are to end when the grace period is
// nearly over, so which code that makes is left open.
func (k kube) hungWorker(t *testing.T, db *postgres.Server) {
	t.Helper()
	exec, http := k.workers(t, "hung-worker", db, "AK_INIT_LIVE_THRESHOLD", threshold.String(), "AK_INIT_GRACE_PERIOD", "10s")
	begin := time.Now()
	exec.must(syscall.Kill(exec.service("python"), syscall.SIGSTOP))
	for _, pid := range http.childrenOf(http.service("python")) {
		http.must(syscall.Kill(pid, syscall.SIGSTOP))
	}
	for p, says := range map[*pod]string{
		exec: "Liveness probe failed: unhealthy: worker degraded: its main process, ", http: "Liveness probe failed: HTTP probe failed with statuscode: 503",
	} {
		took := p.awaitRestart().FinishedAt.Sub(begin)
		p.tells("Unhealthy", says)
		p.tells("Killing", "failed liveness probe, will be restarted")
		t.Logf("%s ended %s after its worker hung", p.name, took.Round(time.Second))
		if took < threshold-5*time.Second {
			t.Errorf("%s was ended after %s, while ak-init is live for %s", p.name, took, threshold)
		}
		p.awaitReady(true)
	}
}

// all deletes a pod that has a task and a request.
func (k kube) all(t *testing.T, db *postgres.Server) {
	t.Helper()
	p := k.pod(t, "all", db, "all")
	p.overHTTP()
	p.startRedis()
	p.apply()
	p.awaitReady(true)
	awaitProbes(5, p)
	p.untouched()
	p.enqueue("coffee")
	answer := p.get("/slow?for=3")
	p.awaitEvent("request begin")
	p.end(0)
	p.finished("coffee")
	if got := <-answer; got.status != 200 || got.body != "done" {
		t.Errorf("the client has %+v, want 200 done", got)
	}
}

// enqueue gives the worker a task of three seconds, and returns when it is at work.
func (p *pod) enqueue(task string) {
	p.t.Helper()
	cmd := exec.CommandContext(p.t.Context(), os.Getenv("AK_VENV")+"/bin/python", "-m", "enqueue", task, "3")
	cmd.Dir = "testdata/real"
	cmd.Env = append(os.Environ(), "REDIS_URL=unix://"+p.record+"/redis", "PYTHONDONTWRITEBYTECODE=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		p.t.Fatalf("enqueue: %v\n%s", err, out)
	}
	p.awaitEvent("task begin " + task)
}

// finished wants a task that ran once, to its end.
func (p *pod) finished(task string) {
	p.t.Helper()
	if begun, ended := p.events("task begin "+task), p.events("task end "+task); len(begun) != 1 || len(ended) != 1 {
		p.t.Errorf("the task began %d times and ended %d times", len(begun), len(ended))
	}
}

// startRedis starts dramatiq's broker on a socket that the pod sees.
func (p *pod) startRedis() {
	p.t.Helper()
	path, err := exec.LookPath("redis-server")
	bed.Need(p.t, "kubelet", err == nil, "redis-server is missing")
	cmd := exec.Command(path, "--port", "0", "--unixsocket", p.record+"/redis", "--unixsocketperm", "777", "--save", "", "--dir", p.record)
	p.must(cmd.Start())
	p.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	p.await("redis", func() bool { return exists(p.record + "/redis") })
	p.env("REDIS_URL", "unix:///record/redis")
}

// end deletes the pod, and wants it to end with this code.
func (p *pod) end(want int) {
	p.t.Helper()
	id, begin := p.now().ID(), time.Now()
	p.deleted = true
	p.node.Delete(p.name)
	p.node.Await("its end", func() bool { return p.node.Gone(id) })
	p.t.Logf("%s was gone after %s", p.name, time.Since(begin).Round(100*time.Millisecond))
	p.node.Await("its exit code", func() bool { _, known := p.node.ExitCode(id); return known })
	if code, _ := p.node.ExitCode(id); code != want {
		p.t.Errorf("exit code %d, want %d", code, want)
	}
}
