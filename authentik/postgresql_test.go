package authentik

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// inBase64 is how conn_options are given.
func inBase64(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

func postgresqlOf(t *testing.T, env, files map[string]string) (PostgreSQL, []PostgreSQL, string) {
	t.Helper()
	s, err := ReadSettings(sources(env, files))
	if err != nil {
		t.Fatal(err)
	}
	var faults []string
	primary, err := s.PostgreSQL()
	if err != nil {
		faults = append(faults, err.Error())
	}
	replicas, err := s.Replicas()
	if err != nil {
		faults = append(faults, err.Error())
	}
	return primary, replicas, strings.Join(faults, "\n")
}

func TestPostgreSQLWhereNothingIsSet(t *testing.T) {
	p, replicas, faults := postgresqlOf(t, map[string]string{"POSTGRES_PASSWORD": "canary"}, nil)
	want := PostgreSQL{
		Host: "localhost", Port: "5432", Name: "authentik", User: "authentik", Password: "canary", SSLMode: "disable",
		Options: map[string]string{}, Schema: "public",
	}
	if diff := cmp.Diff(want, p); diff != "" || len(replicas) != 0 || faults != "" {
		t.Errorf("(-want +got):\n%s\nreplicas %v, faults %q", diff, replicas, faults)
	}
}

func TestPostgreSQLAndItsReplicas(t *testing.T) {
	const prefix = "AUTHENTIK_POSTGRESQL__"
	p, replicas, faults := postgresqlOf(t, map[string]string{
		prefix + "HOST": "db", prefix + "PASSWORD": "file:///run/password", prefix + "SSLMODE": "verify-full", prefix + "SSLROOTCERT": "/ca",
		prefix + "CONN_OPTIONS":                   inBase64(`{"connect_timeout": 10, "options": "-c a=b", "gone": null}`),
		prefix + "REPLICA_CONN_OPTIONS":           inBase64(`{"application_name": "all", "keepalives": 1}`),
		prefix + "READ_REPLICAS__0__HOST":         "r0",
		prefix + "READ_REPLICAS__0__SSLMODE":      "null",
		prefix + "READ_REPLICAS__1__PORT":         "5433",
		prefix + "READ_REPLICAS__1__CONN_OPTIONS": inBase64(`{"application_name": "own", "sslmode": "require", "host": "not this"}`),
	}, map[string]string{
		"/run/password":                  "canary\n",
		"/srv/authentik/lib/default.yml": "postgresql: {port: 5432, read_replicas: {}}\n",
	})
	want := PostgreSQL{
		Host: "db", Port: "5432", Name: "authentik", User: "authentik", Password: "canary", SSLMode: "verify-full", SSLRootCert: "/ca",
		Options: map[string]string{"connect_timeout": "10", "options": "-c a=b"}, Schema: "public",
	}
	if diff := cmp.Diff(want, p); diff != "" || faults != "" {
		t.Errorf("primary (-want +got):\n%s\nfaults %q", diff, faults)
	}
	first, second := want, want
	first.Replica, first.Host, first.SSLMode = "0", "r0", ""
	first.Options = map[string]string{"application_name": "all", "keepalives": "1"}
	second.Replica, second.Port, second.SSLMode = "1", "5433", "require"
	second.Options = map[string]string{"application_name": "own", "keepalives": "1"}
	if diff := cmp.Diff([]PostgreSQL{first, second}, replicas); diff != "" {
		t.Errorf("replicas (-want +got):\n%s", diff)
	}
}

func TestConnOptionsThatAuthentikIgnores(t *testing.T) {
	for name, given := range map[string]string{
		"no base64": "canary!", "no JSON": inBase64("canary"), "more than that": inBase64(`{"canary": 1}}`), "nothing": "", "a table": `{"canary": 1}`,
	} {
		p, _, faults := postgresqlOf(t, map[string]string{"AUTHENTIK_POSTGRESQL__CONN_OPTIONS": given}, nil)
		if len(p.Options) != 0 || !strings.Contains(faults, "postgresql.conn_options is no JSON object in base64") || strings.Contains(faults, "canary") {
			t.Errorf("%s: options %v, fault %q", name, p.Options, faults)
		}
	}
	for _, given := range []string{`["canary"]`, `"canary"`, "null"} {
		p, _, faults := postgresqlOf(t, map[string]string{"AUTHENTIK_POSTGRESQL__CONN_OPTIONS": inBase64(given)}, nil)
		if len(p.Options) != 0 || !strings.Contains(faults, "no object: authentik fails over it") || strings.Contains(faults, "canary") {
			t.Errorf("%s: options %v, fault %q", given, p.Options, faults)
		}
	}
	// Python's decoder passes over what is not of its alphabet.
	p, _, faults := postgresqlOf(t, map[string]string{"AUTHENTIK_POSTGRESQL__CONN_OPTIONS": " " + inBase64(`{"a":"b"}`) + "\n "}, nil)
	if p.Options["a"] != "b" || faults != "" {
		t.Errorf("options %v, fault %q", p.Options, faults)
	}
}

func TestConnOptionsByVersion(t *testing.T) {
	p := PostgreSQL{SSLMode: "disable", Options: map[string]string{"sslmode": "require", "host": "other", "application_name": "x"}}
	settled := PostgreSQL{SSLMode: "require", Options: map[string]string{"application_name": "x"}}
	for version, want := range map[string]PostgreSQL{
		"2025.6.4": {SSLMode: "disable"}, "2025.8.0": settled, "2025.10.4": settled, "2025.12.0-rc1": p, "2026.2.2": p, "": p,
	} {
		if diff := cmp.Diff(want, p.By(version)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", version, diff)
		}
	}
	if p.Options["sslmode"] != "require" {
		t.Error("it has changed what it was given")
	}
}

func TestUpgradeFault(t *testing.T) {
	for _, tt := range []struct{ from, to, says string }{
		{"2026.2.2", "2026.2.2", ""},
		{"2026.2.1", "2026.2.2", ""},
		{"2025.12.4", "2026.2.2", ""},
		{"2026.2.2", "2026.2.1", "downgrade"},
		{"2026.5.0", "2026.2.2", "migrated by authentik 2026.5.0, and this is 2026.2.2: authentik supports no downgrade"},
		{"2025.10.3", "2026.2.2", "skips a release, here 2025.12"},
		{"2025.2.4", "2025.10.0", "skips a release, here 2025.4, 2025.6, 2025.8"},
		{"2024.12.3", "2025.2.4", ""},
		{"2024.12.3", "2025.4.0", "here 2025.2"},
		{"2026.5.3", "2026.8.0-rc1", ""},
		{"2026.8.0rc1", "2026.8.0", ""},
		{"2026.8.0", "2027.2.0", ""}, // not known yet, and perhaps the next
		{"", "2026.2.2", ""},
		{"2026.2.2", "", ""},
		{"x.y", "2026.2.2", ""},
		{"2026", "2026.2.2", ""},
	} {
		got := UpgradeFault(tt.from, tt.to)
		if (got == "") != (tt.says == "") || !strings.Contains(got, tt.says) {
			t.Errorf("%s to %s: %q, want %q", tt.from, tt.to, got, tt.says)
		}
	}
}

func TestEveryReleaseHasItsPlaceInTheOrder(t *testing.T) {
	order := strings.Join(ReleaseOrder(), " ") + " "
	for r := range Releases() {
		if !strings.Contains(order, r.Name+" ") || r.MinimumPostgreSQL < 10 {
			t.Errorf("%s is not in %s, or works with PostgreSQL %d", r.Name, order, r.MinimumPostgreSQL)
		}
	}
}
