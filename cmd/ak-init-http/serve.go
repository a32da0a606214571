package main

import (
	"context"
	"errors"
	stdlog "log"
	"net"
	"net/http"
	"strings"
	"time"

	"ak-init/logs"
)

// Bounds on clients. A kubelet's probe and a Prometheus need two connections or three, one
// request line and some headers.
const (
	maxConnections = 64
	// maxHeader is of a request line and its headers, in bytes. net/http allows itself
	// headerSlop more (net/http/server.go, initialReadLimitSize).
	maxHeader  = 8 << 10
	headerSlop = 4 << 10
	// requestTimeout is how long a request may take to arrive, answerTimeout how long its
	// answer may take from then on: [statusTimeout], and the way to a slow reader.
	requestTimeout = 5 * time.Second
	answerTimeout  = 5 * time.Second
	// idleTimeout is how long nothing need be said between two requests: Prometheus scrapes once
	// a minute unless told otherwise.
	idleTimeout = 90 * time.Second
	// farewell is how long answers that are under way may take at the end.
	farewell = time.Second
)

func newServer(h http.Handler, log *logs.Logger) *http.Server {
	c := &crowd{most: maxConnections}
	var http1 http.Protocols
	http1.SetHTTP1(true)
	return &http.Server{
		Handler:           c.serving(h),
		ConnContext:       c.enter,
		ConnState:         c.changed,
		Protocols:         &http1,
		MaxHeaderBytes:    maxHeader - headerSlop,
		ReadHeaderTimeout: requestTimeout,
		ReadTimeout:       requestTimeout,
		WriteTimeout:      answerTimeout,
		IdleTimeout:       idleTimeout,
		ErrorLog:          stdlog.New(complaints{log}, "", 0),
		// "OPTIONS *" is answered as any other method that is none of ours.
		DisableGeneralOptionsHandler: true,
	}
}

// serve answers on all listeners until ctx is done, or one of them fails.
func serve(ctx context.Context, listeners []net.Listener, h http.Handler, log *logs.Logger) error {
	server := newServer(h, log)
	failed := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { failed <- server.Serve(l) }() // ends with the server
	}
	var fault error
	select {
	case fault = <-failed:
		_ = server.Close() // the others' listeners
	case <-ctx.Done():
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
		defer cancel()
		if server.Shutdown(ctx) != nil {
			_ = server.Close() // who is not answered by now is not
		}
	}
	if errors.Is(fault, http.ErrServerClosed) {
		return nil
	}
	return fault
}

// complaints are what net/http has to say of clients: a line each, whatever they sent.
type complaints struct{ log *logs.Logger }

func (c complaints) Write(text []byte) (int, error) {
	c.log.Write(logs.Debug, "HTTP client", logs.Str("error", strings.Join(strings.Fields(string(text[:min(len(text), 1000)])), " ")))
	return len(text), nil
}
