package main

import (
	"fmt"
	"time"

	"ak-init/database"
)

// enough is how long a timeout of the server must be to be no matter: migrations of an empty
// database take three to five minutes on ordinary hardware.
const enough = 10 * time.Minute

// timeouts judges those that the server has for authentik's role.
//
// All of them can end a start again and again (goauthentik/authentik#23876). The session that
// holds the migration lock is idle in a transaction while Django migrates, in every release: to
// 2025.10 it takes the lock in one, and from 2025.12 on it sets search_path in one afterwards
// (lifecycle/migrate.py). The wait for that lock is a statement, and counts for lock_timeout.
func timeouts(s database.Settings, state database.State) (short []finding) {
	cuts := map[string]string{
		"statement_timeout":                   "a migration, or the wait for the migration lock,",
		"lock_timeout":                        "the wait for the migration lock",
		"idle_in_transaction_session_timeout": "the session that holds the migration lock, while migrations run,",
		"transaction_timeout":                 "a migration, or the session that holds the migration lock,",
	}
	for _, t := range state.Timeouts {
		if t.After < enough {
			short = append(short, finding{
				"database-timeouts", warning,
				fmt.Sprintf("%s is %s for user %s: %s is ended after that, and with it the start", t.Name, t.After, s.User, cuts[t.Name]),
				t.Remedy(s),
			})
		}
	}
	return short
}

// timeoutsOf gives a finding in any case.
func timeoutsOf(s database.Settings, state database.State) []finding {
	if short := timeouts(s, state); len(short) > 0 {
		return short
	}
	return []finding{{Check: "database-timeouts", State: ok, Found: fmt.Sprintf("the server ends nothing of ours within %s", enough)}}
}
