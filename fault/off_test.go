//go:build !faultinject

package fault_test

import (
	"testing"
	"unsafe"

	"batpak/fault"
)

func TestHookTakesNoRoom(t *testing.T) {
	if fault.Enabled {
		t.Error("Enabled = true without the build tag")
	}
	if size := unsafe.Sizeof(fault.Hook{}); size != 0 {
		t.Errorf("Sizeof(Hook) = %d, want 0", size)
	}
	type without struct{ a, b uint64 }
	type with struct {
		a    uint64
		hook fault.Hook
		b    uint64
	}
	if got, want := unsafe.Sizeof(with{a: 1, hook: fault.Hook{}, b: 2}), unsafe.Sizeof(without{a: 1, b: 2}); got != want {
		t.Errorf("Sizeof(struct with Hook) = %d, want %d", got, want)
	}
}

func TestHitAllocatesNothing(t *testing.T) {
	var hook fault.Hook
	if n := testing.AllocsPerRun(100, func() { _ = hook.Hit(fault.Site{Point: fault.GroupSynced, Seq: 7}) }); n != 0 {
		t.Errorf("Hit allocates %v times, want 0", n)
	}
}
