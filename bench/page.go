package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"strings"
	"text/template"

	"golang.org/x/sys/unix"
)

const pagePath = "docs/benchmarks.md"

// pageText is the page without its figures.
//
//go:embed page.md.tmpl
var pageText string

// writePage puts the figures of this run into docs/benchmarks.md.
func writePage(found map[string]finding) error {
	page, err := template.New("page").Funcs(template.FuncMap{
		"tables": func(topic string) string {
			var all []string
			for _, t := range found[topic].tables {
				all = append(all, t.String())
			}
			return strings.TrimSuffix(strings.Join(all, "\n"), "\n")
		},
	}).Parse(pageText)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := page.Execute(&out, map[string]string{
		"Machine": machine(), "Bounds": strings.TrimSuffix(boundsOf(topics(), found), "\n"),
	}); err != nil {
		return err
	}
	return os.WriteFile(pagePath, out.Bytes(), 0o644)
}

// machine is where it was measured, in general terms.
func machine() string {
	var u unix.Utsname
	_ = unix.Uname(&u) // it fails for a bad address only
	release := regexp.MustCompile(`^\d+\.\d+`).FindString(unix.ByteSliceToString(u.Release[:]))
	return fmt.Sprintf("%d cores, %s, Linux %s, %s", runtime.NumCPU(), runtime.GOARCH, release, strings.Replace(runtime.Version(), "go", "Go ", 1))
}
