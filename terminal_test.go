package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// These tests sit at a real terminal, with a real shell between it and ak-init, or none.

const ctrlC, ctrlD, ctrlZ, escape = "\x03", "\x04", "\x1a", "\x1b"

// terminalEnv is the scene's, made for somebody who looks at a terminal.
func (s *scene) terminalEnv() []string {
	return slices.Concat(s.env, []string{
		"PATH=" + s.dir + ":/usr/bin:/bin", "HOME=" + s.dir, "HISTFILE=", "PS1=prompt> ", "NO_COLOR=1",
	})
}

// at starts a program at a terminal of its own, whose session it leads.
func (s *scene) at(argv ...string) *pty {
	s.t.Helper()
	return atPty(s.t, s.root, s.terminalEnv(), argv...)
}

// shell starts an interactive shell at a terminal. It has job control.
func (s *scene) shell(name string) *pty {
	s.t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		s.t.Skip(err)
	}
	argv := []string{path, "-i"}
	if name == "bash" {
		// Without a line editor the terminal stays as it is, and keys may come at any time.
		argv = []string{path, "--norc", "--noediting", "-i"}
	}
	p := s.at(argv...)
	p.await("prompt> ")
	return p
}

// script makes a program that a test can type the name of.
func (s *scene) script(name, text string) {
	s.t.Helper()
	s.must(os.WriteFile(filepath.Join(s.dir, name), []byte("#!/bin/sh\n"+text+"\n"), 0o755))
}

// code waits for the shell's prompt and gives the exit code of what it ran.
func (p *pty) code() string {
	p.t.Helper()
	p.await("prompt> ")
	p.enter(`echo "code $?"`)
	code := p.await(`code (\d+)`)[1]
	p.await("prompt> ")
	return code
}

// wantCode wants this exit code.
func (p *pty) wantCode(want string) {
	p.t.Helper()
	if code := p.code(); code != want {
		p.t.Errorf("exit code %s, want %s", code, want)
	}
}

const (
	// reads echoes what it reads from the terminal.
	reads = `echo ready
while read -r line; do echo "<$line>"; done`
	// hears says which signals it gets, and ends by INT.
	hears = `trap 'echo "INT heard"; exit 7' INT
trap 'echo "CONT heard"' CONT
trap 'echo "now $(stty size)"' WINCH
echo ready
while :; do sleep 1000 & wait $!; done`
)

func TestTerminalCtrlCGoesToTheChildAlone(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.script("hears", hears)
	s.script("sleeps", "echo ready; exec sleep 1000")
	p := s.shell("bash")
	p.enter("ak-init run -- hears")
	p.await("ready")
	p.press(ctrlC)
	p.await("INT heard")
	p.wantCode("7")
	p.enter("ak-init run -- sleeps")
	p.await("ready")
	p.press(ctrlC)
	p.wantCode("130")
	if p.shows("stop begun") {
		t.Error("ak-init has heard of it")
	}
}

// Each run of a child has the terminal; between two of them it is ours.
func TestTerminalRestart(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.script("hears", hears)
	p := s.shell("bash")
	p.enter("ak-init run --restart always -- hears")
	for range 2 {
		p.await("ready")
		p.press(ctrlC)
		p.await("INT heard")
		p.await("restart scheduled")
	}
	p.press(ctrlC)
	p.await("stop begun")
	p.wantCode("7")
}

func TestTerminalCtrlZAndFg(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"bash", "dash"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			s.script("reads", reads)
			// A script has no job control: it is stopped with ak-init, and continued.
			s.script("runs", "ak-init run -- reads; echo behind")
			p := s.shell(name)
			for _, words := range []string{"ak-init run -- reads", "runs"} {
				p.enter(words)
				p.await("ready")
				for range 2 {
					p.press(ctrlZ)
					p.await("Stopped")
					p.await("prompt> ")
					p.enter("jobs")
					p.await(`\[1\] ?\+ +Stopped`)
					p.await("prompt> ")
					p.enter("fg")
					p.enter("hello")
					p.await("<hello>")
				}
				p.press(ctrlD)
				p.wantCode("0")
			}
			if !p.shows("behind") {
				t.Error("the script did not go on")
			}
		})
	}
}

func TestTerminalBg(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.script("hears", hears)
	s.script("reads", `echo ready; read -r go <"$GO"; echo going`+"\n"+reads)
	s.must(syscall.Mkfifo(s.dir+"/go", 0o600))
	s.env = append(s.env, "GO="+s.dir+"/go")
	p := s.shell("bash")

	p.enter("ak-init run -- hears")
	p.await("ready")
	p.press(ctrlZ)
	p.await("Stopped")
	p.enter("bg")
	p.await("CONT heard") // and the shell has the terminal:
	p.enter(`echo "it is $((40 + 2))"`)
	p.await("it is 42")
	p.enter("fg")
	p.awaitForeground()
	p.press(ctrlZ)
	p.await("Stopped")
	p.enter("fg")
	p.await("CONT heard")
	p.press(ctrlC)
	p.await("INT heard")
	p.wantCode("7")

	// Who reads from the background is stopped.
	p.enter("ak-init run -- reads &")
	p.await("ready")
	s.must(os.WriteFile(s.dir+"/go", []byte("go\n"), 0o600))
	p.await("going")
	p.enter("wait %1; jobs")
	p.await(`\[1\]\+ +Stopped`)
	p.enter("fg")
	p.enter("hello")
	p.await("<hello>")
	p.press(ctrlZ)
	p.await("Stopped")
	p.enter("bg; wait %1; jobs")
	p.await(`\[1\]\+ +Stopped`)
	p.enter("fg")
	p.enter("hello again")
	p.await("<hello again>")
	p.press(ctrlD)
	p.wantCode("0")

	// fg of a job that runs brings no SIGCONT: the child gets the terminal when it asks.
	p.enter("ak-init run -- reads &")
	p.await("ready")
	p.enter("fg")
	p.awaitForeground()
	s.must(os.WriteFile(s.dir+"/go", []byte("go\n"), 0o600))
	p.enter("hello")
	p.await("<hello>")
	p.press(ctrlD)
	p.wantCode("0")
}

func TestTerminalPipeline(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.script("sleeps", "echo first; exec sleep 1000")
	s.script("pager", `read -r line; echo "$line shown"; read -r key </dev/tty; echo "key $key"`)
	s.script("asks", `read -r line; read -r key </dev/tty; echo "$line, key $key"`)
	p := s.shell("bash")
	p.enter("ak-init run -- sleeps | pager")
	p.await("first shown")
	p.enter("pressed")
	p.await("key pressed")
	p.press(ctrlC)
	p.await("stop begun")
	p.code() // the pager's: it may have ended before
	p.enter("echo piped | ak-init run -- asks")
	p.enter("pressed")
	p.await("piped, key pressed")
	p.wantCode("0")
}

func TestTerminalResize(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.script("hears", hears)
	p := s.shell("bash")
	p.enter("ak-init run -- hears")
	p.await("ready")
	p.resize(50, 132)
	p.await("now 50 132")
	p.press(ctrlC)
	p.wantCode("7")
	p.enter("ak-init server")
	s.awaitHealth(0, "--started")
	p.resize(24, 80)
	p.await("signal forwarded .*SIGWINCH")
	p.press(ctrlC)
	p.wantCode("0")
}

func TestTerminalVi(t *testing.T) {
	t.Parallel()
	vi, err := exec.LookPath("vi")
	if err != nil {
		t.Skip(err)
	}
	s := newScene(t)
	p := s.shell("bash")
	p.enter("ak-init run -- " + vi + " -u NONE text")
	p.await("~")
	p.press("ione two" + escape)
	p.await("one two")
	p.press(ctrlZ)
	p.await("Stopped")
	p.enter("fg")
	p.await("one two") // drawn again
	p.press("$a three" + escape + ":wq\r")
	p.wantCode("0")
	if text, err := os.ReadFile(s.root + "/text"); err != nil || string(text) != "one two three\n" {
		t.Errorf("it wrote %q, %v", text, err)
	}
}

// innerJob stops, continues and ends a job of a shell under ak-init.
func (p *pty) innerJob() {
	p.t.Helper()
	p.enter("hears")
	p.await("ready")
	p.press(ctrlZ)
	p.await("Stopped +hears")
	p.enter("fg")
	p.await("CONT heard")
	p.press(ctrlC)
	p.await("INT heard")
	p.await("inner> ")
}

func TestTerminalBash(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.script("hears", hears)
	s.must(os.WriteFile(s.dir+"/.bashrc", []byte("PS1='inner> '\n"), 0o600))
	p := s.shell("bash")
	p.enter("ak-init bash")
	p.await("inner> ")
	p.innerJob()
	p.enter("suspend") // now all of it
	p.await("Stopped +ak-init bash")
	p.enter("fg")
	p.await("inner> ")
	p.enter("exit 3")
	p.wantCode("3")
	if p.shows("job control") {
		t.Error("the inner bash complains")
	}
}

func TestTerminalManageShell(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	python := s.root + "/ak-root/.venv/bin/python"
	s.must(os.Remove(python))
	p := s.shell("bash")
	s.must(os.WriteFile(python, []byte("#!/bin/sh\necho \"args: $*\"\n"+reads+"\n"), 0o755))
	p.enter("ak-init manage shell --plain")
	p.await("args: -m manage shell --plain")
	p.await("ready")
	p.enter("hello")
	p.await("<hello>")
	p.press(ctrlD)
	p.wantCode("0")

	const real = "/usr/bin/python3"
	if _, err := os.Stat(real); err != nil {
		t.Skip(err)
	}
	s.must(os.Remove(python), os.Symlink(real, python))
	s.must(os.WriteFile(s.root+"/manage.py", []byte("import code, sys\ncode.interact(' '.join(sys.argv[1:]))\n"), 0o644))
	p.enter("ak-init manage shell")
	p.await("shell\r\n")
	p.await(">>> ")
	p.enter("import time")
	p.enter("while True: time.sleep(.01) or print(6 * 6)\n") // one long sleep may miss a signal just before
	p.await("36")
	p.press(ctrlC)
	p.await("KeyboardInterrupt")
	p.await(">>> ")
	p.enter("print(6 * 7)")
	p.await("42")
	p.enter("exit()")
	p.wantCode("0")
	if p.shows("stop begun") {
		t.Error("ak-init has heard of the Ctrl-C")
	}
}

// stopped tells whether these processes are stopped (proc_pid_stat(5), state T).
func (s *scene) stopped(pids ...int) bool {
	s.t.Helper()
	for _, pid := range pids {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		s.must(err)
		if _, state, _ := strings.Cut(string(stat), ") "); state[0] != 'T' {
			return false
		}
	}
	return true
}

func TestTerminalService(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	p := s.shell("bash")
	p.enter("ak-init server")
	s.awaitHealth(0, "--started")
	server, gunicorn := s.starts("server")[0], s.starts("gunicorn")[0]
	for range 2 {
		p.press(ctrlZ)
		p.await("Stopped")
		s.await("all stopped", func() bool { return s.stopped(server.PID, server.PPID, gunicorn.PID) })
		p.enter("fg")
		s.awaitHealth(0, "--ready")
		if s.stopped(server.PID) || s.stopped(server.PPID) || s.stopped(gunicorn.PID) {
			t.Error("not all are continued")
		}
	}
	answer := s.get("/slow?for=500ms")
	s.awaitEvent("request begin")
	p.press(ctrlC)
	if got := <-answer; got.status != 200 {
		t.Errorf("the client has %+v", got)
	}
	p.wantCode("0")
	if got := s.events("signal INT"); len(got) > 0 {
		t.Errorf("the children have had it too: %q", got)
	}

	p.enter("ak-init server")
	s.await("healthy", func() bool { code, _ := s.health("--ready"); return code == 0 })
	s.get("/slow?for=1h")
	s.await("a request", func() bool { return len(s.events("request begin")) > 1 })
	p.press(ctrlC)
	p.await("stop begun")
	p.press(ctrlC)
	p.await("killed what was left")
	p.wantCode("137")
}

// Lines of ak-init's own from the background, and whole commands of its.
func TestTerminalColours(t *testing.T) {
	t.Parallel()
	for no, coloured := range map[string]bool{"NO_COLOR=": true, "NO_COLOR=1": false} {
		t.Run(no, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			p := atPty(t, s.root, append(s.env, no), s.akInit, "server")
			s.awaitHealth(0, "--started")
			p.await("ak-init service ready")
			p.press(ctrlC)
			if code := p.exitCode(); code != 0 || p.shows("\x1b[") != coloured {
				t.Errorf("exit code %d, coloured %t, want %t", code, !coloured, coloured)
			}
		})
	}
}

func TestTerminalTostop(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.script("sleeps", "exec sleep 1000")
	p := s.shell("bash")
	p.enter("stty tostop; ak-init run -- sleeps &")
	p.await("child started")
	p.enter("kill %1; wait %1")
	p.await("child exited")
	p.wantCode("143")
	p.enter("ak-init version & wait %1")
	p.await("ak-init " + version)
	p.wantCode("0")
	p.enter("ak-init run & wait %1")
	p.await("run needs a program")
	p.wantCode("64")
}

// terminalGone wants a stop in order of what ran.
func (s *scene) terminalGone() {
	s.t.Helper()
	s.await("the end", func() bool { return len(s.leftovers()) == 0 })
	if s.events("signal TERM") == nil || s.events("signal HUP") != nil {
		s.t.Errorf("events:\n%s", strings.Join(s.events(""), "\n"))
	}
}

func TestTerminalHangUp(t *testing.T) {
	t.Parallel()
	t.Run("a server in the foreground stops in order", func(t *testing.T) {
		t.Parallel()
		s := newScene(t)
		p := s.shell("bash")
		p.enter("ak-init server")
		s.awaitHealth(0, "--started")
		answer := s.get("/slow?for=500ms")
		s.awaitEvent("request begin")
		p.hangUp()
		if got := <-answer; got.status != 200 {
			t.Errorf("the client has %+v", got)
		}
		s.terminalGone()
	})
	t.Run("so does one in the background, with nothing of it at the terminal", func(t *testing.T) {
		t.Parallel()
		s := newScene(t)
		p := s.shell("bash")
		p.enter("ak-init server </dev/null >/dev/null 2>&1 &")
		s.awaitHealth(0, "--started")
		p.hangUp()
		s.terminalGone()
	})
	t.Run("and one that is stopped", func(t *testing.T) {
		t.Parallel()
		s := newScene(t)
		p := s.shell("bash")
		p.enter("ak-init server")
		s.awaitHealth(0, "--started")
		p.press(ctrlZ)
		p.await("Stopped")
		p.hangUp()
		s.terminalGone()
	})
	t.Run("and one that leads the session, as with ssh -t", func(t *testing.T) {
		t.Parallel()
		s := newScene(t)
		p := s.at(s.akInit, "server")
		s.awaitHealth(0, "--started")
		p.hangUp()
		if code := p.exitCode(); code != 0 {
			t.Errorf("exit code %d", code)
		}
		s.terminalGone()
	})
	t.Run("a shell that tells its jobs before it ends", func(t *testing.T) {
		t.Parallel()
		s := newScene(t)
		s.script("shell", `ak-init server & read -r line; kill -HUP $!; exit 0`)
		p := s.at(s.dir + "/shell")
		s.awaitHealth(0, "--started")
		p.enter("")
		s.await("the end", func() bool { return len(s.leftovers()) == 0 })
	})
	t.Run("who works at the terminal is told once", func(t *testing.T) {
		t.Parallel()
		s := newScene(t)
		s.script("saves", `trap 'echo saved >>"$SAVED"; exit 0' HUP; trap 'echo TERM >>"$SAVED"' TERM
echo ready; while :; do sleep 1000 & wait $!; done`)
		s.env = append(s.env, "SAVED="+s.dir+"/saved")
		p := s.at(s.akInit, "run", "--", "saves")
		p.await("ready")
		p.hangUp()
		if code := p.exitCode(); code != 0 {
			t.Errorf("exit code %d", code)
		}
		if saved, err := os.ReadFile(s.dir + "/saved"); err != nil || string(saved) != "saved\n" {
			t.Errorf("it wrote %q, %v", saved, err)
		}
	})
	t.Run("HUP from somebody is handed on", func(t *testing.T) {
		t.Parallel()
		s := newScene(t)
		p := s.shell("bash")
		p.enter("ak-init server &")
		s.awaitHealth(0, "--started")
		p.enter("kill -HUP %1")
		p.await("signal forwarded .*SIGHUP")
		if code, said := s.health("--ready"); code != 0 {
			t.Errorf("it is %s", said)
		}
	})
	t.Run("under nohup it goes on", func(t *testing.T) {
		t.Parallel()
		s := newScene(t)
		p := s.shell("bash")
		p.enter("nohup ak-init server >/dev/null 2>&1 &")
		s.awaitHealth(0, "--started")
		p.hangUp()
		p.exitCode() // of the shell, which has sent its HUP
		server := s.starts("server")[0]
		s.must(syscall.Kill(server.PPID, syscall.SIGUSR2))
		s.await("a new gunicorn", func() bool { return len(s.starts("gunicorn")) > 1 })
		if s.events("signal HUP") != nil || s.events("signal TERM") != nil {
			t.Errorf("events:\n%s", strings.Join(s.events(""), "\n"))
		}
		s.must(syscall.Kill(server.PPID, syscall.SIGTERM))
		s.terminalGone()
	})
}

// Nobody can continue one who leads the session, so nothing may stop.
func (p *pty) neverFreezes() {
	p.t.Helper()
	p.await("ready")
	for range 2 {
		p.press(ctrlZ)
		p.await("CONT heard")
	}
	p.press(ctrlC)
	p.await("INT heard")
}

func TestTerminalWithoutAShell(t *testing.T) {
	t.Parallel()
	t.Run("a child", func(t *testing.T) {
		t.Parallel()
		s := newScene(t)
		s.script("hears", hears)
		p := s.at(s.akInit, "run", "--", "hears")
		p.neverFreezes()
		if code := p.exitCode(); code != 7 {
			t.Errorf("exit code %d, want 7", code)
		}
	})
	t.Run("a service", func(t *testing.T) {
		t.Parallel()
		s := newScene(t)
		p := s.at(s.akInit, "server")
		s.awaitHealth(0, "--started")
		p.press(ctrlZ)
		p.press(ctrlC)
		if code := p.exitCode(); code != 0 {
			t.Errorf("exit code %d", code)
		}
	})
	t.Run("one that wants the terminal and cannot have it ends", func(t *testing.T) {
		t.Parallel()
		s := newScene(t)
		s.script("reads", `read -r go <"$GO"`+"\n"+reads)
		s.must(syscall.Mkfifo(s.dir+"/go", 0o600))
		s.env = append(s.env, "GO="+s.dir+"/go")
		p := s.shell("bash")
		p.enter("(ak-init run -- reads </dev/tty &)")
		p.await("prompt> ") // its parent is gone
		s.must(os.WriteFile(s.dir+"/go", []byte("go\n"), 0o600))
		p.await("child exited .*SIGHUP")
	})
}

// pid1 gives the words that make what follows PID 1 of a namespace of its own.
func pid1(t *testing.T) []string {
	t.Helper()
	words := []string{"unshare", "-pf", "--mount-proc", "--kill-child=KILL"}
	if os.Geteuid() != 0 {
		words[1] = "-Urpf"
	}
	if out, err := exec.CommandContext(t.Context(), words[0], append(words[1:], "true")...).CombinedOutput(); err != nil {
		t.Skipf("no PID namespace to be had here: %v %s", err, out)
	}
	return words
}

func TestTerminalPID1(t *testing.T) {
	t.Parallel()
	wrap := pid1(t)
	t.Run("a child", func(t *testing.T) {
		t.Parallel()
		s := newScene(t)
		s.script("hears", hears)
		p := s.at(slices.Concat(wrap, []string{s.akInit, "run", "--", "hears"})...)
		p.neverFreezes()
		if code := p.exitCode(); code != 7 {
			t.Errorf("exit code %d, want 7", code)
		}
	})
	t.Run("a child, from a shell", func(t *testing.T) {
		t.Parallel()
		s := newScene(t)
		s.script("hears", hears)
		p := s.shell("bash")
		p.enter(strings.Join(wrap, " ") + " ak-init run -- hears")
		p.neverFreezes()
		p.wantCode("7")
	})
	t.Run("a bash", func(t *testing.T) {
		t.Parallel()
		s := newScene(t)
		s.script("hears", hears)
		s.must(os.WriteFile(s.dir+"/.bashrc", []byte("PS1='inner> '\n"), 0o600))
		p := s.at(slices.Concat(wrap, []string{s.akInit, "bash"})...)
		p.await("inner> ")
		p.innerJob()
		p.enter("suspend") // which nothing could end
		p.await("inner> ")
		p.enter(`echo "it is $((40 + 2))"`)
		p.await("it is 42")
		p.enter("exit 3")
		if code := p.exitCode(); code != 3 {
			t.Errorf("exit code %d, want 3", code)
		}
	})
	t.Run("a service", func(t *testing.T) {
		t.Parallel()
		s := newScene(t)
		if os.Geteuid() != 0 {
			t.Skip("needs root to take the terminal from another session (ioctl_tty(2), TIOCSCTTY)")
		}
		// As container runtimes do it: PID 1 leads the session.
		p := s.at(slices.Concat(wrap, []string{"setsid", "-c", s.akInit, "server"})...)
		s.awaitEvent("alive")
		p.press(ctrlZ)
		p.press(ctrlC)
		if code := p.exitCode(); code != 0 {
			t.Errorf("exit code %d", code)
		}
	})
}

// TestTerminalDocker has the same with a container's PID 1 and Docker's client between.
func TestTerminalDocker(t *testing.T) {
	d := newDocker(t)
	s := newScene(t)
	s.script("hears", hears)
	s.must(os.WriteFile(s.dir+"/.bashrc", []byte("PS1='inner> '\n"), 0o600))
	root := t.TempDir()
	for _, name := range []string{"bin", "lib", "lib64"} {
		target, err := os.Readlink("/" + name)
		if err != nil {
			t.Skip("what a shell needs is not all in /usr here:", err)
		}
		s.must(os.Symlink(target, filepath.Join(root, name)))
	}
	d.imageFrom(root, d.image)
	run := func(words ...string) *pty {
		argv := []string{"docker", "run", "-it", "--rm", "--network", "none", "-v", "/usr:/usr:ro", "-v", s.dir + ":" + s.dir}
		for _, pair := range s.terminalEnv() {
			argv = append(argv, "-e", pair)
		}
		return atPty(t, s.dir, os.Environ(), append(argv, append([]string{d.image, s.akInit}, words...)...)...)
	}
	p := run("run", "--", "hears")
	p.await("ready")
	rows := uint16(50)
	s.await("the new size", func() bool { // the client listens a while after the start
		rows ^= 1
		p.resize(rows, 132)
		return p.shows(" 132\r\n")
	})
	p.press(ctrlZ)
	p.await("CONT heard")
	p.press(ctrlC)
	p.await("INT heard")
	if code := p.exitCode(); code != 7 {
		t.Errorf("exit code %d, want 7", code)
	}

	p = run("bash")
	p.await("inner> ")
	p.innerJob()
	p.enter("suspend")
	p.enter("exit 3")
	if code := p.exitCode(); code != 3 {
		t.Errorf("exit code %d, want 3", code)
	}

	p = run("server")
	s.awaitEvent("alive")
	p.press(ctrlZ)
	p.press(ctrlC)
	if code := p.exitCode(); code != 0 || !p.shows("child told to stop") {
		t.Errorf("exit code %d", code)
	}
}
