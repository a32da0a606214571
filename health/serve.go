package health

import (
	"bufio"
	"errors"
	"io"
	"net"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds on askers: how many are heard at once, and how long each may take to ask.
const (
	maxAskers  = 32
	askTimeout = time.Second
)

// Serve answers askers until the listener is closed. Only processes of this uid and
// root are heard (unix(7), SO_PEERCRED). A stuck asker holds up nobody but the 32nd
// after it, and that for a second.
func Serve(listener *net.UnixListener, uid int, answer func(Question) Answer) {
	room := make(chan struct{}, maxAskers)
	for {
		conn, err := listener.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// Out of descriptors, most likely. The next asker may find some; until then do
			// not spin.
			<-time.After(100 * time.Millisecond)
			continue
		}
		room <- struct{}{}
		go func() { // ends by askTimeout and one probe's time-out at the latest
			defer func() { <-room }()
			defer func() { _ = conn.Close() }()
			hear(conn, uid, answer)
		}()
	}
}

func hear(conn *net.UnixConn, uid int, answer func(Question) Answer) {
	if peer, err := peerUID(conn); err != nil || (peer != uid && peer != 0) {
		return
	}
	_ = conn.SetDeadline(time.Now().Add(askTimeout))
	line, err := bufio.NewReaderSize(io.LimitReader(conn, maxQuestion), maxQuestion).ReadString('\n')
	if err != nil {
		return
	}
	q, err := parseQuestion(line)
	if err != nil {
		_, _ = io.WriteString(conn, Answer{Service: "ak-init", Phase: "?", Reason: err.Error()}.line())
		return
	}
	a := answer(q)
	_ = conn.SetDeadline(time.Now().Add(askTimeout))
	_, _ = io.Copy(conn, strings.NewReader(a.line()))
}

func peerUID(conn *net.UnixConn) (int, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err := errors.Join(err, credErr); err != nil {
		return 0, err
	}
	return int(cred.Uid), nil
}
