package batpak_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestSizedTests prints which tests do more where BATPAK_SUBMIT is set: those whose code, or what that calls, asks for the
// size. Before a change is taken .ci/run runs them again, with it, and those alone: to all others it makes no difference.
func TestSizedTests(t *testing.T) {
	found := sizedTests(t)
	for _, name := range []string{"TestCrashStatesLong", "TestFailedOps", "TestBitFlips", "TestKilledProcess", "TestModel"} {
		if !slices.Contains(found, name) {
			t.Errorf("%s is not among those found: %q", name, found)
		}
	}
	for _, name := range []string{"TestSizedTests", "TestWriteWeaknesses", "TestStrictestSyncOfAGroupWins"} {
		if slices.Contains(found, name) {
			t.Errorf("%s asks for no size", name)
		}
	}
	t.Logf("sized: ^(%s)$", strings.Join(found, "|"))
}

// TestSizesAreAskedForHere: no other package has sizes, since .ci/run would not know of its tests.
func TestSizesAreAskedForHere(t *testing.T) {
	err := filepath.WalkDir(".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || filepath.Dir(path) == "." {
			return err
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte("BATPAK_SUBMIT")) {
			t.Errorf("%s asks for BATPAK_SUBMIT", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// sizedTests returns the tests that reach submit.
func sizedTests(t *testing.T) (names []string) {
	t.Helper()
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	uses := map[string][]string{} // by function: the names in it
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok {
				uses[f.Name.Name] = append(uses[f.Name.Name], namesIn(f)...)
			}
		}
	}
	asks := map[string]bool{"submit": true}
	for before := 0; before < len(asks); {
		before = len(asks)
		for name, in := range uses {
			if slices.ContainsFunc(in, func(used string) bool { return asks[used] }) {
				asks[name] = true
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(asks)) {
		if strings.HasPrefix(name, "Test") {
			names = append(names, name)
		}
	}
	return names
}

func namesIn(f *ast.FuncDecl) (names []string) {
	ast.Inspect(f.Body, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok {
			names = append(names, id.Name)
		}
		return true
	})
	return names
}
