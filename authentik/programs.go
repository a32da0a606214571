package authentik

import (
	"path"
	"slices"
	"syscall"
)

// Programs are the programs of a layout that start its services.
type Programs struct {
	// Row is the row of the table that matched, empty for what the release says.
	Row string `json:"row,omitempty"`
	// Server and Worker are command lines in the place of the release's, empty to leave it.
	Server []string `json:"server,omitempty"`
	Worker []string `json:"worker,omitempty"`
	// Evidence is what decided it.
	Evidence []string `json:"evidence,omitempty"`
}

// Rows of the table of programs.
const (
	// RowDelegated is Rust's binary that is its own lifecycle/ak.
	RowDelegated = "rust entry"
	// RowRust is 2026.8's one binary.
	RowRust = "rust"
	// RowRustWorker is 2026.5's two: the server in Go, the worker in Rust.
	RowRustWorker = "rust worker"
	// RowServer is a server in Go that is called as in 2026.5.
	RowServer = "authentik-server"
	// RowGoRun is a source tree whose server is not built.
	RowGoRun = "go run"
)

// parts are what the rows of programs are told by: all are paths, empty for what is not there.
type parts struct {
	// ak is lifecycle/ak, or the one in PATH; authentik and server are programs in PATH.
	ak, authentik, server string
	// process is lifecycle/worker_process.py, by which Rust starts workers in Python.
	process string
	// goSource and rustSource are the server's in Go and the whole's in Rust.
	goSource, rustSource string
	// akIsAuthentik: they are the same file.
	akIsAuthentik bool
}

func (f finder) programs(l Layout) Programs {
	search := append(slices.Clone(l.Path), pathDirs(f.env["PATH"])...)
	there := func(name string) string {
		if file := path.Join(l.Root, name); f.view.Exists(file) {
			return file
		}
		return ""
	}
	p := parts{
		ak: there("lifecycle/ak"), process: there("lifecycle/worker_process.py"),
		authentik: f.inPath("authentik", search), server: f.inPath("authentik-server", search),
		goSource: there("cmd/server"), rustSource: there("Cargo.toml"),
	}
	if p.ak == "" {
		p.ak = f.inPath("ak", search)
	}
	p.akIsAuthentik = f.same(p.ak, p.authentik)
	return p.decide()
}

// decide is the table, the first row that fits. No program is run to see what it is.
//
// Sources: lifecycle/ak and lifecycle/worker_process.py of the branch of April 2026 that brought
// Rust's worker, goauthentik/authentik#24320 for its server, #26320 for its entry.
func (p parts) decide() Programs {
	switch {
	case p.akIsAuthentik:
		return Programs{RowDelegated, []string{"authentik", "server"}, []string{"authentik", "worker"}, []string{p.ak, "the same file as " + p.authentik}}
	case p.process != "" && p.server == "" && p.goSource == "":
		return Programs{RowRust, []string{"authentik", "server"}, []string{"authentik", "worker"}, []string{p.process, "no authentik-server in PATH"}}
	case p.process != "":
		server, why := p.goServer()
		return Programs{RowRustWorker, server, p.rustWorker(), []string{p.process, why}}
	case p.server != "":
		return Programs{RowServer, []string{"authentik-server"}, nil, []string{p.server}}
	case p.authentik == "" && p.goSource != "":
		return Programs{RowGoRun, goRun(), nil, []string{p.goSource, "no authentik in PATH"}}
	default:
		return Programs{}
	}
}

func (p parts) goServer() (argv []string, why string) {
	if p.server == "" {
		return goRun(), p.goSource
	}
	return []string{"authentik-server"}, p.server
}

// goRun is what the script does without a binary (lifecycle/ak, run_authentik, 2026.2).
func goRun() []string { return []string{"go", "run", "-v", "./cmd/server/"} }

// rustWorker is built where it has to be. cargo gives its place to what it runs, so that Rust's
// children have it for their parent (doc.rust-lang.org/cargo, cargo run).
func (p parts) rustWorker() []string {
	if p.authentik == "" && p.rustSource != "" {
		return []string{"cargo", "run", "--", "worker"}
	}
	return []string{"authentik", "worker"}
}

// Adapt gives the release as this layout starts it. It is pure, and changes nothing of r.
func (l Layout) Adapt(r Release) Release {
	put := func(v *Verb, argv []string) {
		if len(argv) > 0 {
			v.Program, v.Args = argv[0], slices.Concat(argv[1:], v.Args)
		}
	}
	switch l.Programs.Row {
	case RowDelegated:
		r.Server, r.Worker = r.Server.rust(), r.Worker.rust()
		// It waits for the database, and lets go of root, by itself.
		r.Worker.DropsRoot, r.Server.WaitFirst, r.Worker.WaitFirst = false, false, false
	case RowRust:
		r.Server, r.Worker = r.Server.rust(), r.Worker.rust()
	case RowRustWorker:
		r.Worker = r.Worker.rust()
	case KindOwn:
		r = r.throughAK(l.Programs.Server[0])
	}
	put(&r.Server, l.Programs.Server)
	put(&r.Worker, l.Programs.Worker)
	return r
}

// rust is a service that Rust's binary runs: asked at its own socket, whatever web.path says, told
// to end by TERM to it alone, and told by its children, who ask for their parent's pid, that they
// are ready (src/worker/mod.rs, lifecycle/worker_process.py; goauthentik/authentik#23556). It ends
// when one of them does. Its worker applies the first start's credentials by itself.
func (v Verb) rust() Verb {
	return Verb{
		Name: v.Name, TakesArgs: v.TakesArgs, DropsRoot: v.DropsRoot, ModeFile: v.ModeFile, Listen: v.Listen,
		HealthSocket: "authentik.sock", SocketAlone: true, Live: "-/health/live/", Ready: "-/health/ready/",
		Messages:  []syscall.Signal{syscall.SIGUSR1, syscall.SIGUSR2},
		WaitFirst: true,
	}
}

// throughAK is a release of which nothing is known but that this program starts it. What it does
// before, and as whom, is its own affair.
func (r Release) throughAK(ak string) Release {
	r.Server = Verb{
		Name: r.Server.Name, HealthSocket: r.Server.HealthSocket, Live: r.Server.Live, Ready: r.Server.Ready, Listen: r.Server.Listen,
		Messages: []syscall.Signal{syscall.SIGUSR1, syscall.SIGUSR2},
	}
	r.Worker = Verb{Name: r.Worker.Name, TakesArgs: true, Messages: r.Server.Messages}
	var others []Verb
	for _, v := range r.Others {
		words := []string{v.Name}
		if v.Program == "python" && len(v.Args) > 1 && v.Args[1] == "manage" { // which needs no word of its own
			words = v.Args[2:]
		}
		v.Program, v.Args, v.DropsRoot = ak, words, false
		others = append(others, v)
	}
	r.Others, r.Migrate, r.SkipMigrations = others, nil, ""
	r.Uploads, r.DataFiles = Uploads{}, nil
	return r
}
