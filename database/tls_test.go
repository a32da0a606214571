package database

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// pair is a certificate and its key in PEM.
type pair struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func (p pair) certPEM() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.cert.Raw}))
}

func (p pair) keyPEM() string {
	der, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// sign makes a certificate; without an issuer it signs itself.
func sign(subject string, issuer *pair, change func(*x509.Certificate)) pair {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: subject},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	if change != nil {
		change(cert)
	}
	p := pair{cert: cert, key: key}
	if issuer == nil {
		cert.IsCA, cert.BasicConstraintsValid, cert.KeyUsage = true, true, x509.KeyUsageCertSign
		issuer = &p
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, issuer.cert, &key.PublicKey, issuer.key)
	if err != nil {
		panic(err)
	}
	p.cert, err = x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return p
}

type certificates struct {
	root, otherRoot, serverCert, serverKey string
	client, expired, stranger, someoneElse pair
}

// authority is made once: a CA, a server for localhost and 127.0.0.1, clients.
var authority = sync.OnceValue(func() certificates {
	ca, other := sign("CA", nil, nil), sign("other CA", nil, nil)
	server := sign("db", &ca, func(c *x509.Certificate) {
		c.DNSNames, c.IPAddresses = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}
	})
	return certificates{
		root: ca.certPEM(), otherRoot: other.certPEM(), serverCert: server.certPEM(), serverKey: server.keyPEM(),
		client:   sign("certified", &ca, nil),
		expired:  sign("certified", &ca, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }),
		stranger: sign("certified", &other, nil), someoneElse: sign("else", &ca, nil),
	}
})

// file writes one of the TLS files.
func file(t *testing.T, content string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file.pem")
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTLS(t *testing.T) {
	s := shared(t)
	a := authority()
	root, otherRoot, missing := file(t, a.root, 0o644), file(t, a.otherRoot, 0o644), filepath.Join(t.TempDir(), "missing")
	type change = func(*Settings)
	mode := func(mode, root string) change {
		return func(s *Settings) { s.User, s.SSLMode, s.SSLRootCert = "tlsonly", mode, root }
	}
	elsewhere := func(m, root string) change {
		return func(s *Settings) { mode(m, root)(s); s.Host = "127.0.0.2" }
	}
	as := func(p pair, m os.FileMode) change {
		return func(s *Settings) {
			mode("require", root)(s)
			s.User, s.Name, s.SSLCert, s.SSLKey = "certified", "app", file(t, p.certPEM(), 0o644), file(t, p.keyPEM(), m)
		}
	}
	tests := []struct {
		name   string
		change change
		want   Cause
		says   string
		// differs is why libpq does otherwise.
		differs string
	}{
		{"require", mode("require", ""), welcome, "", ""},
		{"require, of a CA that is known", mode("require", root), welcome, "", ""},
		{"require, of a CA that is not", mode("require", otherRoot), TLSUnverified, "certificate signed by unknown authority; give the server's CA in AUTHENTIK_POSTGRESQL__SSLROOTCERT", ""},
		{"require, the CA's file is missing", mode("require", missing), TLSFile, "AUTHENTIK_POSTGRESQL__SSLROOTCERT is " + missing + ": no such file or directory", "authentik's server, which is not libpq, wants it"},
		{"prefer, the CA's file is missing", mode("prefer", missing), welcome, "", ""},
		{"allow", mode("allow", ""), welcome, "", ""},
		{"verify-ca", mode("verify-ca", root), welcome, "", ""},
		{"verify-ca, another name", elsewhere("verify-ca", root), welcome, "", ""},
		{"verify-ca, another CA", mode("verify-ca", otherRoot), TLSUnverified, "unknown authority", ""},
		{"verify-ca, no CA", mode("verify-ca", ""), TLSFile, "AUTHENTIK_POSTGRESQL__SSLROOTCERT is not set", ""},
		{"verify-full", mode("verify-full", root), welcome, "", ""},
		{"verify-full, a name", func(s *Settings) { mode("verify-full", root)(s); s.Host = "localhost" }, welcome, "", ""},
		{"verify-full, another name", elsewhere("verify-full", root), TLSUnverified, "certificate is valid for 127.0.0.1, not 127.0.0.2", ""},
		{"verify-full, another CA", mode("verify-full", otherRoot), TLSUnverified, "unknown authority", ""},
		{"verify-full, no CA", mode("verify-full", ""), TLSFile, "nothing to verify the server by", ""},
		{"verify-full, no certificate in the file", mode("verify-full", file(t, "nonsense", 0o644)), TLSFile, "AUTHENTIK_POSTGRESQL__SSLROOTCERT is /", ""},
		{"verify-full, a directory", mode("verify-full", t.TempDir()), TLSFile, "AUTHENTIK_POSTGRESQL__SSLROOTCERT is /", ""},
		{"disable reads no file", func(s *Settings) { s.SSLRootCert, s.SSLCert, s.SSLKey = missing, missing, missing }, welcome, "", ""},
		{"a client's certificate", as(a.client, 0o600), welcome, "", ""},
		{"none", func(s *Settings) { mode("require", root)(s); s.User = "certified" }, CertificateWanted, "set AUTHENTIK_POSTGRESQL__SSLCERT", ""},
		{"another user's", as(a.someoneElse, 0o600), AuthRejected, `certificate authentication failed for user "certified"`, ""},
		{"another CA's", as(a.stranger, 0o600), CertificateWanted, "", ""},
		{"a key that all can read", as(a.client, 0o644), TLSFile, "its mode is 0644, and libpq takes no key that others can read", ""},
		{"prefer, a key that all can read", func(c *Settings) {
			as(a.client, 0o644)(c)
			c.SSLMode, c.User, c.Name = "prefer", s.app().User, s.app().Name
		}, welcome, "", ""},
		{"a key that root's group can read", as(a.client, 0o640), byOwner(welcome, TLSFile), "", ""},
		{"no key in the file", func(s *Settings) { as(a.client, 0o600)(s); s.SSLKey = file(t, "nonsense", 0o600) }, TLSFile, "AUTHENTIK_POSTGRESQL__SSLKEY is /", ""},
		{"another certificate's key", func(s *Settings) { as(a.client, 0o600)(s); s.SSLKey = file(t, a.stranger.keyPEM(), 0o600) }, TLSFile, "private key does not match public key", ""},
		{"a certificate without a key", func(s *Settings) { as(a.client, 0o600)(s); s.SSLKey = "" }, Malformed, "SSLCERT is of no use without AUTHENTIK_POSTGRESQL__SSLKEY", ""},
		{"a key without a certificate", func(s *Settings) { mode("require", root)(s); s.SSLKey = root }, welcome, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			settings := s.app().with(tt.change)
			_, err := Probe(t.Context(), settings)
			theirs := libpq(t, settings)
			switch {
			case tt.want != welcome:
				tell(t, err, tt.want, tt.says)
			case err != nil:
				t.Error(err)
			}
			if (err == nil) != (theirs == nil) && tt.differs == "" {
				t.Errorf("we: %v; libpq: %v", err, theirs)
			}
		})
	}
	nothingRuns(t)
}

func TestAClientCertificateThatHasExpired(t *testing.T) {
	a := authority()
	s := shared(t).app().with(func(s *Settings) {
		s.User, s.SSLMode = "certified", "require"
		s.SSLCert, s.SSLKey = file(t, a.expired.certPEM(), 0o644), file(t, a.expired.keyPEM(), 0o600)
	})
	for {
		_, err := Probe(t.Context(), s)
		if Classify(err) == HungUp && t.Context().Err() == nil { // its alert can get lost
			tell(t, err, HungUp, "perhaps over AUTHENTIK_POSTGRESQL__SSLCERT")
			continue
		}
		tell(t, err, TLSRejected, "tls: expired certificate; compare ssl in the server")
		return
	}
}

func TestAnEncryptedKey(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	block, err := x509.EncryptPEMBlock(rand.Reader, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key), []byte(canary), x509.PEMCipherAES256) //nolint:staticcheck // what OpenSSL 1 wrote, and pgconn reads
	if err != nil {
		t.Fatal(err)
	}
	s := Settings{
		Host: "db", SSLMode: "require", SSLKey: file(t, string(pem.EncodeToMemory(block)), 0o600),
		SSLCert: file(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), 0o644),
		Options: map[string]string{"sslpassword": canary},
	}
	t.Setenv("PGSSLPASSWORD", "the wrong one")
	if config, err := s.Config(); err != nil || len(config.TLSConfig.Certificates) != 1 {
		t.Error(err)
	}
	s.Options["sslpassword"] = canary + " mistyped"
	_, err = s.Config()
	tell(t, err, TLSFile, "AUTHENTIK_POSTGRESQL__SSLKEY is "+s.SSLKey, "unable to decrypt key")
}

// byOwner is what is true of root's files, or of others'.
func byOwner(root, other Cause) Cause {
	if os.Geteuid() == 0 {
		return root
	}
	return other
}
