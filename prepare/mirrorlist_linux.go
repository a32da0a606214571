package prepare

import (
	"encoding/hex"
	"hash/fnv"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// mirrorList is the list of what a mirror wrote: a sum (FNV-1a, 128 bits: it tells whether
// a user has changed a file, and guards nothing), two spaces, a name. Its name begins
// with a dot, as names do that nobody takes for content.
const mirrorList = ".ak-init-mirror"

// writeList writes the list, if it is not so already. With the old sums until the new
// files are in place.
func (w *mirroring) writeList(before string, withOld bool) error {
	sums := map[string][]string{}
	if withOld {
		maps.Copy(sums, w.listed)
	}
	for name, content := range w.files {
		if s := sum(content); !slices.Contains(sums[name], s) {
			sums[name] = append(slices.Clone(sums[name]), s)
		}
	}
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		for _, s := range sums[name] {
			text.WriteString(s + "  " + name + "\n")
		}
	}
	if text.String() == before {
		return nil
	}
	return w.replace(mirrorList, []byte(text.String()))
}

// parseList reads the list, leaving out what is no path below its directory.
func parseList(text string) map[string][]string {
	listed := map[string][]string{}
	for line := range strings.Lines(text) {
		s, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		if ok && filepath.IsLocal(name) && path.Clean(name) == name && name != "." {
			listed[name] = append(listed[name], s)
		}
	}
	return listed
}

func sum(content []byte) string {
	h := fnv.New128a()
	_, _ = h.Write(content) // it never fails (hash.Hash)
	return hex.EncodeToString(h.Sum(nil))
}

// top is the first part of a relative name.
func top(name string) string {
	first, _, _ := strings.Cut(name, "/")
	return first
}
