package database

import (
	"errors"
	"testing"
)

func TestDoubts(t *testing.T) {
	for name, value := range map[string]string{
		"connect_timeout": "10", "keepalives": " 1 ", "sslcrl": "/x", "pool": "true", "prepare_threshold": "null", "target_session_attrs": "any",
	} {
		if got := (Settings{Options: map[string]string{name: value}}).Doubts(); got != nil {
			t.Errorf("%s=%s: %v", name, value, got)
		}
	}
	got := errors.Join((Settings{Options: map[string]string{"canary": "canary-of-a-value", "keepalives_idle": "canary-of-a-value", "sslcrl": "x"}}).Doubts()...)
	want := "AUTHENTIK_POSTGRESQL__CONN_OPTIONS has canary, which neither libpq nor psycopg nor Django is known to take\n" +
		"keepalives_idle in AUTHENTIK_POSTGRESQL__CONN_OPTIONS is no whole number, and libpq refuses to connect with it"
	if got == nil || got.Error() != want {
		t.Errorf("got %v, want %s", got, want)
	}
}
