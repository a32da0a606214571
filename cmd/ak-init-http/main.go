// Command ak-init-http answers over HTTP how the ak-init beside it is, which it asks
// through that one's socket. ak-init starts it where an address is given by --health-listen,
// as the user of authentik's own processes and without their environment. It is a program of
// its own because PID 1 is to read nothing that comes from a network, and because whoever
// links an HTTP server pays for it at every start and in every health check.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/pflag"

	"ak-init/logs"
)

// Exit codes, those of sysexits(3).
const (
	exitUsage       = 64
	exitUnavailable = 69
)

// options is what argv says.
type options struct {
	listen []string
	socket string
	// webPath is authentik's web.path, below which its own health paths are found too.
	webPath             string
	logFormat, logLevel string
}

const usage = `ak-init-http answers over HTTP how ak-init and its services are. ak-init runs it.

Usage:
  ak-init-http --socket PATH --listen ADDRESS [--listen ADDRESS...]

It serves /livez, /readyz, /startupz, /-/health/live/, /-/health/ready/ and /metrics.

Flags:
`

func main() {
	// A log reader that goes away must not end it: without this, writing to a closed fd 2
	// kills the process (os/signal, SIGPIPE). Nor must a terminal that stops who writes there
	// from the background (termios(3), TOSTOP).
	signal.Ignore(syscall.SIGPIPE, syscall.SIGTTOU)
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run answers until it is told to end, which ak-init does once everything else is gone.
func run(args []string, stdout, stderr *os.File) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	o, err := parse(args)
	if errors.Is(err, pflag.ErrHelp) {
		_, _ = fmt.Fprint(stdout, usage, flagSet(&options{}).FlagUsages())
		return 0
	}
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "ak-init-http:", err)
		return exitUsage
	}
	log := logs.New(logs.Style{Level: o.logLevel, Format: o.logFormat, Plain: os.Getenv("NO_COLOR") != ""}, stderr) //nolint:forbidigo // all that it wants of its environment
	defer log.Close()
	listeners, err := listen(ctx, o.listen)
	if err == nil {
		log.Info("answering over HTTP", logs.Str("listen", strings.Join(o.listen, ",")))
		err = serve(ctx, listeners, newPages(o.socket, o.webPath), log)
	}
	if err != nil {
		log.Error(err.Error(), logs.Num("exit_code", exitUnavailable))
		return exitUnavailable
	}
	return 0
}

func flagSet(o *options) *pflag.FlagSet {
	fs := pflag.NewFlagSet("ak-init-http", pflag.ContinueOnError)
	fs.SortFlags = false
	fs.Usage = func() {}
	fs.StringArrayVar(&o.listen, "listen", nil, "`ADDRESS` to listen on, as HOST:PORT; can be given again")
	fs.StringVar(&o.socket, "socket", "", "ak-init's socket, as a `PATH`")
	fs.StringVar(&o.webPath, "web-path", "/", "authentik's web.path, as a `PATH`")
	fs.StringVar(&o.logFormat, "log-format", "auto", "`auto|json|console`")
	fs.StringVar(&o.logLevel, "log-level", "info", "`debug|info|warning|error`")
	return fs
}

func parse(args []string) (options, error) {
	var o options
	fs := flagSet(&o)
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	switch {
	case fs.NArg() > 0:
		return o, fmt.Errorf("%q is no flag", fs.Arg(0))
	case o.socket == "" || len(o.listen) == 0:
		return o, errors.New("--socket and --listen are needed")
	}
	return o, o.fault()
}

// fault is what is wrong with a flag's value.
func (o *options) fault() error {
	for _, address := range o.listen {
		_, port, err := net.SplitHostPort(address)
		if n, numErr := strconv.ParseUint(port, 10, 16); err != nil || numErr != nil || n == 0 { // at 0 nobody would find it
			return fmt.Errorf("--listen: %q has no port", address)
		}
	}
	return cmp.Or(
		oneOf("log-format", o.logFormat, "auto", "json", "console"),
		oneOf("log-level", o.logLevel, "debug", "info", "warning", "error"),
	)
}

func oneOf(flag, value string, allowed ...string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	return fmt.Errorf("--%s: %q is none of %s", flag, value, strings.Join(allowed, ", "))
}

// listen binds every address, or none.
func listen(ctx context.Context, addresses []string) ([]net.Listener, error) {
	var all []net.Listener
	var config net.ListenConfig
	for _, address := range addresses {
		l, err := config.Listen(ctx, "tcp", address)
		if err != nil {
			for _, l := range all {
				_ = l.Close()
			}
			why := err
			if op, ok := errors.AsType[*net.OpError](err); ok {
				why = op.Err
			}
			return nil, fmt.Errorf("cannot listen on %s: %w (uid %d); end what listens there, or give --health-listen another address", address, why, os.Getuid())
		}
		all = append(all, l)
	}
	return all, nil
}
