package index

import (
	"os"
	"testing"
)

// tempDir outlives single benchmarks; TestMain removes it.
var tempDir string

func mustTempDir(tb testing.TB) string {
	tb.Helper()
	var err error
	if tempDir, err = os.MkdirTemp("", "batpak-index"); err != nil {
		tb.Fatal(err)
	}
	return tempDir
}

func TestMain(m *testing.M) {
	code := m.Run()
	if tempDir != "" {
		os.RemoveAll(tempDir)
	}
	os.Exit(code)
}
