package authentik

import (
	"strings"
	"testing"
)

func TestSecretive(t *testing.T) {
	for entry, want := range map[string]bool{
		"AUTHENTIK_SECRET_KEY=x":                                        true,
		"AUTHENTIK_SECRET_KEYS=x":                                       true,
		"AUTHENTIK_SECRET_KEY=":                                         false,
		"AUTHENTIK_SECRET_KEY=file:///run/secrets/key":                  false,
		"AUTHENTIK_SECRET_KEY=file:///run/secrets/key?otherwise":        true,
		"AUTHENTIK_SECRET_KEY=file://host/key":                          true,
		"AUTHENTIK_SECRET_KEY=env://OTHER":                              true,
		"AUTHENTIK_POSTGRESQL__PASSWORD=x":                              true,
		"AUTHENTIK_POSTGRESQL__READ_REPLICAS__0__PASSWORD=x":            true,
		"AUTHENTIK_POSTGRESQL__CONN_OPTIONS=eyJwYXNzd29yZCI6ICJ4In0=":   true,
		"AUTHENTIK_POSTGRESQL__REPLICA_CONN_OPTIONS=eyJ9":               true,
		"AUTHENTIK_POSTGRESQL={\"password\": \"x\"}":                    true,
		"AUTHENTIK_POSTGRESQL__READ_REPLICAS=[{\"password\": \"x\"}]":   true,
		"AUTHENTIK_POSTGRESQL__HOST=postgres":                           false,
		"AUTHENTIK_POSTGRESQL__HOST=postgres://user:x@db/authentik":     true,
		"AUTHENTIK_POSTGRESQL__SSLKEY=/run/secrets/key.pem":             false,
		"AUTHENTIK_POSTGRESQL__SSLKEY=-----BEGIN PRIVATE KEY-----\nMII": true,
		"AUTHENTIK_BROKER__URL=redis://:x@redis/0":                      true,
		"AUTHENTIK_BROKER__URL=redis://redis/0":                         false,
		"AUTHENTIK_ERROR_REPORTING__SENTRY_DSN=https://x@sentry/1":      true,
		"AUTHENTIK_STORAGE__S3__ACCESS_KEY=x":                           true,
		"AUTHENTIK_BOOTSTRAP_TOKEN=file:///x":                           true,
		"AUTHENTIK_BOOTSTRAP_EMAIL=me@example.com":                      true,
		"AUTHENTIK_EMAIL__FROM=authentik <me@example.com>":              false,
		"AUTHENTIK_EMAIL__FROM=file:///nowhere?otherwise":               true,
		"AUTHENTIK_LISTEN__HTTP=[::]:9000":                              false,
		"AUTHENTIK_LISTEN__TRUSTED_PROXY_CIDRS=[\"10.0.0.0/8\"]":        false,
		"AUTHENTIK_LISTEN__HTTP=user:x@127.0.0.1:9000":                  true,
		"POSTGRES_PASSWORD=x":                                           true,
		"PGPASSWORD=x":                                                  true,
		"PGOPTIONS=host=db password=x":                                  true,
		"HTTPS_PROXY=http://user:x@proxy:3128":                          true,
		"LDAP_BIND_PW=x":                                                true,
		"MYSQL_PWD=x":                                                   true,
		"PWD=/srv":                                                      false,
		"api_key=x":                                                     true,
		"KEYBOARD=de":                                                   false,
		"PATH=/usr/bin:/bin":                                            false,
		"MONKEY=x":                                                      false,
	} {
		name, value, _ := strings.Cut(entry, "=")
		if got := Secretive(name, value); got != want {
			t.Errorf("%q is a secret: %t, want %t", entry, got, want)
		}
	}
}
