package fault_test

import (
	"errors"
	"testing"

	"batpak/fault"
)

func TestPointsHaveNames(t *testing.T) {
	points := fault.Points()
	if len(points) != 25 {
		t.Errorf("len(Points()) = %d, want 25", len(points))
	}
	seen := map[string]bool{}
	for _, p := range points {
		if name := p.String(); name == "" || seen[name] {
			t.Errorf("Point(%d).String() = %q, want a name of its own", p, name)
		} else {
			seen[name] = true
		}
	}
	for _, p := range []fault.Point{0, 26, 255} {
		if got := p.String(); got[:6] != "Point(" {
			t.Errorf("String() = %q of a point that is none", got)
		}
	}
}

func TestInjectors(t *testing.T) {
	own := errors.New("own")
	for _, tt := range []struct {
		name     string
		injector fault.Injector
		want     []error // of three arrivals at GroupSynced
	}{
		{"first", fault.At(fault.GroupSynced, 1, nil), []error{fault.ErrInjected, nil, nil}},
		{"second", fault.At(fault.GroupSynced, 2, own), []error{nil, own, nil}},
		{"never", fault.At(fault.GroupSynced, 0, own), []error{nil, nil, nil}},
		{"elsewhere", fault.At(fault.StoreClosed, 1, own), []error{nil, nil, nil}},
		{"always", fault.Always(fault.GroupSynced, nil), []error{fault.ErrInjected, fault.ErrInjected, fault.ErrInjected}},
		{"always elsewhere", fault.Always(fault.StoreClosed, own), []error{nil, nil, nil}},
		{"counter", &fault.Counter{}, []error{nil, nil, nil}},
		{"counter passes on", &fault.Counter{Next: fault.At(fault.GroupSynced, 3, own)}, []error{nil, nil, own}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for i, want := range tt.want {
				if got := tt.injector.Hit(fault.Site{Point: fault.GroupSynced}); got != want {
					t.Errorf("arrival %d: Hit = %v, want %v", i+1, got, want)
				}
			}
		})
	}
}

func TestCounter(t *testing.T) {
	var c fault.Counter
	for range 2 {
		_ = c.Hit(fault.Site{Point: fault.GroupWritten})
	}
	_ = c.Hit(fault.Site{Point: 200})
	if got := c.Count(fault.GroupWritten); got != 2 {
		t.Errorf("Count(GroupWritten) = %d, want 2", got)
	}
	if got := c.Count(fault.GroupSynced); got != 0 {
		t.Errorf("Count(GroupSynced) = %d, want 0", got)
	}
	if got := c.Count(200); got != 0 {
		t.Errorf("Count(200) = %d, want 0", got)
	}
	if got := c.Total(); got != 3 {
		t.Errorf("Total() = %d, want 3", got)
	}
}

func TestZeroHookDoesNothing(t *testing.T) {
	var hook fault.Hook
	if err := hook.Hit(fault.Site{Point: fault.GroupSynced}); err != nil {
		t.Errorf("Hit = %v, want nil", err)
	}
}
