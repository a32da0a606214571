package health

import (
	"bufio"
	"errors"
	"io"
	"net"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds on askers: how many are heard at once, and how long each may take to ask.
const (
	maxAskers  = 32
	askTimeout = time.Second
)

// Desk is what answers at the socket. Both functions may be called from several
// goroutines at a time.
type Desk struct {
	// Answer answers a question for each service.
	Answer func(Question) []Answer
	// Status gives one line that says all there is to say.
	Status func() []byte
}

// Serve answers askers until the listener is closed. Only processes of these uids and
// root are heard (unix(7), SO_PEERCRED). A stuck asker holds up nobody but the 32nd
// after it, and that for a second.
func Serve(listener *net.UnixListener, uids []int, desk Desk) {
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
		go func() { // ends by askTimeout and AnswerTimeout at the latest
			defer func() { <-room }()
			defer func() { _ = conn.Close() }()
			hear(conn, uids, desk)
		}()
	}
}

func hear(conn *net.UnixConn, uids []int, desk Desk) {
	if peer, err := peerUID(conn); err != nil || peer != 0 && !slices.Contains(uids, peer) {
		return
	}
	_ = conn.SetDeadline(time.Now().Add(askTimeout))
	line, err := bufio.NewReaderSize(io.LimitReader(conn, maxQuestion), maxQuestion).ReadString('\n')
	if err != nil {
		return
	}
	reply := desk.reply(line)
	_ = conn.SetDeadline(time.Now().Add(askTimeout))
	_, _ = conn.Write(reply)
}

func (d Desk) reply(line string) []byte {
	if line == statusQuestion+"\n" {
		return append(d.Status(), '\n')
	}
	q, err := parseQuestion(line)
	if err != nil {
		return []byte(Answer{Service: "ak-init", Phase: "?", Reason: err.Error()}.line())
	}
	var reply []byte
	for _, a := range d.Answer(q) {
		reply = append(reply, a.line()...)
	}
	return reply
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
