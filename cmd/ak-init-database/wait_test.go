package main

import (
	"encoding/base64"
	"net"
	"strings"
	"testing"
	"time"
)

// A replica that takes connections and never says anything is not waited for as long as
// connect_timeout has it.
func TestWaitIsNotHeldUpByAReplica(t *testing.T) {
	t.Parallel()
	_, env := authentiks(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	patient := base64.StdEncoding.EncodeToString([]byte(`{"connect_timeout": 60}`))
	begun := time.Now()
	got := of(t, append(env, "AUTHENTIK_POSTGRESQL__READ_REPLICAS__0__PORT="+port, "AUTHENTIK_POSTGRESQL__REPLICA_CONN_OPTIONS="+patient), "wait")
	said := got.events("warning")
	if took := time.Since(begun); got.code != 0 || took > 20*time.Second {
		t.Errorf("code %d after %s", got.code, took)
	}
	if len(said) != 1 || !strings.Contains(said[0], "read replica 0: cannot connect to PostgreSQL at 127.0.0.1:"+port) || !strings.Contains(said[0], "no answer within 10s; look for a firewall") {
		t.Errorf("%q", said)
	}
}
