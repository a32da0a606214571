package main

import (
	"math"
	"testing"
	"time"
)

func TestABoundThatMustHoldIsAnErrorWhenItDoesNot(t *testing.T) {
	order := []topic{{name: "x"}}
	for _, tt := range []struct {
		bound bound
		fault bool
	}{
		{bound{value: 29.9, limit: 30, atLeast: true, must: true}, true},
		{bound{value: 30, limit: 30, atLeast: true, must: true}, false},
		{bound{value: 5.1, limit: 5, must: true}, true},
		{bound{value: 5, limit: 5, must: true}, false},
		{bound{value: 5.1, limit: 5}, false},
		{bound{value: math.NaN(), limit: 5, must: true}, false},
	} {
		if err := faultsOf(order, map[string]finding{"x": {bounds: []bound{tt.bound}}}); (err != nil) != tt.fault {
			t.Errorf("%+v: %v", tt.bound, err)
		}
	}
}

func TestALowerBoundCanHoldButNotFail(t *testing.T) {
	for _, tt := range []struct {
		script, binary time.Duration
		lacking        []string
		own, fault     bool
	}{
		{31, 3, nil, true, false},
		{29, 3, nil, true, true},
		{31, 2, nil, true, true},
		{29, 2, []string{"yaml"}, false, false},
		{31, 3, []string{"yaml"}, false, false},
	} {
		all := []*runner{{}, {cpu: samples{1}}, {cpu: samples{tt.binary}}, {cpu: samples{tt.script}}}
		b := &bed{lacking: tt.lacking}
		err := faultsOf([]topic{{name: "x"}}, map[string]finding{"x": {bounds: b.healthBounds(all, tt.own)}})
		if (err != nil) != tt.fault {
			t.Errorf("%+v: %v", tt, err)
		}
	}
}
