package prepare

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// What can be wrong with a program that is looked for.
var (
	ErrNotFound      = errors.New("not found")
	ErrNotExecutable = errors.New("not executable")
)

// findExecutable looks a program up in a search path as execvp does (man 3 exec), but
// never in the working directory: an empty entry is passed over. A name with a slash in
// it is a path already. executable is asked about each path that there may be.
func findExecutable(name, searchPath string, executable func(path string) error) (string, error) {
	if strings.Contains(name, "/") {
		path, err := filepath.Abs(name)
		if err != nil {
			return "", err
		}
		if verdict := executable(path); verdict != nil {
			return "", fmt.Errorf("%s: %w", name, verdict)
		}
		return path, nil
	}
	verdict := ErrNotFound
	for _, dir := range filepath.SplitList(searchPath) {
		if !filepath.IsAbs(dir) {
			continue
		}
		path := filepath.Join(dir, name)
		found := executable(path)
		if found == nil {
			return path, nil
		}
		if verdict == ErrNotFound && !errors.Is(found, ErrNotFound) { // the first tells most
			verdict = found
		}
	}
	return "", fmt.Errorf("%s: %w; searched PATH=%s", name, verdict, searchPath)
}

// executable says why a file is no program, nil if it may be one.
func executable(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return ErrNotFound
	case info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0:
		return nil
	default:
		return fmt.Errorf("%w: %s is %v", ErrNotExecutable, path, info.Mode())
	}
}
