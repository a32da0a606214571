// Package database asks a PostgreSQL whether it can be used, waits until it can, and
// tells apart why it cannot. It knows PostgreSQL's protocol (by pgconn) and the names of
// the variables that its messages tell to change, and nothing else of authentik.
//
// # What is asked as psycopg would ask
//
// authentik connects by psycopg, that is by libpq, and gives it host, port, user,
// password, database and TLS settings by name. Such values beat everything else, here as
// there. What they leave open is filled in by pgconn from where libpq takes it, too
// (PostgreSQL's manual, "Environment Variables", "The Password File", "The Connection
// Service File"): PGSSLMODE, PGSSLROOTCERT, PGOPTIONS, PGAPPNAME, PGTARGETSESSIONATTRS,
// PGSERVICE and their like from this process's environment, ~/.postgresql for
// certificates, and, only where there is no password, PGPASSWORD and the password file.
// To ask as a child would ask, ask in a process that has the child's environment and uid.
//
// It differs from libpq in that
//   - an attempt has a bound of its own: PGCONNECT_TIMEOUT is not asked;
//   - TLS is Go's, as in authentik's own server: a certificate must have a subject
//     alternative name, and revocation lists are not read;
//   - named TLS files must be there for sslmode require and above, since authentik's
//     server wants them, where libpq would go on without;
//   - GSSAPI and sockets in the abstract namespace are not tried.
//
// # Nothing left behind
//
// Every attempt is bounded in time and in what it reads, and when it returns its
// connections are closed and the goroutines that pgconn has started end. No
// message, no String and no error holds a password: pgconn never sees one in a connection
// string, the one thing that its errors quote.
package database
