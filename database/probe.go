package database

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// maxRead bounds what one connection may send us: many times what it has to say.
const maxRead = 1 << 20

const endless = "it talks without end"

// stateQuery is one row. By the simple protocol it goes through any pooler.
const stateQuery = `select pg_catalog.current_setting('server_version_num'), pg_catalog.pg_is_in_recovery(),
	pg_catalog.current_setting('transaction_read_only'), ` + timeoutsQuery

// State is what a PostgreSQL says of itself.
type State struct {
	// Version is server_version_num: 150019 for 15.19.
	Version int
	// InRecovery is a standby, or one that restores a backup.
	InRecovery bool
	// ReadOnly is a server that lets nobody write: one in recovery, or one that is set
	// so, as some providers do to one whose disk is full.
	ReadOnly bool
	// TLS is whether the connection was encrypted.
	TLS bool
	// Timeouts are those that the server ends sessions and statements of this role by.
	Timeouts []Timeout
}

// Release is the version as people write it, as 15.19.
func (s State) Release() string { return release(s.Version) }

// Probe connects once, asks, and closes. It takes no longer than the settings' timeout for
// each host and once more. The error is an [*Error], or the cause of a context that was
// cancelled.
func Probe(ctx context.Context, s Settings) (State, error) {
	var state State
	err := s.ask(ctx, func(ctx context.Context, conn *pgconn.PgConn) error {
		row, err := firstRow(ctx, conn, stateQuery)
		if err != nil {
			return err
		}
		if len(row) != 4 {
			return fmt.Errorf("%d columns where there are 4", len(row))
		}
		state.Version, err = strconv.Atoi(string(row[0]))
		state.InRecovery = string(row[1]) == "t"
		state.ReadOnly = string(row[2]) == "on" || state.InRecovery
		_, state.TLS = conn.Conn().(*tls.Conn)
		state.Timeouts = timeoutsOf(string(row[3]))
		return err
	})
	return state, err
}

// ask makes a connection for one question.
func (s Settings) ask(ctx context.Context, question func(context.Context, *pgconn.PgConn) error) error {
	config, err := s.Config()
	if err != nil {
		return err
	}
	// A name can have several addresses; two hosts' worth of time lets the second
	// one be tried.
	bounded, cancel := context.WithTimeout(ctx, s.timeout()*time.Duration(len(s.places())+1))
	defer cancel()
	bind(bounded, config)
	conn, err := pgconn.ConnectConfig(bounded, config)
	if err == nil {
		err = question(bounded, conn)
		_ = conn.Close(bounded)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return s.fault(TimedOut, context.Cause(ctx).Error(), context.Cause(ctx))
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	e := s.explain(err)
	if e.Cause == WrongPassword && config.Password == "" {
		e.Cause = NoPassword
	}
	return e
}

// bind ties every connection to the context, and what may be read of it to a bound. After
// an error pgconn closes its connection from a goroutine of its own, which may take 15 s
// and connect anew to cancel what runs: with the context over it ends at once.
func bind(ctx context.Context, config *pgconn.Config) {
	dial := config.DialFunc
	config.DialFunc = func(attempt context.Context, network, address string) (net.Conn, error) {
		attempt, cancel := context.WithCancel(attempt)
		defer cancel()
		defer context.AfterFunc(ctx, cancel)()
		conn, err := dial(attempt, network, address)
		if err != nil {
			return nil, err
		}
		context.AfterFunc(ctx, func() { _ = conn.Close() })
		return &boundedConn{Conn: conn}, nil
	}
}

// boundedConn gives up on a server that never stops talking.
type boundedConn struct {
	net.Conn
	read atomic.Int64
}

func (c *boundedConn) Read(p []byte) (int, error) {
	if c.read.Load() > maxRead {
		return 0, errors.New(endless)
	}
	n, err := c.Conn.Read(p)
	c.read.Add(int64(n))
	return n, err
}

// firstRow is the first row of a query's answer, or none. Missing values are nil.
func firstRow(ctx context.Context, conn *pgconn.PgConn, query string) ([][]byte, error) {
	answers := conn.Exec(ctx, query)
	var row [][]byte
	if answers.NextResult() {
		if result := answers.ResultReader(); result.NextRow() {
			for _, value := range result.Values() {
				if value != nil { // an empty one is a value, too
					value = append([]byte{}, value...)
				}
				row = append(row, value)
			}
		}
	}
	return row, answers.Close()
}
