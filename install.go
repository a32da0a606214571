package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"ak-init/prepare"
	"ak-init/supervise"
)

// install puts this program into a directory, those that stand beside it, and a link by the name
// of authentik's own script: for an image without a shell, or a volume that an init container
// fills. The link comes last: whoever is called by it finds all else.
func install(o options, caught *supervise.Signals, stdout io.Writer) error {
	dir, err := filepath.Abs(o.args[0])
	if err != nil {
		return err
	}
	items, err := programs()
	if err != nil {
		return err
	}
	type outcome struct {
		all []prepare.Installed
		err error
	}
	put, sig := heeding(caught, func(ctx context.Context) outcome {
		all, err := prepare.Install(ctx, dir, items, o.dryRun)
		return outcome{all, err}
	})
	if sig != 0 && put.err != nil {
		return refuse(128+int(sig), fmt.Errorf("%s has ended it: %s is as it was", signalName(sig), dir))
	}
	if put.err != nil {
		return refuse(exitCannotWrite, put.err)
	}
	for _, one := range put.all {
		_, _ = fmt.Fprintln(stdout, installedLine(dir, one, o.dryRun))
	}
	return nil
}

// programs are this one, those beside it, and the link.
func programs() ([]prepare.Item, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, refuse(exitCannotWrite, fmt.Errorf("cannot tell where ak-init lies: %w; mount /proc", err))
	}
	var items []prepare.Item
	beside, silence := prepare.Patiently(prepare.Bound, func(r *prepare.Reader) []prepare.Item {
		var found []prepare.Item
		for _, name := range []string{databaseName, httpName} {
			if from := programBeside(name, r); from != "" {
				found = append(found, prepare.Item{Name: name, From: from})
			}
		}
		return found
	})
	items = append(items, beside...)
	return append(items, prepare.Item{Name: ownName, From: self}, prepare.Item{Name: scriptName, To: ownName}), silence
}

// installedLine says what became of one, or would.
func installedLine(dir string, one prepare.Installed, dry bool) string {
	line := filepath.Join(dir, one.Name)
	if one.To != "" {
		line += " -> " + one.To
	}
	switch {
	case one.Same:
		return line + " is there already"
	case dry:
		line += " would be installed"
	default:
		line += " installed"
	}
	if one.Replaced != "" {
		line += ", in the place of " + one.Replaced
	}
	return line
}

// heeding does what may take long until it is done or a signal ends it, which is given then: as
// PID 1 nobody else would see to that.
func heeding[T any](caught *supervise.Signals, do func(context.Context) T) (T, syscall.Signal) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	made := make(chan T, 1)
	go func() { made <- do(ctx) }() // ends soon after ctx
	select {
	case done := <-made:
		return done, 0
	case asked := <-caught.Asked():
		cancel()
		sig, _ := asked.(syscall.Signal)
		return <-made, sig
	}
}
