package prepare

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// left gives the names in a directory.
func left(t *testing.T, dir string) []string {
	t.Helper()
	all, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range all {
		names = append(names, e.Name())
	}
	return names
}

// write makes files with a text.
func write(t *testing.T, dir, text string, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// keptLines are what a sweep says that it kept.
func keptLines(s Swept) string { return fmt.Sprint(errors.Join(s.Kept...)) }

// listen binds a socket; when it is closed its file stays.
func listen(t *testing.T, network, path string) interface{ Close() error } {
	t.Helper()
	if network == "unixgram" {
		c, err := net.ListenUnixgram(network, &net.UnixAddr{Name: path, Net: network})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	l, err := net.Listen(network, path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	return l
}

// A key of another owner could not be written anew. Whose it should be it is left, and so it is
// where another instance may be about, whose key it is.
func TestSweepRemovesKeysThatAreSomebodyElses(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	write(t, dir, "x", "a.key", "b.key", "other")
	giveTo(t, filepath.Join(dir, "b.key"), child.UID, child.GID)
	stale := Stale{Dir: dir, Keys: []string{"?.key"}}
	if s := stale.Sweep(t.Context(), child, false); s.Count != 0 || len(s.Kept) > 0 {
		t.Errorf("%+v", s)
	}
	if s := stale.Sweep(t.Context(), child, true); s.Count != 1 || len(s.Kept) > 0 {
		t.Errorf("%+v", s)
	}
	if got := left(t, dir); !slices.Equal(got, []string{"b.key", "other"}) {
		t.Errorf("left: %q", got)
	}
}

func TestSweepRemovesSocketsThatNobodyListensOn(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"authentik.sock", "authentik-core.sock", "other.sock"} {
		_ = listen(t, "unix", in(name)).Close()
	}
	for network, name := range map[string]string{"unix": "authentik-live.sock", "unixgram": "authentik-datagrams.sock"} {
		l := listen(t, network, in(name))
		defer func() { _ = l.Close() }()
	}
	write(t, dir, "", "authentik-file.sock")
	if err := os.Symlink("other.sock", in("authentik-link.sock")); err != nil {
		t.Fatal(err)
	}
	s := Stale{Dir: dir, Sockets: []string{"[", "authentik.sock", "authentik-*.sock"}}.Sweep(t.Context(), Self(), true)
	if want := []string{"authentik-datagrams.sock", "authentik-file.sock", "authentik-link.sock", "authentik-live.sock", "other.sock"}; !slices.Equal(left(t, dir), want) {
		t.Errorf("left %v, want %v", left(t, dir), want)
	}
	if s.Count != 2 {
		t.Errorf("says that it removed %d, want 2", s.Count)
	}
	for _, name := range []string{"authentik-live.sock", "authentik-datagrams.sock"} {
		if want := in(name) + " answers: another authentik runs with this TMPDIR; give each its own"; len(s.Kept) != 2 || !strings.Contains(keptLines(s), want) {
			t.Errorf("no %q in %v", want, s.Kept)
		}
	}
}

// Who listens may be stopped: its queue is full then, and connecting would wait for ever.
func TestSweepDoesNotWaitForAFullQueue(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "authentik.sock")
	socket := func() int {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Close(fd) })
		return fd
	}
	listener, address := socket(), &unix.SockaddrUnix{Name: path}
	if err := errors.Join(unix.Bind(listener, address), unix.Listen(listener, 0)); err != nil {
		t.Fatal(err)
	}
	for unix.Connect(socket(), address) == nil {
		// until it is full
	}
	s := Stale{Dir: dir, Sockets: []string{"*"}}.Sweep(t.Context(), Self(), true)
	if s.Count != 0 || len(s.Kept) != 1 {
		t.Errorf("%+v", s)
	}
}

func TestSweepRemovesPIDFilesWhoseWritersAreGone(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	lives := exec.Command("sleep", "60")
	if err := lives.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = lives.Process.Kill(), lives.Wait() }()
	living := strconv.Itoa(lives.Process.Pid) + "\n"
	write(t, dir, strconv.Itoa(gone.Process.Pid), "authentik-gunicorn.1.pid", "authentik-gunicorn.1.pid.2", "another.pid")
	write(t, dir, strconv.Itoa(os.Getpid()), "authentik-gunicorn.us.pid")
	write(t, dir, living, "authentik-gunicorn.lives.pid", "authentik-gunicorn.recycled.pid")
	write(t, dir, "", "authentik-gunicorn.empty.pid", "authentik-gunicorn.new.pid")
	write(t, dir, "-1", "authentik-gunicorn.garbage.pid")
	if err := errors.Join(
		unix.Mkfifo(in("authentik-gunicorn.fifo.pid"), 0o600),
		os.Symlink("another.pid", in("authentik-gunicorn.link.pid")),
	); err != nil {
		t.Fatal(err)
	}
	hourAgo := time.Now().Add(-time.Hour)
	for _, name := range []string{"recycled", "empty", "garbage"} {
		if err := os.Chtimes(in("authentik-gunicorn."+name+".pid"), hourAgo, hourAgo); err != nil {
			t.Fatal(err)
		}
	}
	s := Stale{Dir: dir, PIDFiles: []string{"authentik-gunicorn.*.pid", "authentik-gunicorn.*.pid.2"}}.Sweep(t.Context(), Self(), true)
	if want := []string{"another.pid", "authentik-gunicorn.fifo.pid", "authentik-gunicorn.link.pid", "authentik-gunicorn.lives.pid", "authentik-gunicorn.new.pid"}; !slices.Equal(left(t, dir), want) {
		t.Errorf("left %v, want %v", left(t, dir), want)
	}
	if s.Count != 6 {
		t.Errorf("removed %d", s.Count)
	}
	for _, want := range []string{
		fmt.Sprintf("authentik-gunicorn.lives.pid names pid %d, which runs", lives.Process.Pid),
		"authentik-gunicorn.new.pid holds no pid, and is kept: it is not older than we are",
	} {
		if len(s.Kept) != 2 || !strings.Contains(keptLines(s), want) {
			t.Errorf("no %q in %v", want, s.Kept)
		}
	}
}

// metricFiles is what prometheus_client leaves: workers of gunicorn have numbers, others
// pids.
func metricFiles() []string {
	names := []string{"counter_1.db", "histogram_0.db", "summary_4194304.db"}
	for _, mode := range []string{"all", "min", "max", "sum", "mostrecent"} {
		names = append(names, "gauge_"+mode+"_17.db", "gauge_live"+mode+"_17.db")
	}
	return names
}

func notMetricFiles() []string {
	return []string{".db", "1.db", "_1.db", "counter.db", "counter_.db", "counter_-1.db", "counter_1.db.bak", "counter_1_2.db", "counter_x.db", "gauge_1.db", "gauge_live_1.db", "gauge_some_1.db", "mycounter_1.db", "notes"}
}

func TestSweepRemovesMetricsOfWhoIsAlone(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	write(t, dir, strings.Repeat("x", 10_000), metricFiles()...)
	write(t, dir, "", notMetricFiles()...)
	write(t, elsewhere, "", "file")
	if err := errors.Join(
		os.Mkdir(filepath.Join(dir, "counter_5.db"), 0o700),
		os.Symlink(filepath.Join(elsewhere, "file"), filepath.Join(dir, "counter_6.db")),
	); err != nil {
		t.Fatal(err)
	}
	want := slices.Sorted(slices.Values(append(notMetricFiles(), "counter_5.db", "counter_6.db")))
	s := Stale{Metrics: dir}.Sweep(t.Context(), Self(), true)
	if got := left(t, dir); !slices.Equal(got, want) {
		t.Errorf("left %v, want %v", got, want)
	}
	if n := len(metricFiles()); s.Count != n || s.Bytes < int64(n)*10_000 || len(s.Kept) > 0 {
		t.Errorf("%+v", s)
	}
	if len(left(t, elsewhere)) != 1 {
		t.Error("what a link leads to is gone")
	}
}

// One that ak-init did not start may be at work.
func TestSweepKeepsMetricsThatAProcessHolds(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, strings.Repeat("x", 4096), "counter_1.db", "counter_2.db", "counter_3.db")
	open, err := os.Open(filepath.Join(dir, "counter_1.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = open.Close() }()
	mapped, err := os.Open(filepath.Join(dir, "counter_2.db"))
	if err != nil {
		t.Fatal(err)
	}
	pages, err := unix.Mmap(int(mapped.Fd()), 0, 4096, unix.PROT_READ, unix.MAP_SHARED)
	if err := errors.Join(err, mapped.Close()); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Munmap(pages) }()
	s := Stale{Metrics: dir}.Sweep(t.Context(), Self(), true)
	if got := left(t, dir); !slices.Equal(got, []string{"counter_1.db", "counter_2.db"}) || s.Count != 1 {
		t.Errorf("left %v, %+v", got, s)
	}
	if want := "2 metric files in " + dir + " are kept: processes have them open"; !strings.Contains(keptLines(s), want) {
		t.Errorf("no %q in %v", want, s.Kept)
	}
}

func TestSweepKeepsMetricsWhereAnotherRuns(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "", metricFiles()...)
	s := Stale{Metrics: dir}.Sweep(t.Context(), Self(), false)
	if s.Count > 0 || len(left(t, dir)) != len(metricFiles()) {
		t.Errorf("%+v", s)
	}
	if want := fmt.Sprintf("%d metric files in %s are kept", len(metricFiles()), dir); len(s.Kept) != 1 || !strings.Contains(keptLines(s), want) {
		t.Errorf("no %q in %v", want, s.Kept)
	}
}

func TestSweepRefusesALinkInThePlaceOfTheMetrics(t *testing.T) {
	dir := t.TempDir()
	elsewhere, link := filepath.Join(dir, "elsewhere"), filepath.Join(dir, "metrics")
	if err := errors.Join(os.Mkdir(elsewhere, 0o700), os.Symlink(elsewhere, link)); err != nil {
		t.Fatal(err)
	}
	write(t, elsewhere, "", "counter_1.db")
	s := Stale{Metrics: link}.Sweep(t.Context(), Self(), true)
	if s.Count > 0 || len(left(t, elsewhere)) != 1 {
		t.Errorf("%+v", s)
	}
	if want := "cannot look for what an earlier run left in " + link + ": not a directory; it is a link to " + elsewhere; len(s.Kept) != 1 || !strings.Contains(keptLines(s), want) {
		t.Errorf("no %q in %v", want, s.Kept)
	}
}

func TestSweepHasNothingToSayWhereNothingIs(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	if s := (Stale{Dir: none, Sockets: []string{"*"}, Metrics: none}).Sweep(t.Context(), Self(), true); s.Count+len(s.Kept) > 0 {
		t.Errorf("%+v", s)
	}
}

func TestSweepRemovesWhatIsOursAndTheChildrens(t *testing.T) {
	needRoot(t)
	dir := openDir(t)
	write(t, dir, "", "counter_0.db", "counter_1.db", "counter_2.db", "counter_3.db", "counter_4.db", "counter_5.db", "counter_6.db", "counter_7.db", "counter_8.db")
	giveTo(t, filepath.Join(dir, "counter_1.db"), child.UID, child.GID)
	for i := 2; i < 9; i++ {
		giveTo(t, filepath.Join(dir, fmt.Sprintf("counter_%d.db", i)), 4711, 4711)
	}
	s := Stale{Metrics: dir}.Sweep(t.Context(), child, true)
	if s.Count != 2 || len(left(t, dir)) != 7 || len(s.Kept) != maxTold+1 {
		t.Errorf("%+v", s)
	}
	for _, want := range []string{"it is owned by 4711:4711; we are uid 0, gid 0; remove it", "2 more are kept"} {
		if !strings.Contains(keptLines(s), want) {
			t.Errorf("no %q in %v", want, s.Kept)
		}
	}
}

func TestSweepRemovesTensOfThousands(t *testing.T) {
	dir := t.TempDir()
	const many = 20_000
	for i := range many {
		f, err := os.Create(filepath.Join(dir, fmt.Sprintf("histogram_%d.db", i)))
		if err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
	}
	s := Stale{Metrics: dir}.Sweep(t.Context(), Self(), true)
	if s.Count != many || len(left(t, dir)) > 0 {
		t.Errorf("removed %d", s.Count)
	}
}

func TestSweepEndsWithItsContext(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "", "counter_1.db")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if s := (Stale{Dir: dir, PIDFiles: []string{"*"}, Metrics: dir}).Sweep(ctx, Self(), true); s.Count > 0 {
		t.Errorf("%+v", s)
	}
	if _, err := os.Stat(filepath.Join(dir, "counter_1.db")); errors.Is(err, fs.ErrNotExist) {
		t.Error("removed")
	}
}

func TestParseBorn(t *testing.T) {
	const stat = "cpu 1 2\nbtime 1700000000\nprocesses 3\n"
	const process = "7 (a) b) (c) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 123456 8 9\n"
	if booted, ticks, err := parseBorn([]byte(stat), []byte(process)); err != nil || booted != 1_700_000_000 || ticks != 123_456 {
		t.Errorf("booted %d, ticks %d, %v", booted, ticks, err)
	}
	for _, bad := range [][2]string{{"", process}, {stat, ""}, {stat, "7 (a) S 1 2"}, {"\nbtime x\n", process}, {stat, strings.Replace(process, "123456", "x", 1)}} {
		if _, _, err := parseBorn([]byte(bad[0]), []byte(bad[1])); !errors.Is(err, errNoTime) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestBornAtIsNeverLaterThanItWas(t *testing.T) {
	before := time.Now()
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = cmd.Process.Kill(), cmd.Wait() }()
	after := time.Now()
	born, err := bornAt(cmd.Process.Pid)
	if err != nil || born.After(after) || born.Before(before.Add(-2*time.Second)) {
		t.Errorf("born %v, %v, want between %v and %v", born, err, before, after)
	}
}

// TestLookFindsWhatASweepRemoves holds the one to the other.
func TestLookFindsWhatASweepRemoves(t *testing.T) {
	dir := openDir(t)
	metrics := filepath.Join(dir, "m")
	s := Stale{Dir: dir, Sockets: []string{"*.sock"}, PIDFiles: []string{"*.pid"}, Metrics: metrics}
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: dir + "/dead.sock", Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	live, err := net.Listen("unix", dir+"/live.sock")
	if err := errors.Join(err, dead.Close(), os.Mkdir(metrics, 0o755), os.WriteFile(metrics+"/counter_1.db", make([]byte, 4096), 0o600)); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = live.Close() }()
	looked := s.Look(t.Context(), Self(), true)
	if !exists(dir+"/dead.sock") || !exists(metrics+"/counter_1.db") {
		t.Fatal("a look has removed something")
	}
	swept := s.Sweep(t.Context(), Self(), true)
	if looked.Count != 2 || swept.Count != looked.Count || swept.Bytes != looked.Bytes {
		t.Errorf("looked at %d files of %d bytes, removed %d of %d; want 2", looked.Count, looked.Bytes, swept.Count, swept.Bytes)
	}
	if len(looked.Kept) != 1 || !errors.Is(looked.Kept[0], ErrAlive) || exists(dir+"/dead.sock") {
		t.Errorf("kept %v", looked.Kept)
	}
}
