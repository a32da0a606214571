package main

import (
	"math"
	"slices"
	"testing"
	"time"
)

func TestBoundsHold(t *testing.T) {
	for _, tt := range []struct {
		bound bound
		holds bool
	}{
		{bound{value: 29.9, limit: 30, atLeast: true}, false},
		{bound{value: 30, limit: 30, atLeast: true}, true},
		{bound{value: 5.1, limit: 5}, false},
		{bound{value: 5, limit: 5}, true},
		{bound{value: math.NaN(), limit: 5}, true},
	} {
		if holds := tt.bound.holds(); holds != tt.holds {
			t.Errorf("%+v: %t", tt.bound, holds)
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
		broken := slices.ContainsFunc(b.healthBounds(all, tt.own), func(b bound) bool { return !b.holds() })
		if broken != tt.fault {
			t.Errorf("%+v: broken %t", tt, broken)
		}
	}
}
