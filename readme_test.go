package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

func readme(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// commands are the lines of README's shell blocks.
func commands(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(readme(t), -1) {
		all = append(all, strings.Split(strings.TrimSpace(block[1]), "\n")...)
	}
	return all
}

// TestReadmeCommands runs every command in the README, or names who does.
func TestReadmeCommands(t *testing.T) {
	all := commands(t)
	if len(all) < 5 {
		t.Fatalf("found only %q", all)
	}
	for _, command := range all {
		t.Run(command, func(t *testing.T) {
			switch words := strings.Fields(command); {
			case command == "go run ./testdata/demo":
				runDemo(t, words)
			case command == "go test ./...":
				// This test is part of it; .ci/run is what types it.
				if ci, err := os.ReadFile(".ci/run"); err != nil || !strings.Contains(string(ci), "\n"+command+"\n") {
					t.Errorf(".ci/run does not run it: %v", err)
				}
			case words[0] == "ak-init":
				runDry(t, words)
			case words[0] == "docker":
				// TestContainer runs these, word for word.
			default:
				t.Error("no test runs it")
			}
		})
	}
}

// runDemo waits for the demo to be healthy and stops it as Ctrl-C at a terminal does.
func runDemo(t *testing.T, words []string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), words[0], words[1:]...)
	cmd.Env = append(os.Environ(), "AUTHENTIK_LISTEN__HTTP="+freeAddress(t, t.TempDir()))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = time.Second
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said []string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		said = append(said, lines.Text())
		if strings.HasPrefix(lines.Text(), "healthy:") {
			if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait() // go run gives 1 after an interrupt, whatever the program gave
	if last := said[len(said)-1]; last != "ak-init has ended with exit code 0" {
		t.Errorf("it said %q", said)
	}
}

// runDry runs a command that only prints, against the stand-in.
func runDry(t *testing.T, words []string) {
	t.Helper()
	if !slices.Contains(words, "--dry-run") {
		t.Fatal("not a dry run, and no test runs it")
	}
	s := newScene(t)
	s.env = append(s.env, "AK_INIT_USER="+uid())
	if r := s.start(words[1:]...); r.exitCode() != 0 {
		t.Errorf("exit code %d", r.ProcessState.ExitCode())
	}
	if len(s.starts("server"))+len(s.starts("worker")) > 0 {
		t.Error("a dry run started something")
	}
}

func TestReadmeNamesEveryFlag(t *testing.T) {
	text := readme(t)
	flagSet(&options{}).VisitAll(func(f *pflag.Flag) {
		if f.Name == "help" {
			return
		}
		row := regexp.MustCompile("(?m)^\\| `--" + f.Name + "[ `].*\\|$").FindString(text)
		twin := "`" + twinPrefix + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_")) + "`"
		if !strings.Contains(row, twin) {
			t.Errorf("--%s with %s has no row in the table", f.Name, twin)
		}
		if f.DefValue != "" && f.DefValue != "[]" && !strings.Contains(row, "| "+f.DefValue+" |") {
			t.Errorf("the row of --%s does not say its default %q: %s", f.Name, f.DefValue, row)
		}
	})
}

func TestReadmeNamesEveryExitCode(t *testing.T) {
	text := readme(t)
	for _, code := range []int{exitUsage, exitInternal, exitCannotWrite, exitNoPermission, exitConfig, exitNotExecutable, exitNotFound} {
		if !regexp.MustCompile(fmt.Sprintf(`(?m)^\| (\d+, )?%d[ ,]`, code)).MatchString(text) {
			t.Errorf("code %d has no row", code)
		}
	}
}

func TestReadmeHealthcheckIsTheContainerfiles(t *testing.T) {
	raw, err := os.ReadFile("Containerfile")
	if err != nil {
		t.Fatal(err)
	}
	flat := strings.Join(strings.Fields(strings.ReplaceAll(string(raw), "\\\n", " ")), " ")
	line := regexp.MustCompile(`(?m)^HEALTHCHECK .*$`).FindString(readme(t))
	if line == "" || !strings.Contains(flat, line) {
		t.Errorf("the Containerfile does not hold %q", line)
	}
}

// TestDocumentsKeepTheirLinks follows every relative link.
func TestDocumentsKeepTheirLinks(t *testing.T) {
	files, err := filepath.Glob("docs/*/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(files, "README.md", "CHANGELOG.md") {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, link := range regexp.MustCompile(`\]\(([^)#:]+)\)`).FindAllStringSubmatch(string(raw), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(file), link[1])); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
}
