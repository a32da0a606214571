package database

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// A certificate made as PostgreSQL's manual shows ("Creating Certificates") has a common name alone.
func TestAServerIsKnownByItsCommonName(t *testing.T) {
	ca, other := sign("CA", nil, nil), sign("CA", nil, nil)
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	alternative := func(c *x509.Certificate) { c.DNSNames = []string{"db.example"} }
	for _, tt := range []struct {
		server pair
		host   string
		want   bool
	}{
		{sign("db", &ca, nil), "db", true},
		{sign("DB", &ca, nil), "db", true},
		{sign("127.0.0.1", &ca, nil), "127.0.0.1", true},
		{sign("*.example.org", &ca, nil), "db.example.org", true},
		{sign("*.example.org", &ca, nil), "a.db.example.org", false},
		{sign("*.org", &ca, nil), "example.org", false},
		{sign("", &ca, nil), "", false},
		{sign("db", &ca, nil), "other", false},
		{sign("db", &other, nil), "db", false},
		{sign("db", &ca, alternative), "db", false},
		{sign("db", &ca, alternative), "db.example", true},
		{sign("db", &ca, func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} }), "db", false},
	} {
		config := &pgconn.Config{TLSConfig: &tls.Config{ServerName: tt.host, RootCAs: roots}}
		byCommonName(config)
		if config.TLSConfig.VerifyConnection == nil {
			if tt.host != "" {
				t.Errorf("%s: nobody verifies", tt.host)
			}
			continue
		}
		err := config.TLSConfig.VerifyConnection(tls.ConnectionState{PeerCertificates: []*x509.Certificate{tt.server.cert}})
		if (err == nil) != tt.want {
			t.Errorf("%q for %s: %v", tt.server.cert.Subject.CommonName, tt.host, err)
		}
		if _, ok := errors.AsType[*tls.CertificateVerificationError](err); err != nil && !ok {
			t.Errorf("%T", err)
		}
	}
}
