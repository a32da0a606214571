package database

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
)

// mustTLS is whether there is no connection without TLS.
func (s Settings) mustTLS() bool {
	return s.wantsTLS() && slices.Contains([]string{"require", "verify-ca", "verify-full"}, s.SSLMode)
}

// wantsTLS is whether TLS is thought of at all; over a socket it is not.
func (s Settings) wantsTLS() bool {
	tcp := func(p place) bool { return !p.isSocket() }
	return s.SSLMode != "disable" && slices.ContainsFunc(s.places(), tcp)
}

// checkFiles looks at the TLS files that are named.
func (s Settings) checkFiles(keywords map[string]string) error {
	for _, k := range []string{"sslrootcert", "sslcert", "sslkey"} {
		name := keywords[k]
		// libpq looks at a key where it has a certificate.
		if name == "" || name == "system" && k == "sslrootcert" || k == "sslkey" && keywords["sslcert"] == "" {
			continue
		}
		err := s.checkFile(k, name)
		if err != nil && !s.mustTLS() { // libpq goes on without it, or without TLS
			keywords[k] = ""
		} else if err != nil {
			return err
		}
	}
	if (keywords["sslcert"] == "") != (keywords["sslkey"] == "") {
		keywords["sslcert"], keywords["sslkey"] = "", ""
	}
	return nil
}

// checkFile has the kernel's error in its own for a file that cannot be looked at.
func (s Settings) checkFile(keyword, name string) *Error {
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return s.named(keyword, name, kernelWord(err), err)
	case keyword == "sslkey" && tooOpen(info):
		return s.named(keyword, name, fmt.Sprintf("its mode is %04o, and libpq takes no key that others can read: 0600, or 0640 if it is root's",
			info.Mode().Perm()), nil)
	}
	return nil
}

// named blames a file by its variable.
func (s Settings) named(keyword, name, why string, err error) *Error {
	return s.fault(TLSFile, fmt.Sprintf("%s%s is %s: %s", variable, strings.ToUpper(keyword), show(name), why), err)
}

// badFile finds the file that pgconn does not take, by its words for each.
func (s Settings) badFile(keywords map[string]string, said string, err error) *Error {
	keyword := "sslcert"
	switch {
	case strings.Contains(said, "CA"):
		keyword = "sslrootcert"
	case strings.Contains(said, "key"), strings.Contains(said, "sslpassword"):
		keyword = "sslkey"
	}
	if at, ok := errors.AsType[*fs.PathError](err); ok {
		said = kernelWord(at)
	}
	if name := keywords[keyword]; name != "" {
		return s.named(keyword, name, said, err)
	}
	return s.fault(TLSFile, said, err) // one of those in ~/.postgresql
}

// tooOpen is libpq's rule (PostgreSQL's manual, "Client Certificates"): no access by group
// or others; where root owns the key, its group may read.
func tooOpen(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	if ok && st.Uid == 0 {
		return info.Mode().Perm()&0o037 != 0
	}
	return info.Mode().Perm()&0o077 != 0
}

// checkRoots refuses what libpq refuses: to verify without a file of roots. pgconn would
// take the system's.
func (s Settings) checkRoots(config *pgconn.Config) error {
	for _, t := range tlsConfigs(config) {
		if t != nil && t.RootCAs == nil && (!t.InsecureSkipVerify || t.VerifyPeerCertificate != nil) {
			return s.fault(TLSFile, variable+"SSLROOTCERT is not set, and there is no ~/.postgresql/root.crt, so there is nothing to verify the server by", nil)
		}
	}
	return nil
}

// tlsConfigs are those of all attempts, nil for one without TLS.
func tlsConfigs(config *pgconn.Config) []*tls.Config {
	all := []*tls.Config{config.TLSConfig}
	for _, f := range config.Fallbacks {
		all = append(all, f.TLSConfig)
	}
	return all
}

// kernelWord is the kernel's word alone, without the call and the path.
func kernelWord(err error) string {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno.Error()
	}
	return err.Error()
}
