package prepare

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// akInit is what is installed, with a program beside it.
func akInit(t *testing.T) []Item {
	t.Helper()
	from := t.TempDir()
	var items []Item
	for _, name := range []string{"ak-init-http", "ak-init"} {
		items = append(items, Item{Name: name, From: filepath.Join(from, name)})
		if err := os.WriteFile(filepath.Join(from, name), []byte("new "+name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return append(items, Item{Name: "ak", To: "ak-init"})
}

// holds wants these entries in a directory, a file's as NAME=CONTENT, a link's as NAME>TARGET.
func holds(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if to, err := os.Readlink(path); err == nil {
			got = append(got, e.Name()+">"+to)
			continue
		}
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.Name()+"="+string(content))
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s holds %q, want %q", dir, got, want)
	}
}

func TestInstall(t *testing.T) {
	dir := t.TempDir()
	victim := filepath.Join(t.TempDir(), "victim")
	err := errors.Join(os.WriteFile(victim, []byte("victim"), 0o600),
		os.WriteFile(filepath.Join(dir, "ak"), []byte("#!/usr/bin/env bash\n"), 0o755),
		os.Symlink(victim, filepath.Join(dir, "ak-init")))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Umask(unix.Umask(0o077))
	items := akInit(t)
	want := []string{"", "a link to " + victim, "a file of 20 bytes"}
	for _, dry := range []bool{true, false} {
		got, err := Install(t.Context(), dir, items, dry)
		if err != nil {
			t.Fatal(err)
		}
		for i, one := range got {
			if one.Replaced != want[i] || one.Same {
				t.Errorf("dry %t: %+v, want it to replace %q", dry, one, want[i])
			}
		}
		if dry {
			holds(t, dir, "ak=#!/usr/bin/env bash\n", "ak-init>"+victim)
		}
	}
	installed := []string{"ak>ak-init", "ak-init=new ak-init", "ak-init-http=new ak-init-http"}
	holds(t, dir, installed...)
	if content, err := os.ReadFile(victim); err != nil || string(content) != "victim" {
		t.Errorf("what the link led to is %q, %v", content, err)
	}
	if info, err := os.Stat(filepath.Join(dir, "ak-init")); err != nil || info.Mode() != 0o755 {
		t.Errorf("its mode is %v, %v", info.Mode(), err)
	}

	// Once more, and by what is installed itself, which is left alone.
	if _, err := Install(t.Context(), dir, items, false); err != nil {
		t.Error(err)
	}
	holds(t, dir, installed...)
	for i := range items[:2] {
		items[i].From = filepath.Join(dir, items[i].Name)
	}
	got, err := Install(t.Context(), dir, items, false)
	if err != nil || slices.ContainsFunc(got, func(one Installed) bool { return !one.Same }) {
		t.Errorf("%+v, %v", got, err)
	}
	holds(t, dir, installed...)
}

func TestInstallRefuses(t *testing.T) {
	tests := []struct {
		name, want string
		// stage gives the directory, whose content must not change.
		stage func(t *testing.T, dir string) string
	}{
		{"a directory that is not there", "cannot install /", func(_ *testing.T, dir string) string { return dir + "/missing" }},
		{"a file", "put a directory in its place", func(t *testing.T, dir string) string {
			t.Helper()
			if err := os.WriteFile(dir+"/file", nil, 0o600); err != nil {
				t.Fatal(err)
			}
			return dir + "/file"
		}},
		{"a directory called ak", "ak: a directory has that name; ", func(t *testing.T, dir string) string {
			t.Helper()
			if err := os.Mkdir(dir+"/ak", 0o700); err != nil {
				t.Fatal(err)
			}
			return dir
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := tt.stage(t, t.TempDir())
			before, _ := os.ReadDir(dir)
			_, err := Install(t.Context(), dir, akInit(t), false)
			if _, ok := errors.AsType[*Error](err); !ok || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if after, _ := os.ReadDir(dir); len(after) != len(before) {
				t.Errorf("left behind: %v", after)
			}
		})
	}
}

// What is in its place already goes back when a later one cannot have its own.
func TestInstallIsAllOrNothing(t *testing.T) {
	needRoot(t)
	dir := rootsDir(t)
	was := []string{"ak=script", "ak-init=old ak-init"}
	for _, entry := range was {
		name, content, _ := strings.Cut(entry, "=")
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	ak := filepath.Join(dir, "ak")
	if err := unix.Mount(ak, ak, "", unix.MS_BIND, ""); err != nil { // as a subPath mount of Kubernetes
		t.Skipf("no mount to be had here: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(ak, unix.MNT_DETACH) })
	_, err := Install(t.Context(), dir, akInit(t), false)
	if !errors.Is(err, unix.EBUSY) || !strings.Contains(err.Error(), "cannot install "+ak+": ") || !strings.Contains(err.Error(), "unmount it") {
		t.Errorf("%v", err)
	}
	holds(t, dir, was...)
}

func TestInstallThatIsInterruptedLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	cancel(enough)
	if _, err := Install(ctx, dir, akInit(t), false); !errors.Is(err, enough) {
		t.Error(err)
	}
	holds(t, dir)
}
