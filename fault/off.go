//go:build !faultinject

package fault

// Enabled says whether this build can inject faults.
const Enabled = false

// A Hook is where production code meets an injector. In this build it is empty: the zero Hook is the only
// one, and it takes no room in a struct unless it is the last field.
type Hook struct{}

// Hit returns nil.
func (Hook) Hit(Site) error { return nil }
