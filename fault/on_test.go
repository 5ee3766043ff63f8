//go:build faultinject

package fault_test

import (
	"fmt"
	"testing"

	"batpak/fault"
)

func TestHookAsksItsInjector(t *testing.T) {
	if !fault.Enabled {
		t.Error("Enabled = false under the build tag")
	}
	hook := fault.NewHook(fault.Always(fault.GroupSynced, nil))
	if err := hook.Hit(fault.Site{Point: fault.GroupSynced}); err != fault.ErrInjected {
		t.Errorf("Hit = %v, want %v", err, fault.ErrInjected)
	}
	if err := fault.NewHook(nil).Hit(fault.Site{Point: fault.GroupSynced}); err != nil {
		t.Errorf("Hit = %v, want nil", err)
	}
}

func Example() {
	hook := fault.NewHook(fault.At(fault.GroupWritten, 2, nil)) // the store's constructor does this

	for seq := uint64(1); seq <= 3; seq++ {
		err := hook.Hit(fault.Site{Point: fault.GroupWritten, Segment: 1, Seq: seq})
		fmt.Println(seq, err)
	}
	// Output:
	// 1 <nil>
	// 2 fault: injected
	// 3 <nil>
}
