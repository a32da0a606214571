package prepare

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// What can be wrong with a program that is looked for.
var (
	ErrNotFound      = errors.New("not found")
	ErrNotExecutable = errors.New("not executable")
)

// Executable looks a program up in a search path as execvp does (man 3 exec), but
// never in the working directory: an empty entry is passed over.
func Executable(name, searchPath string) (string, error) {
	verdict := ErrNotFound
	at := ""
	for _, dir := range filepath.SplitList(searchPath) {
		if !filepath.IsAbs(dir) {
			continue
		}
		path := filepath.Join(dir, name)
		info, err := os.Stat(path)
		switch {
		case err != nil:
			continue
		case info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0:
			return path, nil
		case at == "":
			verdict, at = ErrNotExecutable, fmt.Sprintf(": %s is %v", path, info.Mode())
		}
	}
	return "", fmt.Errorf("%s: %w%s; searched PATH=%s", name, verdict, at, searchPath)
}
