package batpak_test

import (
	"os"
	"runtime/debug"
	"testing"
)

func TestMain(m *testing.M) {
	// Hundreds of thousands of small stores come and go: a heap of a few megabytes is collected all the time.
	debug.SetGCPercent(800)
	os.Exit(m.Run())
}
