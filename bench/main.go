// Command bench measures ak-init beside its peers (tini, dumb-init, catatonit, s6 and
// supervisord, as far as they are installed), beside an empty Go program and beside the
// bash script's way, all in one run and in turn, so that a machine's moods meet everybody
// alike. It prints a table for each topic, and at the end which bounds hold.
//
//	go run ./bench
//	go run ./bench -write              writes docs/benchmarks.md as well
//	go run ./bench -only signals,idle  leaves the other topics out
//
// AK_SCRIPT names a lifecycle/ak to measure instead of the steps that stand for it here (bash, a
// Python start, the program); where it lies in a checkout of authentik, Python loads that one's
// own settings. AK_SERVER names a server binary, AK_VENV a virtualenv with what
// bench/requirements.txt names.
//
// A bound that does not hold is told, and is no error: a machine has its moods.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// pageRuns is how many runs the page is made of.
const pageRuns = 101

func main() {
	// A child gets SIGKILL when the thread that started it ends (man 2 prctl,
	// PR_SET_PDEATHSIG): this one ends with the process.
	runtime.LockOSThread()
	write := flag.Bool("write", false, "write "+pagePath)
	only := flag.String("only", "", "measure only these `TOPICS`, with commas between: "+strings.Join(topicNames(), ", "))
	runs := flag.Int("runs", pageRuns, "measure start-up and health check `N` times")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := bench(ctx, *write, *only, *runs)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// topic is one thing to measure. It gives what is found as tables and bounds.
type topic struct {
	name    string
	measure func(context.Context, *bed) (finding, error)
}

// finding is what came of one topic.
type finding struct {
	tables []*table
	bounds []bound
}

// topics are in the order in which they are measured and printed.
func topics() []topic {
	return []topic{
		{"startup", measureStartUp},
		{"health", measureHealth},
		{"asked", measureAsked},
		{"signals", measureSignals},
		{"reaping", measureReaping},
		{"idle", measureIdle},
		{"ownership", measureOwnership},
		{"size", measureSize},
	}
}

func topicNames() []string {
	var names []string
	for _, t := range topics() {
		names = append(names, t.name)
	}
	return names
}

func bench(ctx context.Context, write bool, only string, runs int) (err error) {
	wanted, err := choose(only)
	if err != nil {
		return err
	}
	if write && (only != "" || runs != pageRuns) {
		return errors.New("-write is for all topics, and as many runs as by default")
	}
	if runs < 1 {
		return errors.New("-runs is less than one")
	}
	b, err := newBed(ctx, runs)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	found := map[string]finding{}
	for _, t := range wanted {
		fmt.Fprint(os.Stderr, "measuring ", t.name)
		begin := time.Now()
		f, err := t.measure(ctx, b)
		fmt.Fprintf(os.Stderr, ": %.0f s\n", time.Since(begin).Seconds())
		switch {
		case ctx.Err() != nil:
			return errors.New("interrupted")
		case err != nil:
			return fmt.Errorf("%s: %w", t.name, err)
		}
		found[t.name] = f
		for _, table := range f.tables {
			fmt.Println(table)
		}
	}
	fmt.Print(boundsOf(wanted, found))
	if write {
		return writePage(found)
	}
	return nil
}

func choose(only string) ([]topic, error) {
	all := topics()
	if only == "" {
		return all, nil
	}
	names := strings.Split(only, ",")
	for _, name := range names {
		if !slices.Contains(topicNames(), name) {
			return nil, fmt.Errorf("no topic %q: known are %s", name, strings.Join(topicNames(), ", "))
		}
	}
	return slices.DeleteFunc(all, func(t topic) bool { return !slices.Contains(names, t.name) }), nil
}
