// Command demo shows ak-init's main job on any machine with Go: it builds ak-init and
// the stand-in authentik, starts the server as ak-init would in the official image, and
// stays until Ctrl-C, which ak-init turns into an orderly stop.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"ak-init/testdata/standin/layout"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run() error {
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, syscall.SIGINT, syscall.SIGTERM)

	dir, err := os.MkdirTemp("", "demo-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := build(dir); err != nil {
		return err
	}
	akInit := start(dir)
	if err := akInit.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- akInit.Wait() }()
	if err := untilHealthy(dir, akInit.Env, ended); err != nil {
		return err
	}
	fmt.Println("healthy: try http://127.0.0.1:9000/ and stop with Ctrl-C")
	select {
	case sig := <-interrupts:
		_ = akInit.Process.Signal(sig) // it may have ended by itself
		err = <-ended
	case err = <-ended:
	}
	fmt.Println("ak-init has ended with exit code", akInit.ProcessState.ExitCode())
	return err
}

// build makes both binaries and lays the stand-in out like the official image.
func build(dir string) error {
	for name, source := range map[string]string{"ak-init": ".", "standin": "./testdata/standin"} {
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(dir, name), source)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		cmd.Stderr = os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("build %s: %w", name, err)
		}
	}
	return errors.Join(layout.Image(filepath.Join(dir, "root"), filepath.Join(dir, "standin")), os.Mkdir(filepath.Join(dir, "tmp"), 0o700))
}

func start(dir string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(dir, "ak-init"), "server", "--root", filepath.Join(dir, "root"))
	cmd.Env = append(os.Environ(), "TMPDIR="+filepath.Join(dir, "tmp"), "AK_INIT_WAIT_DATABASE=0") // there is no PostgreSQL
	if os.Getenv("AUTHENTIK_SECRET_KEY") == "" {
		cmd.Env = append(cmd.Env, "AUTHENTIK_SECRET_KEY=demo")
	}
	if os.Getenv("AUTHENTIK_LISTEN__HTTP") == "" {
		cmd.Env = append(cmd.Env, "AUTHENTIK_LISTEN__HTTP=127.0.0.1:9000")
	}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	// A group of its own: Ctrl-C comes to ak-init once, from here.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// untilHealthy asks as a container runtime does, ten times a second.
func untilHealthy(dir string, env []string, ended <-chan error) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		check := exec.CommandContext(ctx, filepath.Join(dir, "ak-init"), "healthcheck", "--started")
		check.Env = env
		if check.Run() == nil {
			return nil
		}
		select {
		case <-tick.C:
		case err := <-ended:
			return fmt.Errorf("ak-init has ended before it was healthy: %w", err)
		case <-ctx.Done():
			return errors.New("not healthy within a minute")
		}
	}
}
