package main

import (
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ak-init/logs"
)

// pipes is a listener in memory, so that minutes pass in no time.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p pipes) Close() error {
	close(p.done)
	return nil
}

func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// Each way to keep a connection for ever has its time, to the nanosecond.
func TestClientsHaveTheirTime(t *testing.T) {
	const get = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	for _, tt := range []struct {
		name, sends string
		hears       bool
		ends        time.Duration
	}{
		{"says nothing", "", true, requestTimeout},
		{"never ends its headers", strings.TrimSuffix(get, "\r\n"), true, requestTimeout},
		{"says nothing more", get, true, idleTimeout},
		{"does not hear its answer", get, false, answerTimeout},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := logs.New(logs.Style{Level: "error"}, os.Stderr)
				defer log.Close()
				server := newServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }), log)
				l := pipes{make(chan net.Conn), make(chan struct{})}
				served := make(chan struct{})
				go func() { _ = server.Serve(l); close(served) }()
				ours, theirs := net.Pipe()
				l.conns <- theirs
				begun := time.Now()
				if tt.hears {
					go func() { _, _ = io.WriteString(ours, tt.sends) }()
					_, _ = io.Copy(io.Discard, ours)
				} else {
					for err := error(nil); err == nil; { // until it is sent away
						_, err = io.WriteString(ours, tt.sends)
					}
				}
				if took := time.Since(begun); took != tt.ends {
					t.Errorf("it is sent away after %s, want %s", took, tt.ends)
				}
				_ = server.Close()
				<-served
			})
		})
	}
}

// named is a connection that only has a name, and says when it is closed.
type named struct {
	net.Conn
	name   string
	closed *[]string
}

func (n named) Close() error {
	*n.closed = append(*n.closed, n.name)
	return nil
}

func TestWhoGoesWhenItIsFull(t *testing.T) {
	for _, tt := range []struct {
		name string
		// moves are a name that comes, "+name" that begins to be answered, "-name" that has
		// been, "!name" that hangs up.
		moves  string
		closed []string
	}{
		{"nobody while there is room", "a b c", nil},
		{"the one that has waited longest", "a b c d e", []string{"a", "b"}},
		{"not who is being answered", "a +a b c d e", []string{"b", "c"}},
		{"an answer begins the wait anew", "a b c +a -a d", []string{"b"}},
		{"who is answered longest, where all are", "a b c +b +c +a d", []string{"b"}},
		{"the newcomer before the answered", "a b c +a +b +c d e", []string{"a", "d"}},
		{"nobody for whom another has gone", "a b c !b d", nil},
		{"one that was sent away is not counted", "a b c d -a !a e", []string{"a", "b"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var closed []string
			c := crowd{most: 3}
			guests := map[string]*guest{}
			for word := range strings.FieldsSeq(tt.moves) {
				name := strings.TrimLeft(word, "+-!")
				switch word[0] {
				case '+', '-':
					c.turn(guests[name], word[0] == '+')
				case '!':
					c.changed(guests[name].conn, http.StateClosed)
				default:
					ctx := c.enter(t.Context(), named{name: name, closed: &closed})
					guests[name] = ctx.Value(guestKey{}).(*guest)
				}
			}
			if !slices.Equal(closed, tt.closed) {
				t.Errorf("sent away: %v, want %v", closed, tt.closed)
			}
		})
	}
}
