package main

import (
	"encoding/base64"
	"os"
	"slices"
	"strings"
	"testing"
)

// canaryConn is authentik's form for options of the connection (authentik/lib/config.py,
// get_dict_from_b64_json).
var canaryConn = base64.StdEncoding.EncodeToString([]byte(`{"password": "canary-connection", "sslpassword": "canary-ssl"}`))

// newCanaryScene is a scene with a secret wherever one may be, and with ak-init-database
// beside ak-init. Nothing listens where PostgreSQL should.
func newCanaryScene(t *testing.T) *scene {
	t.Helper()
	s := newScene(t)
	s.addProgram(akInitDatabase)
	s.must(
		os.WriteFile(s.dir+"/secret", []byte("canary-in-a-file\n"), 0o600),
		os.WriteFile(s.dir+"/more.env", []byte("MORE=canary-of-an-env-file\nAUTHENTIK_STORAGE__S3__SECRET_KEY=canary-s3\n"), 0o600),
		os.WriteFile(s.root+"/local.yml", []byte("ldap:\n  tls:\n    ciphers: canary-in-yaml\nemail: {username: canary-user}\n"), 0o600))
	_, port, _ := strings.Cut(freeAddress(t, s.dir+"/postgresql"), ":")
	s.env = append(s.env,
		"AK_INIT_USER="+uid(), "AK_INIT_ENV_FILE="+s.dir+"/more.env",
		"AUTHENTIK_SECRET_KEY=canary-key",
		"AUTHENTIK_POSTGRESQL__HOST=127.0.0.1", "AUTHENTIK_POSTGRESQL__PORT="+port,
		"AUTHENTIK_POSTGRESQL__PASSWORD=canary-password",
		"AUTHENTIK_POSTGRESQL__READ_REPLICAS__0__HOST=127.0.0.2", "AUTHENTIK_POSTGRESQL__READ_REPLICAS__0__PASSWORD=canary-replica",
		"AUTHENTIK_POSTGRESQL__CONN_OPTIONS="+canaryConn,
		"AUTHENTIK_POSTGRESQL_PASSWORD=canary-misnamed", "AUTHENTIK_SECRET_KEYS=canary-slip",
		"POSTGRES_PASSWORD=canary-postgres", "PGPASSWORD=canary-libpq",
		"AUTHENTIK_EMAIL__PASSWORD=file://"+s.dir+"/secret", "AUTHENTIK_EMAIL__FROM=file:///nowhere?canary-otherwise",
		"AUTHENTIK_REDIS__PASSWORD=canary-redis", "AUTHENTIK_BROKER__URL=redis://:canary-broker@redis/0",
		"AUTHENTIK_BOOTSTRAP_PASSWORD=canary-bootstrap", "AUTHENTIK_BOOTSTRAP_TOKEN=env://canary-token", "AUTHENTIK_BOOTSTRAP_EMAIL=canary@example.com",
		"DOCKER_HOST=tcp://user:canary-docker@192.0.2.1:2376",
		"HTTPS_PROXY=http://user:canary-proxy@192.0.2.1:3128",
		"AUTHENTIK_LISTEN__HTTPS=127.0.0.1:0", "AUTHENTIK_LISTEN__METRICS=127.0.0.1:0",
	)
	return s
}

// quiet wants no canary in what was said, not in base64 either, and something said at all.
func (r *running) quiet() {
	r.t.Helper()
	said := r.logs.String()
	if said == "" {
		r.t.Errorf("%q says nothing", r.Args)
	}
	for _, secret := range []string{"canary", canaryConn[:16], base64.StdEncoding.EncodeToString([]byte("canary"))} {
		if at := strings.Index(said, secret); at >= 0 {
			r.t.Errorf("%q says %q", r.Args, said[max(0, at-60):min(len(said), at+40)])
		}
	}
}

// ends runs ak-init to its end and wants this exit code.
func (s *scene) ends(code int, words ...string) *running {
	s.t.Helper()
	r := s.start(words...)
	if got := r.exitCode(); got != code {
		s.t.Errorf("%q: exit code %d, want %d\n%s", words, got, code, r.logs.String())
	}
	return r
}

func TestSecretsAreForTheChildrenAlone(t *testing.T) {
	t.Parallel()
	t.Run("checks and plans", func(t *testing.T) {
		t.Parallel()
		s := newCanaryScene(t)
		for _, output := range []string{"text", "json"} {
			for _, command := range []string{"server", "worker", "all", "migrate"} {
				s.ends(0, "check", command, "--output", output).quiet()
				s.ends(0, command, "--dry-run", "--output", output).quiet()
				s.ends(0, "env", command, "--output", output).quiet()
				s.ends(0, "env", command, "--output", "docker").quiet()
			}
			// PostgreSQL is asked, and what is asked with cannot be right.
			s.ends(exitConfig, "check", "--wait-database", "1s", "--output", output).quiet()
		}
		s.ends(exitConfig, "check", "--strict").quiet()
	})
	t.Run("from start to stop", func(t *testing.T) {
		t.Parallel()
		s := newCanaryScene(t)
		for _, command := range []string{"server", "worker", "all"} {
			r := s.start(command)
			s.awaitHealth(0, "--started")
			for _, ask := range [][]string{{"status"}, {"status", "--output", "json"}, {"healthcheck"}, {"healthcheck", "--ready"}, {"check", command}} {
				s.ends(0, ask...).quiet()
			}
			r.stop()
			r.quiet()
		}
		for name, want := range map[string]string{
			"AUTHENTIK_SECRET_KEY": "canary-key", "AUTHENTIK_POSTGRESQL__CONN_OPTIONS": canaryConn, "MORE": "canary-of-an-env-file",
			"AUTHENTIK_BOOTSTRAP_PASSWORD": "canary-bootstrap",
		} {
			if got := s.starts("worker")[0].Env[name]; got != want {
				t.Errorf("the worker's %s is %q, want %q", name, got, want)
			}
		}
	})
	t.Run("refusals", func(t *testing.T) {
		t.Parallel()
		s := newCanaryScene(t)
		s.ends(exitConfig, "server", "--wait-database", "1s").quiet()
		s.env = append(s.env, "AUTHENTIK_POSTGRESQL__CONN_OPTIONS="+base64.StdEncoding.EncodeToString([]byte(`{"sslpassword": "canary-ssl"}`)))
		s.ends(exitUnavailable, "server", "--wait-database", "1s").quiet() // nobody listens there
		s.ends(exitConfig, "server", "--strict").quiet()
		s.ends(exitUsage, "server", "--frobnicate").quiet()
		s.ends(exitUsage, "server", "worker").quiet()
		s.ends(exitUnhealthy, "healthcheck", "--tmpdir", s.tmpdir).quiet()
		s.ends(exitUnavailable, "status", "--tmpdir", s.tmpdir).quiet()
		s.must(os.WriteFile(s.dir+"/bad.env", []byte("A=1\ncanary-without-a-name\n"), 0o600))
		s.ends(exitUsage, "server", "--env-file", s.dir+"/bad.env").quiet()
		s.must(os.WriteFile(s.dir+"/bad.env", []byte("A=1\nB='canary-not-closed\n"), 0o600))
		s.ends(exitUsage, "server", "--env-file", s.dir+"/bad.env").quiet()
	})
	t.Run("settings that make no sense", func(t *testing.T) {
		t.Parallel()
		for _, with := range []string{
			"AUTHENTIK_LISTEN__HTTP=http://user:canary-listen@127.0.0.1:9000",
			"AUTHENTIK_LISTEN__HTTP=user:canary@127.0.0.1:9000",
			"AUTHENTIK_POSTGRESQL__CONN_OPTIONS={canary",
			"AUTHENTIK_POSTGRESQL__HOST=postgres://user:canary@db/authentik",
			"AUTHENTIK_POSTGRESQL__READ_REPLICAS__0__HOST=postgres://user:canary@db/authentik",
			"AUTHENTIK_POSTGRESQL={canary",
		} {
			s := newCanaryScene(t)
			s.env = append(slices.Clone(s.env), with)
			for _, words := range [][]string{
				{"check", "server", "--wait-database", "1s"}, {"check", "server", "--output", "json"},
				{"server", "--dry-run"}, {"server", "--dry-run", "--output", "json"}, {"server", "--wait-database", "1s"},
				{"env"}, {"env", "--output", "json"}, {"env", "--output", "docker"},
			} {
				r := s.start(words...)
				if code := r.exitCode(); code == 0 && words[0] == "server" && words[1] != "--dry-run" {
					t.Errorf("with %s it starts", with)
				}
				r.quiet()
			}
		}
	})
	t.Run("files that are no YAML", func(t *testing.T) {
		t.Parallel()
		for _, text := range []string{"secret_key: [canary", "secret_key: \"canary", "canary: :\n\t- canary", "a: *canary", "a: !!canary b", "canary\n...\n%canary"} {
			s := newCanaryScene(t)
			s.must(os.WriteFile(s.root+"/local.yml", []byte(text), 0o600))
			for _, words := range [][]string{{"check", "server"}, {"check", "server", "--output", "json"}, {"server", "--dry-run"}} {
				r := s.start(words...)
				r.exitCode()
				r.quiet()
			}
			s.ends(exitConfig, "server", "--strict").quiet()
		}
	})
}
