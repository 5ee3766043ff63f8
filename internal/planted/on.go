//go:build planted

package planted

import "sync/atomic"

// Enabled says whether this build holds the bugs.
const Enabled = true

var on [bugEnd]atomic.Bool

// On reports whether b is switched on.
func On(b Bug) bool { return on[b].Load() }

// Set switches b on or off. Safe for concurrent use; tests that use it do not run in parallel.
func Set(b Bug, to bool) { on[b].Store(to) }
