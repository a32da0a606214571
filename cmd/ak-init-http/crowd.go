package main

import (
	"context"
	"net"
	"net/http"
	"slices"
	"sync"
)

// crowd is all that are connected, never more than most of them. A newcomer never waits: the
// place is taken from the one that has been waited for longest, who sends nothing or too
// slowly, and only where everybody is being answered from the one that this takes longest.
type crowd struct {
	most int

	mu sync.Mutex
	// guests are in the order in which they began what they do now.
	guests []*guest
}

// guest is one connection.
type guest struct {
	conn     net.Conn
	answered bool
}

// guestKey is where a request's context has its guest.
type guestKey struct{}

// enter is an [http.Server]'s ConnContext.
func (c *crowd) enter(ctx context.Context, conn net.Conn) context.Context {
	g := &guest{conn: conn}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.guests) >= c.most {
		_ = c.guests[c.dullest()].conn.Close()
		c.guests = slices.Delete(c.guests, c.dullest(), c.dullest()+1)
	}
	c.guests = append(c.guests, g)
	return context.WithValue(ctx, guestKey{}, g)
}

// dullest is the place of the one that goes first.
func (c *crowd) dullest() int {
	return max(0, slices.IndexFunc(c.guests, func(g *guest) bool { return !g.answered }))
}

// changed is an [http.Server]'s ConnState.
func (c *crowd) changed(conn net.Conn, state http.ConnState) {
	if state != http.StateClosed {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.guests = slices.DeleteFunc(c.guests, func(g *guest) bool { return g.conn == conn })
}

// serving notes who is being answered.
func (c *crowd) serving(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g, ok := r.Context().Value(guestKey{}).(*guest); ok {
			c.turn(g, true)
			defer c.turn(g, false)
		}
		h.ServeHTTP(w, r)
	})
}

// turn puts a guest behind all others, unless it has been sent away.
func (c *crowd) turn(g *guest, answered bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.Index(c.guests, g); i >= 0 {
		c.guests = append(slices.Delete(c.guests, i, i+1), g)
	}
	g.answered = answered
}
