package prepare

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestDenialIsJudgedByAllThatIsKnown(t *testing.T) {
	user := Identity{UID: 1000, GID: 1000, Groups: []int{1000, 2000}}
	ext4, nfs := mount{"/", "ext4", "/dev/sda1"}, mount{"/data", "nfs4", "server:/x"}
	own := owned{"/data", 1000, 1000, 0o755}
	tests := []struct {
		name       string
		d          denial
		found, fix string
	}{
		{"another's directory explains itself", denial{at: owned{"/data", 0, 0, 0o755}, on: ext4}, "", ""},
		{"the owner's bits count for the owner alone", denial{at: owned{"/data", 1000, 0, 0o077}, on: ext4}, "", ""},
		{"and so does a label then", denial{at: owned{"/data", 0, 0, 0o755}, on: ext4, label: "x"}, "", ""},
		{"a parent is closed", denial{at: own, above: []owned{{"/", 0, 0, 0o755}, {"/srv", 0, 0, 0o700}}, on: ext4},
			"the way there is closed: /srv is owned by 0:0, mode 0700", "chmod o+x /srv"},
		{"the nearest that can be looked at is closed", denial{at: owned{"/srv", 0, 0, 0o700}, above: []owned{{"/", 0, 0, 0o755}}, on: ext4},
			"the way there is closed: /srv is owned by 0:0, mode 0700", "chmod o+x /srv"},
		{"SELinux", denial{at: own, on: ext4, label: "system_u:object_r:user_home_t:s0"},
			"it is owned by 1000:1000, mode 0755, which would do; its SELinux label is system_u:object_r:user_home_t:s0", "mount it with :Z"},
		{"by a supplementary group", denial{at: owned{"/data", 0, 2000, 0o770}, on: ext4, label: "x"},
			"it is owned by 0:2000, mode 0770, which would do; its SELinux label is x", "mount it with :Z"},
		{"by a bit for everybody", denial{at: owned{"/data", 0, 0, 0o1777}, on: ext4, acl: true},
			"it is owned by 0:0, mode 1777, which would do, but it has an ACL", "look at getfacl /data"},
		{"root is squashed", denial{at: own, on: nfs},
			"it is owned by 1000:1000, mode 0755, which would do; it is on nfs4 server:/x mounted at /data", "look at what that server or daemon allows"},
		{"an owner without a number", denial{at: owned{"/data", 65534, 65534, 0o755}, on: ext4, mapped: true, overflow: 65534},
			"it is owned by 65534:65534, mode 0755, an owner without a number in this user namespace",
			"chown it from outside, as by podman unshare chown 1000:1000 DIR"},
		{"nobody on the machine itself", denial{at: owned{"/data", 65534, 65534, 0o755}, on: ext4, overflow: 65534}, "", ""},
		{"a user namespace", denial{at: own, on: ext4, mapped: true, overflow: 65534},
			"it is owned by 1000:1000, mode 0755, which would do; this is a user namespace", "chown it by podman unshare chown 1000:1000 DIR"},
		{"nothing else is known", denial{at: own, on: ext4},
			"it is owned by 1000:1000, mode 0755, which would do", "look at what else guards it: lsattr, SELinux, AppArmor"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if found, fix := tt.d.judge("/data", user); found != tt.found || fix != tt.fix {
				t.Errorf("got  %q, %q\nwant %q, %q", found, fix, tt.found, tt.fix)
			}
		})
	}
}

func TestUIDMap(t *testing.T) {
	for text, want := range map[string]bool{
		"         0          0 4294967295\n":                     true,
		"         0       1000          1\n":                     false,
		"         0       1000          1\n 1  100000   65536\n": false,
		"": false,
	} {
		if identical(text) != want {
			t.Errorf("%q: want %v", text, want)
		}
	}
}

// Where the mode would do, the label is what is looked at.
func TestRefusedInSpiteOfItsMode(t *testing.T) {
	needRoot(t)
	dir := openDir(t)
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0777"); err != nil {
		t.Skipf("cannot mount a tmpfs here: %v", err)
	}
	defer func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }()
	if err := unix.Lsetxattr(dir, "security.selinux", []byte("system_u:object_r:user_home_t:s0\x00"), 0); err != nil {
		t.Skipf("no security label can be set here: %v", err)
	}
	e := Error{Op: writeTo, Path: dir, As: nobody, Err: unix.EACCES}
	want := "it is owned by 0:0, mode 0777, which would do; its SELinux label is system_u:object_r:user_home_t:s0; we are uid 65534, gid 65534; mount it with :Z"
	if got := e.explain().Error(); !strings.Contains(got, want) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestClosedParentIsNamed(t *testing.T) {
	needRoot(t)
	dir := openDir(t)
	d := Dir{Path: filepath.Join(dir, "closed/data"), For: "uploads"}
	if err := errors.Join(os.Mkdir(filepath.Dir(d.Path), 0o700), os.Mkdir(d.Path, 0o755)); err != nil {
		t.Fatal(err)
	}
	for name, out := range map[string]Outcome{"look": d.Look(nobody), "make": d.Make(nobody)} {
		if want := "the way there is closed: " + dir + "/closed is owned by 0:0, mode 0700"; out.Given || out.Fault == nil || !strings.Contains(out.Fault.Error(), want) {
			t.Errorf("%s: got %v, want %q", name, out.Fault, want)
		}
	}
}

// In a user namespace that maps one uid, root's directory has no owner.
func TestOwnerWithoutANumber(t *testing.T) {
	if dir := os.Getenv("AK_TEST_UNMAPPED"); dir != "" {
		out := Dir{Path: dir, Required: true}.Make(Self())
		if out.Fault == nil {
			t.Fatal("no fault")
		}
		t.Log(out.Fault)
		return
	}
	needRoot(t)
	dir := openDir(t)
	cmd := exec.Command("/proc/self/exe", "-test.run", "^TestOwnerWithoutANumber$", "-test.v")
	cmd.Env = append(os.Environ(), "AK_TEST_UNMAPPED="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 1000, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 1000, Size: 1}},
		Credential:  &syscall.Credential{}, GidMappingsEnableSetgroups: true,
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSPC) {
		t.Skipf("no user namespace can be made here: %v", err)
	}
	want := "permission denied; it is owned by 65534:65534, mode 0755, an owner without a number in this user namespace; we are uid 0, gid 0; chown it from outside, as by podman unshare chown 0:0 DIR"
	if err != nil || !strings.Contains(string(out), want) {
		t.Errorf("%v\ngot  %s\nwant %s", err, out, want)
	}
}
