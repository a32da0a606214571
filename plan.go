package main

import (
	"maps"
	"slices"
	"syscall"
	"time"

	"ak-init/authentik"
	"ak-init/prepare"
	"ak-init/supervise"
)

// plan is what is going to be done, as a value: --dry-run prints it, launch does it.
type plan struct {
	Command string `json:"command"`
	// Release and Layout are empty for a program of the user's own.
	Release  string           `json:"release,omitempty"`
	Layout   authentik.Layout `json:"layout,omitzero"`
	TempDir  tempDir          `json:"tmpdir"`
	Identity prepare.Identity `json:"identity"`
	// Environment is what every child has.
	Environment []variable    `json:"environment"`
	Unset       []string      `json:"unset"`
	Directories []prepare.Dir `json:"directories"`
	// Database is who waits for PostgreSQL.
	Database databasePlan `json:"database,omitzero"`
	// Addresses are where services listen.
	Addresses []addressPlan `json:"addresses,omitempty"`
	// Leftovers are what earlier runs leave behind, and is removed.
	Leftovers []prepare.Stale `json:"leftovers,omitempty"`
	// Trees are directories whose whole content the children must own, or be able to read.
	Trees        []prepare.Tree `json:"trees,omitempty"`
	FixOwnership prepare.Fix    `json:"fix_ownership,omitempty"`
	// Blueprints are copied into where they are looked for; nil: they lie there.
	Blueprints *prepare.Mirror `json:"blueprints,omitempty"`
	// Companion answers over HTTP, beside all that follows; nil: nobody does.
	Companion *process  `json:"companion,omitempty"`
	Steps     []process `json:"steps"`
	// Services are started in this order and stopped in the reverse one.
	Services []servicePlan `json:"services"`
	// Runtime is ak-init's own directory, and Socket its socket in there, by which it is
	// asked.
	Runtime     string `json:"runtime,omitempty"`
	Socket      string `json:"socket,omitempty"`
	GracePeriod string `json:"grace_period"`
	StopDelay   string `json:"stop_delay"`
	// LiveThreshold is for how long a service may be ill before it is not live.
	LiveThreshold string      `json:"live_threshold"`
	Restart       restartPlan `json:"restart"`
	SuccessExit   []int       `json:"success_exit,omitempty"`
	Signals       signalPlan  `json:"signals"`
	// OpenFiles is the children's limit of descriptors, 0 to leave it alone.
	OpenFiles uint64 `json:"open_files,omitempty"`
	Migrate   string `json:"migrate,omitempty"`
	LogFormat string `json:"log_format"`
	LogLevel  string `json:"log_level"`
	// Origins are where all of this comes from, as far as it does not say so itself.
	Origins origins `json:"origins"`
	// Findings are what the checks have found.
	Findings []*finding `json:"findings"`

	// drops: the children are not who we are.
	drops bool
	// tempDirWarnings are why directories that come before TMPDIR's are not it.
	tempDirWarnings                 []error
	grace, stopDelay, liveThreshold time.Duration
	env                             map[string]string
	// ownHome is where we are at home.
	ownHome string
}

// servicePlan is one service, and what is its own.
type servicePlan struct {
	process
	// ModeFile tells authentik's own health check what runs.
	ModeFile     string     `json:"mode_file,omitempty"`
	StalePIDFile string     `json:"stale_pid_file,omitempty"`
	Drain        string     `json:"drain,omitempty"`
	Health       healthPlan `json:"health,omitzero"`
}

// restartPlan is what happens when a service ends by itself.
type restartPlan struct {
	Policy supervise.Policy `json:"policy"`
	Limit  int              `json:"limit"`
}

// variable is one that ak-init sets for every child.
type variable struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Origin string `json:"origin"`
}

// signalPlan is how signals are handed on.
type signalPlan struct {
	Group bool `json:"group"`
	// Rewrite maps names to names; an empty one drops.
	Rewrite map[string]string `json:"rewrite,omitempty"`

	rewrite map[syscall.Signal]syscall.Signal
}

// tempDir is a directory that could be TMPDIR.
type tempDir struct {
	Path   string `json:"path"`
	Origin string `json:"origin"`
	// chosen by a flag or its twin: nothing else will do.
	explicit bool
	// unusable is why not, nil if it seems to do.
	unusable error
}

// isTheirs tells whether somebody has named it for this authentik, as a tmpfs that a runtime has
// mounted for root: root may give it to the children. The official image names /dev/shm, which a
// pod may share.
func (c tempDir) isTheirs() bool {
	return (c.explicit || c.Origin == originEnvironment) && !slices.Contains(sharedDirs(), c.Path)
}

// process is one child.
type process struct {
	Name     string   `json:"name"`
	Path     string   `json:"path"`
	Argv     []string `json:"argv"`
	Origin   string   `json:"origin,omitempty"`
	Dir      string   `json:"dir,omitempty"`
	Optional bool     `json:"optional,omitempty"`
	// Aside: it runs beside what follows.
	Aside bool `json:"aside,omitempty"`
	// Environment is what it has beside, or other than, every child.
	Environment []variable `json:"environment,omitempty"`

	// bare: it has none of every child's environment, and of the groups only ownGroups.
	bare bool
	// asSelf: it is not run as the children are, but as we are.
	asSelf     bool
	ownGroups  []int
	foreground bool
	// migrates: it brings the database up to date, so all of the grace period is its own.
	migrates bool
}

// healthPlan is where a service answers, as authentik has it.
type healthPlan struct {
	Addresses []string `json:"addresses,omitempty"`
	Live      string   `json:"live,omitempty"`
	Ready     string   `json:"ready,omitempty"`
	PIDFile   string   `json:"pid_file,omitempty"`
	// Heartbeat is a file that the service touches, at least every heartbeatAge.
	Heartbeat string `json:"heartbeat,omitempty"`
	// LiveSocket is where Live is asked of who is behind Addresses: always where liveAlone, else
	// where the answer at Addresses is no.
	LiveSocket string `json:"live_socket,omitempty"`
	// Origin is who gave the addresses and the path.
	Origin string `json:"origin,omitempty"`

	liveAlone bool
	// databasePorts are where PostgreSQL listens.
	databasePorts []int
	heartbeatAge  time.Duration
}

// isWorkers tells whether a service that answers no live question is its worker processes.
func (h healthPlan) isWorkers() bool { return h.PIDFile != "" || h.Heartbeat != "" }

// hidden stands for a value that may be a secret.
const hidden = "***"

// makePlan is pure: what was asked for and what was found give what is to be done.
func makePlan(o options, f facts) (plan, error) {
	p := plan{
		Command:       o.command,
		Release:       f.release.Name,
		Layout:        f.layout,
		Identity:      f.identity,
		Environment:   []variable{},
		Unset:         f.release.Unset,
		Steps:         []process{},
		Services:      []servicePlan{},
		GracePeriod:   o.grace.String(),
		StopDelay:     o.stopDelay.String(),
		LiveThreshold: o.liveThreshold.String(),
		Restart:       restartPlan{supervise.Policy(o.restart), o.restartLimit},
		SuccessExit:   o.successExit,
		Signals:       planSignals(o),
		Findings:      []*finding{},
		drops:         f.identity.UID != f.self.UID || f.identity.GID != f.self.GID,
		grace:         o.grace,
		stopDelay:     o.stopDelay,
		liveThreshold: o.liveThreshold,
	}
	if o.command == "run" {
		err := p.planProgram(o, f)
		p.planHTTP(o, f)
		for _, one := range judgeHealthListen(circumstances{o, f, &p}) {
			p.Findings = append(p.Findings, one.of("health-listen"))
		}
		for _, name := range o.unknown {
			p.Findings = append(p.Findings, strayTwin(name))
		}
		p.originate(o, f)
		return p, err
	}
	var tempDirErr error
	if len(f.tempDirs) > 0 { // else the survey has said why there is none
		p.TempDir, p.tempDirWarnings, tempDirErr = chooseTempDir(f.tempDirs)
		if tempDirErr != nil {
			p.TempDir = tempDir{}
		}
	}
	p.OpenFiles = saneOpenFiles(f.openFiles, f.openFilesMax)
	p.environment(o, f)
	if p.TempDir.Path != "" {
		p.Directories = []prepare.Dir{tempDirectory(p.TempDir)}
	}
	planIt := p.planVerb
	if o.command == "all" {
		planIt = p.planAll
	}
	err := merged(tempDirErr, planIt(o, f))
	p.planHTTP(o, f)
	if verb, _ := f.release.Verb(o.command); !verb.Interactive { // who looks for a fault must get in
		p.planTidying(o, f)
		p.Findings = judge(circumstances{o, f, &p})
	}
	p.originate(o, f)
	return p, err
}

// drop keeps signals from being handed on, but for those of which the user has said what becomes.
func (s *signalPlan) drop(signals []syscall.Signal) {
	for _, sig := range signals {
		if _, said := s.rewrite[sig]; said {
			continue
		}
		if s.Rewrite == nil {
			s.Rewrite, s.rewrite = map[string]string{}, map[syscall.Signal]syscall.Signal{}
		}
		s.Rewrite[signalName(sig)], s.rewrite[sig] = "", 0
	}
}

func planSignals(o options) signalPlan {
	s := signalPlan{Group: o.signalGroup, rewrite: maps.Clone(o.rewrite)}
	for from, to := range o.rewrite {
		if s.Rewrite == nil {
			s.Rewrite = map[string]string{}
		}
		s.Rewrite[signalName(from)] = ""
		if to != 0 {
			s.Rewrite[signalName(from)] = signalName(to)
		}
	}
	return s
}
