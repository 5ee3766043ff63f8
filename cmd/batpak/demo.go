package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"batpak"
)

var demoCommand = command{
	name:     "demo",
	synopsis: "[flags]",
	summary:  "stores the history of a git clone, is killed in the middle, recovers, and proves that nothing was lost",
	examples: `  batpak demo                     the clone you are in
  batpak demo -repo ~/src/big -max-commits 10000
  batpak demo -dir look -keep     keep the store; then: batpak stat look

Every commit becomes one atomic batch: an event for the commit and one for each file that it touched, caused by it.
A process of its own writes them and is killed with no warning half way; a second one gets all of them again. Names
and addresses of authors are not read. Without git, or outside of a clone, it takes the files below the folder.
`,
	setup: setupDemo,
}

func setupDemo(fs *flag.FlagSet) runner {
	dir := fs.String("dir", "", "write the store to `DIR`, which must be empty or not there (default a temporary folder)")
	keep := fs.Bool("keep", false, "do not remove the store at the end")
	repo := fs.String("repo", ".", "take the history of the repository at `PATH`")
	most := fs.Int("max-commits", 2000, "take the newest `N` commits")
	return func(ctx context.Context, c *console, args []string) error {
		if *most < 1 {
			return usagef("-max-commits %d: want 1 or more", *most)
		}
		src, err := findSource(ctx, *repo, *most)
		if err != nil {
			return err
		}
		place, remove, err := demoDir(*dir, *keep)
		if err != nil {
			return err
		}
		defer remove()
		d := demo{console: c, dir: place, src: src}
		err = d.play(ctx)
		if *keep || *dir != "" {
			fmt.Fprintf(c.out, "\nThe store is kept in %s\n", place)
		}
		return err
	}
}

// demoDir returns the folder to write to, and what removes it.
func demoDir(dir string, keep bool) (place string, remove func(), err error) {
	if dir != "" {
		entries, err := os.ReadDir(dir)
		if err == nil && len(entries) > 0 {
			return "", nil, fmt.Errorf("%s is not empty", dir)
		}
		return dir, func() {}, nil // whoever named it wants it
	}
	place, err = os.MkdirTemp("", "batpak-demo-")
	if err != nil {
		return "", nil, err
	}
	if keep {
		return place, func() {}, nil
	}
	return place, func() { _ = os.RemoveAll(place) }, nil
}

// A demo is one performance.
type demo struct {
	console *console
	dir     string
	src     *source

	step   int
	failed int // checks that did not hold

	first, second *writerRun
	recovery      time.Duration // open after the kill
	reopening     time.Duration // open after the clean close
	stats         batpak.Stats
}

// play performs all steps.
//
// Errors: [errRefused] when a check did not hold.
func (d *demo) play(ctx context.Context) error {
	for _, step := range []struct {
		title string
		do    func(context.Context) error
	}{
		{"Input", d.showInput},
		{"Write, and kill -9 in the middle", d.writeAndKill},
		{"Open again, and look for everything that was acknowledged", d.recover},
		{"Write all of it once more: what is there is recognized by its key", d.writeAgain},
		{"Read one stream, and walk from an effect to its causes", d.readBack},
		{"Verify every byte", d.verify},
		{"In short", d.summary},
	} {
		d.title(step.title)
		if err := step.do(ctx); err != nil {
			return err
		}
	}
	if d.failed > 0 {
		fmt.Fprintf(d.console.err, "batpak demo: %s did not hold\n", plural(d.failed, "check"))
		return errRefused
	}
	return nil
}

// title begins a section.
func (d *demo) title(text string) {
	if d.step++; d.step > 1 {
		fmt.Fprintln(d.console.out)
	}
	text = fmt.Sprintf("%d. %s", d.step, text)
	if d.console.color {
		text = "\x1b[1m" + text + "\x1b[0m"
	}
	fmt.Fprintf(d.console.out, "%s\n\n", text)
}

// sayf prints one indented line.
func (d *demo) sayf(format string, args ...any) {
	fmt.Fprintf(d.console.out, "   "+format+"\n", args...)
}

// check prints a line that says whether something holds.
func (d *demo) check(ok bool, format string, args ...any) {
	word, color := "ok  ", "\x1b[32m"
	if !ok {
		word, color = "FAIL", "\x1b[31m"
		d.failed++
	}
	if d.console.color {
		word = color + word + "\x1b[0m"
	}
	d.sayf(word+" "+format, args...)
}

// show prints a table, indented.
func (d *demo) show(t *table) {
	for i := range t.rows {
		t.rows[i][0] = "   " + t.rows[i][0]
	}
	t.print(d.console.out)
}
