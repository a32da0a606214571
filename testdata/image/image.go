// Package image packs a folder as a container image, without a daemon or a registry.
package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
)

// Config is what an image says of the containers made of it, by Docker's names.
type Config struct {
	Env         []string     `json:",omitempty"`
	Entrypoint  []string     `json:",omitempty"`
	Cmd         []string     `json:",omitempty"`
	WorkingDir  string       `json:",omitempty"`
	Healthcheck *Healthcheck `json:",omitempty"`
}

// Healthcheck is Docker's; durations are nanoseconds.
type Healthcheck struct {
	Test              []string
	Interval, Timeout int64
	Retries           int
}

// Write packs root into the file, in the form of "docker save", which Docker, podman and
// containerd load. The name has its tag. Owners are those of the folder.
func Write(file, name, root string, config Config) error {
	var layer bytes.Buffer
	files := tar.NewWriter(&layer)
	if err := errors.Join(files.AddFS(os.DirFS(root)), files.Close()); err != nil {
		return fmt.Errorf("cannot pack %s: %w", root, err)
	}
	described, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "config": config,
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{fmt.Sprintf("sha256:%x", sha256.Sum256(layer.Bytes()))}},
	})
	if err != nil {
		return err
	}
	manifest, err := json.Marshal([]map[string]any{{"Config": "config.json", "RepoTags": []string{name}, "Layers": []string{"layer.tar"}}})
	if err != nil {
		return err
	}
	var whole bytes.Buffer
	parts := tar.NewWriter(&whole)
	for _, part := range []struct {
		name    string
		content []byte
	}{{"layer.tar", layer.Bytes()}, {"config.json", described}, {"manifest.json", manifest}} {
		if err := parts.WriteHeader(&tar.Header{Name: part.name, Mode: 0o644, Size: int64(len(part.content))}); err != nil {
			return err
		}
		if _, err := parts.Write(part.content); err != nil {
			return err
		}
	}
	if err := parts.Close(); err != nil {
		return err
	}
	return os.WriteFile(file, whole.Bytes(), 0o600)
}
