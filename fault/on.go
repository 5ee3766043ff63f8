//go:build faultinject

package fault

// Enabled says whether this build can inject faults.
const Enabled = true

// A Hook is where production code meets an injector. The zero Hook does nothing. It may be copied, and is
// as safe for concurrent use as its injector.
type Hook struct {
	injector Injector // nil: never fails
}

// NewHook returns a Hook that asks i, or does nothing when i is nil. It exists only under the build tag
// faultinject.
func NewHook(i Injector) Hook { return Hook{injector: i} }

// Hit asks the injector about s.
func (h Hook) Hit(s Site) error {
	if h.injector == nil {
		return nil
	}
	return h.injector.Hit(s)
}
