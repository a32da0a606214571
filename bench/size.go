package main

import (
	"bytes"
	"context"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
)

func measureSize(ctx context.Context, b *bed) (f finding, err error) {
	t := &table{
		title: "Size of the binaries",
		head:  []string{"program", "version", "bytes", "linked", "/ ak-init"},
	}
	peers, missing := b.peers()
	t.noteMissing(missing)
	var ours int64
	for _, p := range peers {
		version := versionOf(ctx, p)
		for _, path := range p.binaries {
			path, err := filepath.EvalSymlinks(path)
			if err != nil {
				return f, err
			}
			info, err := os.Stat(path)
			if err != nil {
				return f, err
			}
			if p.name == akInitRun {
				ours = info.Size()
			}
			t.row(filepath.Base(path), version, fmt.Sprint(info.Size()), linkage(path), times(ratio(info.Size(), ours)))
		}
	}
	return finding{[]*table{t}, []bound{{what: "bytes of the ak-init binary", value: float64(ours), limit: 9_000_000}}}, nil
}

// linkage tells whether a program is all that it needs.
func linkage(path string) string {
	f, err := elf.Open(path)
	if err != nil {
		return "a script"
	}
	defer func() { _ = f.Close() }()
	if slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
		return "dynamic"
	}
	return "static"
}

// versionOf is what the program says of itself; s6's say nothing.
func versionOf(ctx context.Context, p peer) string {
	if p.name == "s6" {
		return nothing
	}
	argument := "--version"
	if p.name == akInitRun {
		argument = "version"
	}
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	out, err := exec.CommandContext(ctx, p.binaries[0], argument).CombinedOutput()
	if err != nil {
		return nothing
	}
	if version := regexp.MustCompile(`\d+(\.\d+)+`).Find(out); version != nil {
		return string(bytes.TrimSpace(version))
	}
	return nothing
}
