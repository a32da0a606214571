// Command fileserver mounts a tree of DIRS directories with FILES empty files each, all of
// uid and gid OWNER, at DIR, as one that a server keeps: to open a directory, to find a name
// and to tell or change what it is takes DELAY each, nothing is cached, and many can be asked
// for at a time. The delay is made; the mount, the requests
// and the answers are real (FUSE). It writes a byte to stdout when it is there and goes when
// stdin ends.
//
//	fileserver DIR DIRS FILES OWNER DELAY
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

func main() {
	if err := serve(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "fileserver:", err)
		os.Exit(1)
	}
}

func serve(args []string) error {
	if len(args) != 5 {
		return errors.New("usage: fileserver DIR DIRS FILES OWNER DELAY")
	}
	dirs, err1 := strconv.Atoi(args[1])
	files, err2 := strconv.Atoi(args[2])
	owner, err3 := strconv.ParseUint(args[3], 10, 32)
	delay, err4 := time.ParseDuration(args[4])
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return err
	}
	all := &tree{owner: uint32(owner), delay: delay}
	root := &entry{of: all}
	server, err := fs.Mount(args[0], root, &fs.Options{
		// A list with all that is known of each name would be made of as many answers.
		MountOptions: fuse.MountOptions{DirectMountStrict: true, AllowOther: true, FsName: "fileserver", DisableReadDirPlus: true},
		OnAdd: func(ctx context.Context) {
			for d := range dirs {
				dir := root.add(ctx, d, syscall.S_IFDIR)
				for f := range files {
					dir.add(ctx, f, syscall.S_IFREG)
				}
			}
		},
	})
	if err != nil {
		return err
	}
	_, _ = os.Stdout.WriteString("x")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return server.Unmount()
}

// tree is what all entries share.
type tree struct {
	owner uint32
	delay time.Duration
}

type entry struct {
	fs.Inode
	of *tree
	// changed is when it was last given away, in nanoseconds.
	changed atomic.Int64
}

func (e *entry) add(ctx context.Context, n int, kind uint32) *entry {
	child := &entry{of: e.of}
	e.AddChild(strconv.Itoa(n), e.NewPersistentInode(ctx, child, fs.StableAttr{Mode: kind}), true)
	return child
}

func (e *entry) describe(a *fuse.Attr) syscall.Errno {
	time.Sleep(e.of.delay)
	a.Mode = e.Mode() | 0o750
	a.Owner = fuse.Owner{Uid: e.of.owner, Gid: e.of.owner}
	changed := time.Unix(0, e.changed.Load())
	a.SetTimes(nil, nil, &changed)
	return 0
}

// Opendir comes before a directory is read.
func (e *entry) Opendir(context.Context) syscall.Errno {
	time.Sleep(e.of.delay)
	return 0
}

// Lookup is asked for each name, whoever asked for it before.
func (e *entry) Lookup(_ context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	child := e.GetChild(name)
	if child == nil {
		return nil, syscall.ENOENT
	}
	return child, child.Operations().(*entry).describe(&out.Attr)
}

// Getattr is stat.
func (e *entry) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	return e.describe(&out.Attr)
}

// Setattr is chown; who it is given to is who has it.
func (e *entry) Setattr(_ context.Context, _ fs.FileHandle, _ *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	e.changed.Store(time.Now().UnixNano())
	return e.describe(&out.Attr)
}
