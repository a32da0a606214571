package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"

	"ak-init/supervise"
)

// mute takes connections, tells of each, and never says anything.
func mute(t *testing.T) (port string, taken <-chan struct{}) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	told := make(chan struct{}, 64)
	go func() { // ends with the listener
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer func() { _ = conn.Close() }()
			told <- struct{}{}
		}
	}()
	_, port, _ = net.SplitHostPort(l.Addr().String())
	return port, told
}

func TestCheckOfAServerThatNeverAnswers(t *testing.T) {
	t.Parallel()
	port, _ := mute(t)
	s := newSceneWith(t, port)
	begun := time.Now()
	s.row(s.databaseRows(exitUnavailable)["database"], wrong, "no answer in 5s → look for a firewall")
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("it took %s", took)
	}
	s.nothingLeft()
}

func TestASignalEndsACheck(t *testing.T) {
	t.Parallel()
	port, taken := mute(t)
	s := newSceneWith(t, port)
	r := s.start("check", "server")
	<-taken
	begun := time.Now()
	r.signal(syscall.SIGTERM)
	if code := r.exitCode(); code != 128+int(syscall.SIGTERM) {
		t.Errorf("exit code %d", code)
	}
	if took := time.Since(begun); took > 2*time.Second {
		t.Errorf("it took %s", took)
	}
	s.nothingLeft()
}

// An attempt is not cut when time is up, but it has a bound.
func TestAWaitForAServerThatNeverAnswers(t *testing.T) {
	t.Parallel()
	port, taken := mute(t)
	for _, stop := range []bool{false, true} {
		t.Run(fmt.Sprintf("stopped %t", stop), func(t *testing.T) {
			s := newSceneWith(t, port)
			s.env = append(s.env, "AK_INIT_WAIT_DATABASE=100ms")
			want, most := exitUnavailable, 15*time.Second
			begun := time.Now()
			r := s.start("server", "--migrate", "before")
			<-taken
			if stop {
				want, most, begun = 128+int(syscall.SIGTERM), 2*time.Second, time.Now()
				r.signal(syscall.SIGTERM)
			}
			if code := r.exitCode(); code != want || time.Since(begun) > most {
				t.Errorf("exit code %d after %s, want %d within %s", code, time.Since(begun), want, most)
			}
			if said := r.lines(`"level":"error"`, "no answer in 5s", `"cause":"timed-out"`, `"exit_code":69`); len(said) == 1 == stop {
				t.Errorf("it is said %d times", len(said))
			}
			if n := len(s.starts("python")) + len(s.starts("server")); n != 0 {
				t.Errorf("%d were started", n)
			}
			s.nothingLeft()
		})
	}
}

// What stands beside ak-init by that name may be anything.
func TestWhatDoesNotAnswerAsItShould(t *testing.T) {
	t.Parallel()
	const row = `{"check":"database","state":"error","found":"f"}`
	for script, want := range map[string]string{
		"sleep 60":                                                 "it has not ended within 500ms",
		"sleep 2 & exit 0":                                         "it has not ended within 500ms", // its output has not
		"echo '" + row + "'; exec sleep 60":                        "it has not ended within 500ms",
		"echo '" + row + "'; kill -9 $$":                           "signal: killed",
		"echo one >&2; echo two >&2; exit 64":                      "exit status 64 one; two",
		"echo '{\"check\":\"database\",\"state\":\"ok\"}'; exit 2": "exit status 2",
		"echo nonsense":                                            "it says nothing",
		"echo '" + row + "'; echo x; exit 78":                      "",
		"echo '" + row + "'; exit 0 # no error":                    "",
	} {
		t.Run(script, func(t *testing.T) {
			t.Parallel()
			begun := time.Now()
			all := ask(t.Context(), supervise.Command{Path: "/bin/sh", Argv: []string{"sh", "-c", script}, Env: []string{"PATH=/bin"}}, 500*time.Millisecond)
			if took := time.Since(begun); took > 5*time.Second {
				t.Errorf("it took %s", took)
			}
			said := slices.ContainsFunc(all, func(f *finding) bool {
				return f.State == wrong && f.code == exitUnavailable && f.Found == fmt.Sprintf("/bin/sh cannot be asked: %s", want)
			})
			if said != (want != "") || len(all) == 0 {
				t.Errorf("%q: %+v", want, all)
			}
			for _, f := range all {
				if f.State == wrong && f.code <= 0 {
					t.Errorf("exit code %d of %+v", f.code, f)
				}
			}
		})
	}
}

// docker logs, or what stands in its place, may end before what it reads.
func TestAWaitOutlivesWhoReadsItsLog(t *testing.T) {
	t.Parallel()
	s, _ := newDatabaseScene(t)
	r, w, err := os.Pipe()
	s.must(err)
	s.must(r.Close())
	defer func() { _ = w.Close() }()
	cmd := exec.CommandContext(t.Context(), s.dir+"/"+databaseName, "wait", "--root", s.root)
	cmd.Env, cmd.Stderr = s.env, w
	if err := cmd.Run(); err != nil {
		t.Error(err)
	}
}
