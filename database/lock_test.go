package database

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"ak-init/testdata/postgres"
)

// migration is the key of authentik's migration lock (its lifecycle/migrate.py).
const migration = 1000

func TestLockHolder(t *testing.T) {
	s := shared(t)
	ours := s.app().with(func(s *Settings) { s.Options = map[string]string{"application_name": "their migration"} })
	t.Run("nobody", func(t *testing.T) {
		if h, held, err := LockHolder(t.Context(), s.app(), migration); held || err != nil {
			t.Errorf("%v, %t, %v", h, held, err)
		}
	})
	for _, key := range []int64{migration, -1, 1 << 40, -1 << 63} {
		t.Run(fmt.Sprintf("another session with the key %d", key), func(t *testing.T) {
			holder := s.connect(t, ours)
			if err := holder.Exec(t.Context(), fmt.Sprintf("select pg_advisory_lock(%d)", key)).Close(); err != nil {
				t.Fatal(err)
			}
			h, held, err := LockHolder(t.Context(), s.app(), key)
			if err != nil || !held {
				t.Fatalf("%t, %v", held, err)
			}
			if h.PID != int(holder.PID()) || h.User != "app" || h.Application != "their migration" || h.Address != "127.0.0.1" || h.State != "idle" || h.Ours {
				t.Errorf("%+v", h)
			}
			if age := time.Since(h.Since); age < 0 || age > time.Minute || h.Active.Before(h.Since) {
				t.Errorf("since %s, active %s", h.Since, h.Active)
			}
			t.Log(h)
			// An xact lock of the same key and two-key locks are others'.
			if _, held, _ := LockHolder(t.Context(), s.app(), key+1); held {
				t.Error("the next key is held, too")
			}
			if _, held, _ := LockHolder(t.Context(), s.app().with(func(s *Settings) { s.Name = "postgres" }), key); held {
				t.Error("it is held in another database, too")
			}
			if err := holder.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
	}
	t.Run("two keys of 32 bits are another lock", func(t *testing.T) {
		holder := s.connect(t, ours)
		if err := holder.Exec(t.Context(), "select pg_advisory_lock(0, 1000)").Close(); err != nil {
			t.Fatal(err)
		}
		if h, held, err := LockHolder(t.Context(), s.app(), migration); held || err != nil {
			t.Errorf("%v, %t, %v", h, held, err)
		}
	})
	t.Run("somebody whose activity we may not see", func(t *testing.T) {
		holder := s.connect(t, s.settings().with(func(s *Settings) { s.Name = "app" }))
		if err := holder.Exec(t.Context(), "select pg_advisory_lock(1000)").Close(); err != nil {
			t.Fatal(err)
		}
		h, held, err := LockHolder(t.Context(), s.app(), migration)
		if err != nil || !held || h.PID != int(holder.PID()) || h.User != "postgres" || h.State != "" || !h.Since.IsZero() {
			t.Errorf("%+v, %t, %v", h, held, err)
		}
		if line := h.String(); !strings.Contains(line, "user postgres, from ?, application ak-init, ?, since ?") {
			t.Error(line)
		}
	})
	t.Run("one that is idle in a transaction which another waits for", func(t *testing.T) {
		holder, other := s.connect(t, ours), s.connect(t, ours)
		look := func() Holder {
			h, held, err := LockHolder(t.Context(), s.app(), migration)
			if err != nil || !held || h.PID != int(holder.PID()) {
				t.Fatalf("%+v, %t, %v", h, held, err)
			}
			return h
		}
		for _, sql := range []string{"create table waited_for ()", "select pg_advisory_lock(1000)", "begin", "select * from waited_for"} {
			if err := holder.Exec(t.Context(), sql).Close(); err != nil {
				t.Fatal(sql, err)
			}
		}
		if h := look(); h.Blocks != 0 || h.State != "idle in transaction" {
			t.Errorf("nobody waits yet: %+v", h)
		}
		altered := make(chan error, 1)
		go func() { altered <- other.Exec(t.Context(), "alter table waited_for add column x int").Close() }()
		h := look()
		for h.Blocks == 0 && t.Context().Err() == nil {
			h = look()
		}
		if h.Blocks != int(other.PID()) || h.BlocksAt != "waited_for" || !strings.HasSuffix(h.String(), fmt.Sprintf(", with pid %d waiting for its lock on waited_for", h.Blocks)) {
			t.Errorf("%s", h)
		}
		// As the hint of ak-init-database has it.
		if err := s.connect(t, s.app()).Exec(t.Context(), fmt.Sprintf("select pg_terminate_backend(%d)", h.PID)).Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-altered; err != nil {
			t.Errorf("it did not go on: %v", err)
		}
	})
	t.Run("no server", func(t *testing.T) {
		_, _, err := LockHolder(t.Context(), s.app().with(func(s *Settings) { s.Port = postgres.FreePort(t) }), migration)
		tell(t, err, Refused)
	})
	nothingRuns(t)
}

func TestHolderOfWhatItIsTold(t *testing.T) {
	row := [][]byte{[]byte("x"), []byte("two\nlines\x1b[31m"), nil, {}, nil, []byte("NaN"), []byte("-5"), nil, nil, nil}
	h := holderOf(row, time.Now())
	if want := `pid 0, user ?, from ?, application "two lines [31m", ?, since ?`; h.String() != want {
		t.Errorf("%s, want %s", h, want)
	}
}
