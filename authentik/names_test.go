package authentik

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMisnamed(t *testing.T) {
	s, err := ReadSettings(sources(nil, map[string]string{
		"/srv/authentik/lib/default.yml": "postgresql: {host: localhost, port: 5432, user: authentik, read_replicas: {}, password: ''}\n" +
			"listen: {http: 0.0.0.0:9000}\nlog_level: info\ndebug: false\nerror_reporting: {enabled: false}\nemail: {host: localhost, username: ''}\n",
	}))
	if err != nil {
		t.Fatal(err)
	}
	release := Newest()
	tests := []struct {
		name, variable, value string
		want                  []Misnamed
	}{
		{"a setting", "AUTHENTIK_POSTGRESQL__HOST", "db", nil},
		{"in any case, as authentik has it", "AUTHENTIK_Postgresql__Host", "db", nil},
		{"one that only the code knows", "AUTHENTIK_SECRET_KEY", "x", nil},
		{"a replica's", "AUTHENTIK_POSTGRESQL__READ_REPLICAS__0__HOST", "r", nil},
		{"a whole table as JSON", "AUTHENTIK_POSTGRESQL", `{"host": "db"}`, nil},
		{"a variable for one's own blueprints", "AUTHENTIK_GOOGLE_CLIENT", "x", nil},
		{"somebody else's", "POSTGRESQL_HOST", "x", nil},
		{"one underscore", "AUTHENTIK_POSTGRESQL_HOST", "db", []Misnamed{{Variable: "AUTHENTIK_POSTGRESQL_HOST", Right: "AUTHENTIK_POSTGRESQL__HOST"}}},
		{"two where there is one", "AUTHENTIK_SECRET__KEY", "x", []Misnamed{{Variable: "AUTHENTIK_SECRET__KEY", Right: "AUTHENTIK_SECRET_KEY"}}},
		{"two behind the prefix", "AUTHENTIK__LOG_LEVEL", "x", []Misnamed{{Variable: "AUTHENTIK__LOG_LEVEL", Right: "AUTHENTIK_LOG_LEVEL"}}},
		{"three", "AUTHENTIK_LISTEN___HTTP", "x", []Misnamed{{Variable: "AUTHENTIK_LISTEN___HTTP", Right: "AUTHENTIK_LISTEN__HTTP"}}},
		{"a letter missing", "AUTHENTIK_POSTGRESL__HOST", "x", []Misnamed{{Variable: "AUTHENTIK_POSTGRESL__HOST", Right: "AUTHENTIK_POSTGRESQL__HOST"}}},
		{"two letters swapped", "AUTHENTIK_SERCET_KEY", "x", []Misnamed{{Variable: "AUTHENTIK_SERCET_KEY", Right: "AUTHENTIK_SECRET_KEY"}}},
		{"a short name is not taken for another", "AUTHENTIK_HOTEL", "x", nil},
		{"the prefix misspelt", "AUTHENTIC_SECRET_KEY", "x", []Misnamed{{Variable: "AUTHENTIC_SECRET_KEY", Right: "AUTHENTIK_SECRET_KEY"}}},
		{"a suffix of other images", "AUTHENTIK_SECRET_KEY__FILE", "/run/key", []Misnamed{{Variable: "AUTHENTIK_SECRET_KEY__FILE", Right: "AUTHENTIK_SECRET_KEY", File: true}}},
		{"and with one underscore", "AUTHENTIK_POSTGRESQL__PASSWORD_FILE", "/run/key", []Misnamed{{Variable: "AUTHENTIK_POSTGRESQL__PASSWORD_FILE", Right: "AUTHENTIK_POSTGRESQL__PASSWORD", File: true}}},
		{"deprecated and still taken", "AUTHENTIK_WORKER__CONCURRENCY", "2", []Misnamed{{Variable: "AUTHENTIK_WORKER__CONCURRENCY", Right: "AUTHENTIK_WORKER__THREADS", Works: true}}},
		{"renamed, and ignored", "AUTHENTIK_LISTEN__LISTEN_HTTP", "x", []Misnamed{{Variable: "AUTHENTIK_LISTEN__LISTEN_HTTP", Right: "AUTHENTIK_LISTEN__HTTP"}}},
		{"gone with its table", "AUTHENTIK_REDIS__HOST", "x", []Misnamed{{Variable: "AUTHENTIK_REDIS__HOST"}}},
		{"another software's word", "AUTHENTIK_POSTGRESQL__USERNAME", "x", []Misnamed{{Variable: "AUTHENTIK_POSTGRESQL__USERNAME", Right: "AUTHENTIK_POSTGRESQL__USER"}}},
		{"Kubernetes' link to a service authentik-postgresql", "AUTHENTIK_POSTGRESQL_PORT", "tcp://10.0.0.1:5432", nil},
		{"the same name by hand", "AUTHENTIK_POSTGRESQL_PORT", "5432", []Misnamed{{Variable: "AUTHENTIK_POSTGRESQL_PORT", Right: "AUTHENTIK_POSTGRESQL__PORT"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := release.Misnamed(s, map[string]string{tt.variable: tt.value})
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestServiceLink(t *testing.T) {
	for variable, value := range map[string]string{
		"AUTHENTIK_SERVER_SERVICE_HOST": "10.0.0.1", "AUTHENTIK_SERVER_SERVICE_PORT": "80", "AUTHENTIK_SERVER_SERVICE_PORT_HTTP": "80",
		"AUTHENTIK_SERVER_PORT": "tcp://10.0.0.1:80", "AUTHENTIK_SERVER_PORT_80_TCP": "tcp://10.0.0.1:80",
		"AUTHENTIK_SERVER_PORT_80_TCP_ADDR": "10.0.0.1", "AUTHENTIK_RADIUS_PORT_1812_UDP_PROTO": "udp",
	} {
		if !ServiceLink(variable, value) {
			t.Errorf("%s=%s is a service link", variable, value)
		}
	}
	for variable, value := range map[string]string{
		"AUTHENTIK_POSTGRESQL__PORT": "5432", "AUTHENTIK_EMAIL__PORT": "25", "AUTHENTIK_PORT_HTTP": "80", "AUTHENTIK_X_PORT_A_TCP": "x",
	} {
		if ServiceLink(variable, value) {
			t.Errorf("%s=%s is no service link", variable, value)
		}
	}
}

// FuzzMisnamed holds for any variable: no panic, and what is proposed is a setting that is
// itself not misnamed.
func FuzzMisnamed(f *testing.F) {
	release := Newest()
	f.Add("AUTHENTIK_POSTGRESQL_HOST", "db")
	f.Add("AUTENTIK____", "tcp://")
	f.Fuzz(func(t *testing.T, variable, value string) {
		for _, m := range release.Misnamed(Settings{}, map[string]string{variable: value}) {
			if m.Right == "" || m.Works {
				continue
			}
			if again := release.Misnamed(Settings{}, map[string]string{m.Right: value}); len(again) > 0 && again[0].Right == "" {
				t.Errorf("%s is to be %s, which is gone", variable, m.Right)
			}
		}
	})
}
