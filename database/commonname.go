package database

import (
	"crypto/tls"
	"crypto/x509"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// byCommonName lets a server whose certificate has no alternative names be known by its common
// name, as libpq does (PostgreSQL's manual, "Client Verification of Server Certificates"); Go
// knows alternative names only.
func byCommonName(config *pgconn.Config) {
	for _, t := range tlsConfigs(config) {
		if t == nil || t.InsecureSkipVerify || t.ServerName == "" {
			continue
		}
		roots, name := t.RootCAs, t.ServerName
		t.InsecureSkipVerify = true // by Go: what follows verifies the chain and the name
		t.VerifyConnection = func(state tls.ConnectionState) error { return verify(state.PeerCertificates, roots, name) }
	}
}

// verify is what crypto/tls does for a client, and takes the common name where there is no
// alternative one. A server always sends a certificate (crypto/tls).
func verify(chain []*x509.Certificate, roots *x509.CertPool, name string) error {
	leaf, options := chain[0], x509.VerifyOptions{Roots: roots, DNSName: name, Intermediates: x509.NewCertPool()}
	for _, above := range chain[1:] {
		options.Intermediates.AddCert(above)
	}
	if len(leaf.DNSNames)+len(leaf.IPAddresses) == 0 && isNamed(leaf.Subject.CommonName, name) {
		options.DNSName = ""
	}
	if _, err := leaf.Verify(options); err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: chain, Err: err}
	}
	return nil
}

// isNamed tells whether a host has a name, in which * may stand for the first label
// (fe-secure-common.c, wildcard_certificate_match).
func isNamed(pattern, host string) bool {
	if rest, ok := strings.CutPrefix(pattern, "*."); ok {
		label, above, _ := strings.Cut(host, ".")
		return label != "" && strings.Contains(rest, ".") && strings.EqualFold(rest, above)
	}
	return pattern != "" && strings.EqualFold(pattern, host)
}
