// Package notify tells a service manager how it goes (sd_notify(3)): datagrams of lines to
// the socket that it named. It needs no library, and neither does systemd's: the protocol is
// promised to stay.
package notify
