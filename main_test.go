package batpak_test

import (
	"runtime/debug"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// Hundreds of thousands of small stores come and go: a heap of a few megabytes is collected all the time.
	debug.SetGCPercent(800)
	goleak.VerifyTestMain(m) // a closed store leaves no goroutine behind
}
