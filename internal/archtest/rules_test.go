package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// level orders the packages: one may import only packages of a lower level, so siblings never import each other.
var level = map[string]int{
	"": 5, "coldstart": 4, "index": 3, "segment": 2, "hidden": 2, "idemp": 2, "event": 1, "coordinate": 0, "fault": 0,
}

const (
	toolLevel = 6 // cmd, examples and the module bench stand above the root

	maxFunction = 70  // lines
	aimFunction = 40  // lines; longer ones are counted
	maxFile     = 600 // lines
)

// The root asks lower packages for everything that these are for.
var (
	rootImports = []string{"encoding/binary", "hash/crc32", "os", "syscall", "unsafe"}
	rootStrings = []string{".fbat", ".fbcat", ".ckpt", ".idemp", ".fbv", ".lock", "store.meta", "BATPAK", "SIDX"}
)

// A file is one parsed Go file of the module.
type file struct {
	name string // slash-separated, from the module's root
	pkg  string // its directory; "" for the root
	test bool
	set  *token.FileSet
	tree *ast.File
}

// at returns "name:line" of a node.
func (f *file) at(n ast.Node) string {
	return fmt.Sprintf("%s:%d", f.name, f.set.Position(n.Pos()).Line)
}

// lines returns how many lines a node takes.
func (f *file) lines(n ast.Node) int {
	return f.set.Position(n.End()).Line - f.set.Position(n.Pos()).Line + 1
}

// load parses every Go file below root.
func load(root string) (files []*file, err error) {
	err = filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if base := d.Name(); name != root && (base == "testdata" || strings.HasPrefix(base, ".")) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		f := &file{name: rel, pkg: path.Dir(rel), test: strings.HasSuffix(rel, "_test.go"), set: token.NewFileSet()}
		if f.pkg == "." {
			f.pkg = ""
		}
		f.tree, err = parser.ParseFile(f.set, name, nil, parser.ParseComments|parser.SkipObjectResolution)
		files = append(files, f)
		return err
	})
	return files, err
}

// A report is what the rules say about a tree.
type report struct {
	problems []string
	files    int
	funcs    int
	long     []string // functions beyond the aim, within the limit
}

func (r *report) add(at, format string, args ...any) {
	r.problems = append(r.problems, at+": "+fmt.Sprintf(format, args...))
}

// check applies every rule to the module below root.
func check(root, module string) (*report, error) {
	files, err := load(root)
	if err != nil {
		return nil, err
	}
	r := &report{files: len(files)}
	for _, f := range files {
		r.checkImports(f, module)
		r.checkLengths(f)
		r.checkComments(f)
		if f.test {
			r.checkSleep(f)
			r.checkSkip(f)
			continue
		}
		r.checkTypes(f)
		r.checkNames(f)
		if f.tree.Name.Name != "main" {
			r.checkDocs(f)
		}
		if f.pkg == "" {
			r.checkRootStrings(f)
		}
	}
	slices.Sort(r.problems)
	return r, nil
}

// checkImports: arrows only point down.
func (r *report) checkImports(f *file, module string) {
	if f.test {
		return // tests may look at everything
	}
	for _, spec := range f.tree.Imports {
		imported, _ := strconv.Unquote(spec.Path.Value)
		if imported == "testing" || strings.HasPrefix(imported, "testing/") {
			r.add(f.at(spec), "production code imports %s", imported)
		}
		if f.pkg == "" && slices.Contains(rootImports, imported) {
			r.add(f.at(spec), "the root imports %s: a lower package lacks a function", imported)
		}
		target, ours := strings.CutPrefix(imported, module+"/")
		if !ours && imported != module {
			continue
		}
		if imported == module {
			target = ""
		}
		if reason := forbidden(f.pkg, target); reason != "" {
			r.add(f.at(spec), "package %q imports %q: %s", f.pkg, target, reason)
		}
	}
	if _, known := levelOf(f.pkg); !known {
		r.add(f.name, "package %q has no level", f.pkg)
	}
}

// levelOf returns the level of a package; internal ones have none of their own and are known.
func levelOf(pkg string) (n int, known bool) {
	switch top, _, _ := strings.Cut(pkg, "/"); top {
	case "cmd", "examples", "bench":
		return toolLevel, true
	case "internal":
		return 0, true
	}
	n, known = level[pkg]
	return n, known
}

// forbidden says why a package may not import another one of the module, or "".
func forbidden(from, to string) string {
	internal := func(pkg string) bool { return strings.HasPrefix(pkg, "internal/") }
	a, _ := levelOf(from)
	b, known := levelOf(to)
	switch {
	case from == "fault":
		return "fault imports nothing"
	case internal(to):
		return ""
	case !known:
		return "it has no level"
	case internal(from):
		if to == "event" || to == "coordinate" || to == "fault" {
			return ""
		}
		return "internal packages import only event, coordinate and fault"
	case b >= a:
		return fmt.Sprintf("level %d is not below %d", b, a)
	}
	return ""
}

// checkLengths: what does not fit on a page is two things.
func (r *report) checkLengths(f *file) {
	if n := f.set.File(f.tree.Pos()).LineCount(); n > maxFile {
		r.add(f.name, "%d lines, at most %d", n, maxFile)
	}
	for _, d := range f.tree.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		r.funcs++
		switch n := f.lines(fn); {
		case n > maxFunction && !f.test:
			r.add(f.at(fn), "%s has %d lines, at most %d", fn.Name.Name, n, maxFunction)
		case n > aimFunction && !f.test:
			r.long = append(r.long, fmt.Sprintf("%s: %s has %d lines", f.at(fn), fn.Name.Name, n))
		}
	}
}

var todo = regexp.MustCompile(`\b(TODO|FIXME|XXX)\b(\(#[0-9]+\))?`)

// checkComments: what is left to do has an issue.
func (r *report) checkComments(f *file) {
	for _, group := range f.tree.Comments {
		for _, c := range group.List {
			if m := todo.FindStringSubmatch(c.Text); m != nil && m[2] == "" {
				r.add(f.at(c), "%s without an issue number, want %s(#123)", m[1], m[1])
			}
		}
	}
}

// checkSleep: tests wait for events, not for time.
func (r *report) checkSleep(f *file) {
	ast.Inspect(f.tree, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok && sel.Sel.Name == "Sleep" {
			if pkg, ok := sel.X.(*ast.Ident); ok && pkg.Name == "time" {
				r.add(f.at(sel), "a test sleeps")
			}
		}
		return true
	})
}

// checkSkip: a test that skips itself says what was not tested.
func (r *report) checkSkip(f *file) {
	ast.Inspect(f.tree, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		sel, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		on, _ := sel.X.(*ast.Ident)
		switch tester := on != nil && (on.Name == "t" || on.Name == "b" || on.Name == "f"); {
		case !tester:
		case sel.Sel.Name == "SkipNow", (sel.Sel.Name == "Skip" || sel.Sel.Name == "Skipf") && !saysNotTested(call):
			r.add(f.at(call), "a test skips itself without a reason that begins with NOT TESTED")
		}
		return true
	})
}

// saysNotTested reports whether the text that a call begins with does.
func saysNotTested(call *ast.CallExpr) bool {
	if len(call.Args) == 0 {
		return false
	}
	arg := call.Args[0]
	for {
		sum, ok := arg.(*ast.BinaryExpr)
		if !ok {
			break
		}
		arg = sum.X
	}
	text, ok := arg.(*ast.BasicLit)
	return ok && strings.HasPrefix(text.Value, `"NOT TESTED`)
}

// checkTypes: one name for one type.
func (r *report) checkTypes(f *file) {
	ast.Inspect(f.tree, func(n ast.Node) bool {
		if spec, ok := n.(*ast.TypeSpec); ok && spec.Assign.IsValid() {
			r.add(f.at(spec), "type %s is an alias", spec.Name.Name)
		}
		return true
	})
}

// checkNames: production code has no door for tests.
func (r *report) checkNames(f *file) {
	ast.Inspect(f.tree, func(n ast.Node) bool {
		id, ok := n.(*ast.Ident)
		if ok && (strings.Contains(id.Name, "ForTest") || strings.HasPrefix(id.Name, "testing") && id.Name != "testing") {
			r.add(f.at(id), "%s is a hook for tests", id.Name)
		}
		return true
	})
}

// checkRootStrings: the root knows no file name and no magic.
func (r *report) checkRootStrings(f *file) {
	ast.Inspect(f.tree, func(n ast.Node) bool {
		lit, ok := n.(*ast.BasicLit)
		if !ok || lit.Kind != token.STRING {
			return true
		}
		for _, s := range rootStrings {
			if strings.Contains(lit.Value, s) {
				r.add(f.at(lit), "the root names %q", s)
			}
		}
		return true
	})
}

// byInterface are methods whose meaning an interface of the standard library tells.
var byInterface = []string{"Error", "String"}

// checkDocs: every exported name says what it is.
func (r *report) checkDocs(f *file) {
	for _, d := range f.tree.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Doc == nil && d.Name.IsExported() && !slices.Contains(byInterface, d.Name.Name) && exportedReceiver(d) {
				r.add(f.at(d), "%s has no comment", d.Name.Name)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				r.checkSpec(f, d, spec)
			}
		}
	}
}

func (r *report) checkSpec(f *file, d *ast.GenDecl, spec ast.Spec) {
	switch s := spec.(type) {
	case *ast.TypeSpec:
		if s.Name.IsExported() && d.Doc == nil && s.Doc == nil {
			r.add(f.at(s), "%s has no comment", s.Name.Name)
		}
	case *ast.ValueSpec:
		for _, name := range s.Names {
			if name.IsExported() && d.Doc == nil && s.Doc == nil && s.Comment == nil {
				r.add(f.at(name), "%s has no comment", name.Name)
			}
		}
	}
}

// exportedReceiver reports whether d is a function, or a method of an exported type.
func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	t := d.Recv.List[0].Type
	if star, ok := t.(*ast.StarExpr); ok {
		t = star.X
	}
	if generic, ok := t.(*ast.IndexExpr); ok {
		t = generic.X
	}
	name, ok := t.(*ast.Ident)
	return ok && name.IsExported()
}
