package health

import (
	"strings"
	"testing"
	"time"
)

// look is what is to be seen at one moment.
type look struct {
	at   time.Duration
	all  []Process
	want string // a part of what is said; empty: nothing is wrong
}

func TestFamilyOverTime(t *testing.T) {
	main := Process{PID: 10, Parent: 1, Age: time.Hour, CatchesTERM: true}
	booting := Process{PID: 10, Parent: 1, Age: time.Hour}
	backend := func(pid int, age time.Duration) Process { return Process{PID: pid, Parent: 10, Age: age} }
	worker := Process{PID: 30, Parent: 20, Age: time.Second}
	stopped := Process{PID: 31, Parent: 10, Age: time.Hour, Stopped: true}
	zombie := Process{PID: 32, Parent: 10, Age: time.Hour, Zombie: true} // of the same age as what lives
	tests := []struct {
		name   string
		family Family
		looks  []look
	}{
		{"a server that boots", Family{Backend: "gunicorn"}, []look{
			{0, []Process{main}, "no gunicorn"},
			{time.Second, []Process{main, backend(20, time.Second), worker}, ""},
			{30 * time.Second, []Process{main, backend(20, 30*time.Second), worker}, ""},
		}},
		{"masters that come and go", Family{Backend: "gunicorn"}, []look{
			{0, []Process{main, backend(20, time.Second)}, ""},
			{10 * time.Second, []Process{main, backend(21, time.Second)}, ""},
			{20 * time.Second, []Process{main, backend(22, time.Second)}, "3 of them seen in 20s"},
			{30 * time.Second, []Process{main}, "3 of them"},
			{40 * time.Second, []Process{main, backend(23, 2*time.Second)}, "4 of them seen in 40s"},
			{60 * time.Second, []Process{main, backend(23, 22*time.Second)}, ""},
			{61 * time.Second, []Process{main, backend(24, time.Second)}, ""},
		}},
		{"masters that wait 30 s for their database each, and are asked for every 30 s", Family{Backend: "gunicorn"}, []look{
			{0, []Process{main, backend(20, 9*time.Second)}, ""},
			{30 * time.Second, []Process{main, backend(21, 8*time.Second)}, ""},
			{60 * time.Second, []Process{main, backend(22, 7*time.Second)}, ""},
			{90 * time.Second, []Process{main, backend(23, 6*time.Second)}, ""},
		}},
		{"a reload: the new master is another's child when the old one ends", Family{Backend: "gunicorn"}, []look{
			{0, []Process{main, backend(20, time.Hour)}, ""},
			{time.Second, []Process{main, backend(20, time.Hour), {PID: 21, Parent: 20, Age: time.Second}}, ""},
			{2 * time.Second, []Process{main, {PID: 21, Parent: 1, Age: 2 * time.Second}}, ""},
			{time.Hour, []Process{main, {PID: 21, Parent: 1, Age: time.Hour}}, ""},
		}},
		{"a master that is gone for good", Family{Backend: "gunicorn"}, []look{
			{0, []Process{main, backend(20, time.Hour)}, ""},
			{time.Second, []Process{main}, "no gunicorn"},
			{2 * time.Second, []Process{main, {PID: 20, Parent: 10, Zombie: true}}, "no gunicorn"},
		}},
		{"workers that are not there yet, and then not any more", Family{Workers: true}, []look{
			{0, []Process{main}, ""},
			{time.Second, []Process{main, backend(20, time.Second)}, ""},
			{2 * time.Second, []Process{main}, "no worker processes any more"},
		}},
		{"helpers of a main process that boots", Family{Workers: true}, []look{
			{0, []Process{booting, backend(20, time.Second)}, ""},
			{time.Second, []Process{booting}, ""},
			{time.Hour, []Process{main, backend(21, time.Second)}, ""},
		}},
		{"a main process that is started again", Family{Workers: true}, []look{
			{0, []Process{main, backend(20, time.Hour), zombie}, ""},
			{time.Second, []Process{{PID: 11, CatchesTERM: true}}, ""},
			{9 * time.Second, []Process{{PID: 11, CatchesTERM: true}, {PID: 21, Parent: 11, Age: time.Hour}, {PID: 32, Parent: 11, Zombie: true}}, ""},
			{10 * time.Second, []Process{{PID: 11, CatchesTERM: true}, {PID: 21, Parent: 11, Age: time.Hour}, {PID: 32, Parent: 11, Zombie: true}}, ""},
		}},
		{"a server that is started again, with a gunicorn of its own", Family{Backend: "gunicorn"}, []look{
			{0, []Process{main, backend(20, time.Second)}, ""},
			{time.Second, []Process{main, backend(21, time.Second)}, ""},
			{2 * time.Second, []Process{{PID: 11}, {PID: 22, Parent: 11, Age: time.Second}}, ""},
		}},
		{"a HUP: the same main process boots anew, and never reaps the forks it had", Family{Workers: true}, []look{
			{0, []Process{main, backend(20, time.Hour), backend(32, time.Hour)}, ""},
			{time.Second, []Process{booting, zombie}, ""},
			{time.Minute, []Process{booting, zombie}, ""},
			{2 * time.Minute, []Process{main, zombie, backend(22, time.Minute), backend(23, time.Second)}, ""},
			{time.Hour, []Process{main, zombie, backend(22, time.Hour-time.Minute), backend(23, time.Hour-time.Minute)}, ""},
			{2 * time.Hour, []Process{main, zombie}, "no worker processes any more"},
		}},
		{"a stopped worker", Family{Workers: true}, []look{{0, []Process{main, stopped}, "process 31 is stopped"}}},
		{"several", Family{Workers: true}, []look{{0, []Process{main, stopped, stopped, stopped, stopped}, "4 processes (31, 31, 31 …) are stopped"}}},
		{"a main process that is stopped", Family{}, []look{{0, []Process{{PID: 10, Stopped: true}, stopped}, "main process, pid 10, is stopped"}}},
		{"a zombie for a moment, and one for good", Family{Workers: true}, []look{
			{0, []Process{main, backend(20, time.Hour), zombie}, ""},
			{9 * time.Second, []Process{main, backend(20, time.Hour), zombie}, ""},
			{10 * time.Second, []Process{main, backend(20, time.Hour), zombie}, "process 32 is dead"},
			{11 * time.Second, []Process{main, backend(20, time.Hour)}, ""},
			{21 * time.Second, []Process{main, backend(20, time.Hour), zombie}, ""},
		}},
		{"a zombie of a worker's own, deep below", Family{Workers: true}, []look{
			{0, []Process{main, backend(20, time.Hour), {PID: 33, Parent: 20, Zombie: true}}, ""},
			{time.Hour, []Process{main, backend(20, 2*time.Hour), {PID: 33, Parent: 20, Zombie: true}}, ""},
		}},
		{"a worker that gunicorn does not reap, and what a worker does not", Family{Backend: "gunicorn"}, []look{
			{0, []Process{main, backend(20, time.Hour), worker, {PID: 33, Parent: 30, Zombie: true}}, ""},
			{time.Hour, []Process{main, backend(20, time.Hour), worker, {PID: 33, Parent: 30, Zombie: true}, {PID: 31, Parent: 20, Zombie: true}}, ""},
			{time.Hour + unreaped, []Process{main, backend(20, time.Hour), worker, {PID: 33, Parent: 30, Zombie: true}, {PID: 31, Parent: 20, Zombie: true}}, "process 31 is dead"},
		}},
		{"a worker of the master that a reload has left to the init", Family{Backend: "gunicorn"}, []look{
			{0, []Process{main, {PID: 21, Parent: 1, Age: time.Hour}, {PID: 30, Parent: 21, Zombie: true}}, ""},
			{unreaped, []Process{main, {PID: 21, Parent: 1, Age: time.Hour}, {PID: 30, Parent: 21, Zombie: true}}, "process 30 is dead"},
		}},
		{"no /proc", Family{Backend: "gunicorn", Workers: true}, []look{{0, nil, ""}, {time.Hour, nil, ""}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			begin := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
			for _, l := range tt.looks {
				switch err := tt.family.Saw(begin.Add(l.at), l.all); {
				case err == nil && l.want != "":
					t.Errorf("after %s nothing is wrong, want %q", l.at, l.want)
				case err != nil && (l.want == "" || !strings.Contains(err.Error(), l.want)):
					t.Errorf("after %s: %v, want %q", l.at, err, l.want)
				}
			}
		})
	}
}
