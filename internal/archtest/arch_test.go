package archtest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// module is the path that go.mod declares.
const module = "batpak"

// root is the module's directory as tests of this package see it.
const root = "../.."

func TestArchitecture(t *testing.T) {
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil || !strings.HasPrefix(string(mod), "module "+module+"\n") {
		t.Fatalf("go.mod does not declare %s: %v", module, err)
	}
	r, err := check(root, module)
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range r.problems {
		t.Error(problem)
	}
	if r.files < 20 || r.funcs < 200 {
		t.Errorf("only %d files with %d functions were looked at", r.files, r.funcs)
	}
	t.Logf("%d files, %d functions; %d of production have more than %d lines (limit %d):", r.files, r.funcs, len(r.long), aimFunction, maxFunction)
	for _, long := range r.long {
		t.Log(long)
	}
}

// write makes a tree of files below a temporary directory.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		name = filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// goodTree breaks no rule, and comes close to several.
var goodTree = map[string]string{
	"store.go": `// Package batpak is the root.
package batpak

import (
	"m/coldstart"
	"m/event"
	"m/fault"
	"m/internal/vfs"
)

// Open opens. A TODO(#7) with its number.
func Open() event.ID { coldstart.Open(); vfs.Open(); fault.Hit(); return event.ID{} }

// Of a group.
const (
	A = iota
	B
)

var C = 1 // of one line

type hidden struct{}

func (hidden) Exported() {}

// T is exported.
type T[K any] struct{}

func (T[K]) String() string { return "" }
`,
	"store_test.go":             "package batpak_test\n\nimport (\n\t\"os\"\n\t\"testing\"\n)\n\nfunc TestX(t *testing.T) { os.Getpid(); _ = \".fbat\" }\n",
	"coldstart/c.go":            "// Package coldstart is one.\npackage coldstart\n\nimport (\n\t_ \"m/index\"\n\t_ \"m/segment\"\n\t_ \"os\"\n)\n\n// Open opens.\nfunc Open() {}\n",
	"index/i.go":                "// Package index is one.\npackage index\n\nimport _ \"m/segment\"\n",
	"segment/s.go":              "// Package segment is one.\npackage segment\n\nimport (\n\t_ \"m/coordinate\"\n\t_ \"m/event\"\n\t_ \"m/internal/vfs\"\n)\n",
	"event/e.go":                "// Package event is one.\npackage event\n\nimport (\n\t_ \"m/coordinate\"\n\t_ \"m/internal/wire\"\n)\n\n// ID is one.\ntype ID struct{}\n",
	"coordinate/c.go":           "// Package coordinate is one.\npackage coordinate\n",
	"fault/f.go":                "// Package fault is one.\npackage fault\n\n// Hit hits.\nfunc Hit() {}\n",
	"internal/vfs/v.go":         "// Package vfs is one.\npackage vfs\n\nimport (\n\t_ \"m/event\"\n\t_ \"m/fault\"\n\t_ \"m/internal/wire\"\n)\n\n// Open opens.\nfunc Open() {}\n",
	"internal/wire/w.go":        "// Package wire is one.\npackage wire\n",
	"cmd/tool/main.go":          "package main\n\nimport (\n\t_ \"m\"\n\t_ \"m/coldstart\"\n)\n\nfunc main() {}\n\nfunc Exported() {}\n",
	"testdata/bad.go":           "package testdata\n\nimport _ \"testing\"\n",
	".hidden/bad.go":            "package hidden\n\nimport _ \"testing\"\n",
	"index/long_test.go":        "package index\n\nfunc long() {\n" + strings.Repeat("\t_ = 1\n", 100) + "}\n",
	"segment/seventy.go":        "package segment\n\nfunc seventy() {\n" + strings.Repeat("\t_ = 1\n", maxFunction-2) + "}\n",
	"segment/sixhundred.go":     "package segment\n" + strings.Repeat("//\n", maxFile-1),
	"internal/wire/wire_ext.go": "package wire\n\n// Todo is a word; TODOs are not.\nvar Todo int\n",
}

func TestRulesAcceptAGoodTree(t *testing.T) {
	r, err := check(write(t, goodTree), "m")
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range r.problems {
		t.Errorf("good tree: %s", problem)
	}
	if len(r.long) != 1 {
		t.Errorf("long functions %v, want the one of %d lines", r.long, maxFunction)
	}
}

// Every rule can fail: each case adds one file to the good tree and expects exactly one complaint.
func TestRulesRefuseABadTree(t *testing.T) {
	for _, tt := range []struct{ name, file, text, want string }{
		{"upward import", "segment/x.go", "package segment\n\nimport _ \"m/index\"\n", "level 3 is not below 2"},
		{"sibling import", "hidden/x.go", "package hidden\n\nimport _ \"m/segment\"\n", "level 2 is not below 2"},
		{"sibling at the bottom", "coordinate/x.go", "package coordinate\n\nimport _ \"m/fault\"\n", "level 0 is not below 0"},
		{"import of the root", "coldstart/x.go", "package coldstart\n\nimport _ \"m\"\n", "level 5 is not below 4"},
		{"import of a command", "x.go", "package batpak\n\nimport _ \"m/cmd/tool\"\n", "level 6 is not below 5"},
		{"fault imports", "fault/x.go", "package fault\n\nimport _ \"m/internal/wire\"\n", "fault imports nothing"},
		{"internal looks up", "internal/vfs/x.go", "package vfs\n\nimport _ \"m/segment\"\n", "internal packages import only"},
		{"package without a level", "util/x.go", "package util\n", "no level"},
		{"import of a package without a level", "x.go", "package batpak\n\nimport _ \"m/segment/inner\"\n", "no level"},
		{"binary in the root", "x.go", "package batpak\n\nimport _ \"encoding/binary\"\n", "the root imports encoding/binary"},
		{"crc32 in the root", "x.go", "package batpak\n\nimport _ \"hash/crc32\"\n", "the root imports hash/crc32"},
		{"os in the root", "x.go", "package batpak\n\nimport _ \"os\"\n", "the root imports os"},
		{"unsafe in the root", "x.go", "package batpak\n\nimport _ \"unsafe\"\n", "the root imports unsafe"},
		{"syscall in the root", "x.go", "package batpak\n\nimport _ \"syscall\"\n", "the root imports syscall"},
		{"file name in the root", "x.go", "package batpak\n\nconst x = \"1.fbat\"\n", "the root names"},
		{"magic in the root", "x.go", "package batpak\n\nvar x = []byte(`BATPAKSG`)\n", "the root names"},
		{"alias", "event/x.go", "package event\n\ntype x = int\n", "x is an alias"},
		{"alias inside a function", "event/x.go", "package event\n\nfunc f() {\n\ttype x = int\n}\n", "x is an alias"},
		{"long function", "event/x.go", "package event\n\nfunc f() {\n" + strings.Repeat("\t_ = 1\n", maxFunction-1) + "}\n", "f has 71 lines"},
		{"long file", "event/x.go", "package event\n" + strings.Repeat("//\n", maxFile), "601 lines"},
		{"long test file", "event/x_test.go", "package event\n" + strings.Repeat("//\n", maxFile), "601 lines"},
		{"testing in production", "event/x.go", "package event\n\nimport _ \"testing\"\n", "imports testing"},
		{"synctest in production", "event/x.go", "package event\n\nimport _ \"testing/synctest\"\n", "imports testing/synctest"},
		{"quiet skip", "event/x_test.go", "package event\n\nimport \"testing\"\n\nfunc f(t *testing.T) { t.Skip(\"no\") }\n", "NOT TESTED"},
		{"skip without a word", "event/x_test.go", "package event\n\nimport \"testing\"\n\nfunc f(t *testing.T) { t.SkipNow() }\n", "NOT TESTED"},
		{"sleep in a test", "event/x_test.go", "package event\n\nimport \"time\"\n\nfunc f() { time.Sleep(1) }\n", "a test sleeps"},
		{"function without comment", "event/x.go", "package event\n\nfunc F() {}\n", "F has no comment"},
		{"method without comment", "event/x.go", "package event\n\nfunc (ID) F() {}\n", "F has no comment"},
		{"pointer method without comment", "event/x.go", "package event\n\nfunc (*ID) F() {}\n", "F has no comment"},
		{"type without comment", "event/x.go", "package event\n\ntype X int\n", "X has no comment"},
		{"constant without comment", "event/x.go", "package event\n\nconst X = 1\n", "X has no comment"},
		{"variable without comment", "event/x.go", "package event\n\nvar (\n\tX = 1\n)\n", "X has no comment"},
		{"hook for tests", "event/x.go", "package event\n\nvar pauseForTesting bool\n", "is a hook for tests"},
		{"field for tests", "event/x.go", "package event\n\ntype x struct{ testingOnlyPause bool }\n", "is a hook for tests"},
		{"work left over", "event/x.go", "package event\n\n// TODO: later\n", "TODO without an issue number"},
		{"work left over in a test", "event/x_test.go", "package event\n\n// FIXME(me): later\n", "FIXME without an issue number"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tree := map[string]string{tt.file: tt.text}
			for name, text := range goodTree {
				tree[name] = text
			}
			r, err := check(write(t, tree), "m")
			if err != nil {
				t.Fatal(err)
			}
			if len(r.problems) != 1 || !strings.Contains(r.problems[0], tt.want) || !strings.HasPrefix(r.problems[0], tt.file) {
				t.Errorf("problems %q, want one about %q in %s", r.problems, tt.want, tt.file)
			}
		})
	}
}

func TestSourceThatDoesNotParseIsAnError(t *testing.T) {
	if _, err := check(write(t, map[string]string{"x.go": "package"}), "m"); err == nil {
		t.Error("check accepts a file that does not parse")
	}
}

// The levels are those of the design, and every package that is there has one.
func TestEveryPackageHasALevel(t *testing.T) {
	files, err := load(root)
	if err != nil {
		t.Fatal(err)
	}
	var seen []string
	for _, f := range files {
		if _, known := levelOf(f.pkg); !known {
			t.Errorf("package %q has no level", f.pkg)
		}
		if !slices.Contains(seen, f.pkg) {
			seen = append(seen, f.pkg)
		}
	}
	for _, pkg := range []string{"", "coordinate", "event", "fault", "segment", "index", "coldstart", "hidden", "idemp", "internal/vfs"} {
		if !slices.Contains(seen, pkg) {
			t.Errorf("package %q was not looked at", pkg)
		}
	}
}
