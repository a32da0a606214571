package prepare

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// interrupting is a real directory by FUSE whose server answers each kind of request with
// EINTR the first time that it is asked for a node, as one does that gives up when it hears of a signal.
type interrupting struct {
	fuse.RawFileSystem
	mu     sync.Mutex
	armed  bool
	asked  map[string]bool
	counts map[string]int
}

func (f *interrupting) interrupt(kind, name string, h *fuse.InHeader) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := kind + " " + name + " " + string(rune(h.NodeId))
	if !f.armed || f.asked[key] || f.counts[kind] == 10 { // a file without a name is another one each time
		return false
	}
	f.asked[key] = true
	f.counts[kind]++
	return true
}

func (f *interrupting) Lookup(cancel <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	if f.interrupt("lookup", name, h) {
		return fuse.EINTR
	}
	return f.RawFileSystem.Lookup(cancel, h, name, out)
}

func (f *interrupting) GetAttr(cancel <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	if f.interrupt("getattr", "", &in.InHeader) {
		return fuse.EINTR
	}
	return f.RawFileSystem.GetAttr(cancel, in, out)
}

func (f *interrupting) SetAttr(cancel <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	if f.interrupt("setattr", "", &in.InHeader) {
		return fuse.EINTR
	}
	return f.RawFileSystem.SetAttr(cancel, in, out)
}

func (f *interrupting) OpenDir(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if f.interrupt("opendir", "", &in.InHeader) {
		return fuse.EINTR
	}
	return f.RawFileSystem.OpenDir(cancel, in, out)
}

func (f *interrupting) ReadDir(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	if f.interrupt("readdir", "", &in.InHeader) {
		return fuse.EINTR
	}
	return f.RawFileSystem.ReadDir(cancel, in, out)
}

func (f *interrupting) Mkdir(cancel <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	if f.interrupt("mkdir", name, &in.InHeader) {
		return fuse.EINTR
	}
	return f.RawFileSystem.Mkdir(cancel, in, name, out)
}

func (f *interrupting) Unlink(cancel <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	if f.interrupt("unlink", "", h) {
		return fuse.EINTR
	}
	return f.RawFileSystem.Unlink(cancel, h, name)
}

func (f *interrupting) StatFs(cancel <-chan struct{}, h *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	if f.interrupt("statfs", "", h) {
		return fuse.EINTR
	}
	return f.RawFileSystem.StatFs(cancel, h, out)
}

// mountInterrupting gives the directory by FUSE.
func mountInterrupting(t *testing.T, dir string) (string, *interrupting) {
	t.Helper()
	needRoot(t)
	root, err := fs.NewLoopbackRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	f := &interrupting{RawFileSystem: fs.NewNodeFS(root, &fs.Options{}), asked: map[string]bool{}, counts: map[string]int{}}
	at := t.TempDir()
	server, err := fuse.NewServer(f, at, &fuse.MountOptions{
		DirectMountStrict: true, AllowOther: true, DisableReadDirPlus: true, Options: []string{"default_permissions"},
	})
	if err != nil {
		t.Skipf("cannot mount FUSE here: %v", err)
	}
	go server.Serve()
	t.Cleanup(func() { _ = server.Unmount() })
	if err := server.WaitMount(); err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed = true
	return at, f
}

func TestInterruptedCallsAreMadeAgain(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"uploads/a/1", "uploads/b/2"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	at, f := mountInterrupting(t, dir)
	if err := os.Chmod(filepath.Dir(at), 0o755); err != nil { // the children go through it
		t.Fatal(err)
	}
	if r := own(t, filepath.Join(at, "uploads"), FixWrong); r.Looked != 5 || r.Changed != 5 || r.Failed > 0 {
		t.Errorf("%+v", r)
	}
	made := Dir{Path: filepath.Join(at, "made"), For: "a test", Mode: 0o750, Required: true}.Make(Identity{UID: 1000, GID: 1000, Groups: []int{1000}})
	if made.Fault != nil {
		t.Error(made.Fault)
	}
	if err := Remove(filepath.Join(at, "uploads/a/1")); err != nil {
		t.Error(err)
	}
	if _, err := Room(at); err != nil {
		t.Error(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, kind := range []string{"lookup", "getattr", "setattr", "opendir", "readdir", "mkdir", "unlink", "statfs"} {
		if f.counts[kind] == 0 {
			t.Errorf("no %s was interrupted", kind)
		}
	}
}

func TestWhoAnswersNothingElseIsTold(t *testing.T) {
	calls := 0
	if err := again(func() error { calls++; return unix.EINTR }); err != unix.EINTR || calls != interrupts {
		t.Errorf("%v after %d calls", err, calls)
	}
}
