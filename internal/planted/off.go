//go:build !planted

package planted

// Enabled says whether this build holds the bugs.
const Enabled = false

// On returns false: this build has none of the bugs.
func On(Bug) bool { return false }
