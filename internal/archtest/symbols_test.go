package archtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A program that uses the store as anybody would.
const program = `package main

import (
	"context"
	"fmt"

	"batpak"
	"batpak/coordinate"
	"batpak/event"
)

func main() {
	st, err := batpak.Open("store", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = st.Append(context.Background(), batpak.Draft{Coordinate: coordinate.MustNew("e", "s"), Kind: event.MustKind(1, 1)})
	fmt.Println(err, st.Close())
}
`

// injecting is the program with a fault injected, which only builds under the tag faultinject.
var injecting = strings.NewReplacer(
	`"batpak/event"`, "\"batpak/event\"\n\t\"batpak/fault\"",
	`batpak.Open("store", nil)`, `batpak.Open("store", faulty())`,
).Replace(program) + `
func faulty() *batpak.Options {
	opts := new(batpak.Options)
	opts.InjectFaults(fault.At(fault.GroupWritten, 3, nil))
	return opts
}
`

// build builds a program with tags and returns the names of its symbols.
func build(t *testing.T, program, tags string) []string {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skipf("NOT TESTED: that a normal build holds no faults: the go command is needed to build a program: %v", err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	exe := filepath.Join(dir, "program")
	run(t, "go", "build", "-tags", tags, "-o", exe, filepath.Join(dir, "main.go"))
	var names []string
	for line := range strings.Lines(run(t, "go", "tool", "nm", exe)) {
		if fields := strings.Fields(line); len(fields) >= 3 {
			names = append(names, strings.Join(fields[2:], " "))
		}
	}
	if !slices.Contains(names, "batpak.(*Store).append") {
		t.Fatalf("no symbol batpak.(*Store).append among %d: the list is not the one of a program with a store", len(names))
	}
	return names
}

// run runs a command in the module's root and returns what it prints.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		var detail []byte
		if exit, ok := err.(*exec.ExitError); ok {
			detail = exit.Stderr
		}
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, detail)
	}
	return string(out)
}

// withPrefix returns the symbols of a package.
func withPrefix(names []string, prefix string) (found []string) {
	for _, name := range names {
		// Types and tables of the runtime carry the name in the middle: type:batpak/fault.Hook.
		if strings.Contains(name, prefix) {
			found = append(found, name)
		}
	}
	return found
}

// A normal build has nothing of the fault injector and nothing of the planted bugs; a tagged one has them, so that the
// search is known to find what is there.
func TestNormalBuildHasNoFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("NOT TESTED in short mode: that a normal build holds no faults: three programs would be built")
	}
	normal := build(t, program, "")
	for _, prefix := range []string{"batpak/fault.", "batpak/internal/planted.", "InjectFaults"} {
		if found := withPrefix(normal, prefix); len(found) > 0 {
			t.Errorf("a normal build has %d symbols of %s: %q", len(found), prefix, found)
		}
	}
	tagged := build(t, injecting, "faultinject")
	if found := withPrefix(tagged, "batpak/fault."); len(found) == 0 {
		t.Error("control: a build that injects a fault has no symbol of batpak/fault")
	}
	planted := build(t, program, "planted")
	if found := withPrefix(planted, "batpak/internal/planted.on"); len(found) == 0 {
		t.Error("control: a build with the tag planted has no batpak/internal/planted.on")
	}
}
