package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

// Exit codes; the package comment says what they mean.
const (
	exitOK      = 0
	exitRefused = 1
	exitFailed  = 2
)

// A console is where a command reads and writes: the process's files, or a test's buffers.
type console struct {
	in       io.Reader
	out, err io.Writer

	color    bool // out is a terminal that takes colors
	progress bool // err is a terminal, so a line may be written over
}

// newConsole returns the console of three streams and looks at which of them are terminals.
func newConsole(in io.Reader, out, err io.Writer) *console {
	color := isTerminal(out) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	return &console{in: in, out: out, err: err, color: color, progress: isTerminal(err)}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// A runner does the work of a command once its flags are parsed; args are what is left of the command line.
type runner func(ctx context.Context, c *console, args []string) error

// A command is one subcommand.
type command struct {
	name     string
	synopsis string // arguments in one line
	summary  string // one sentence
	examples string // a few lines, indented
	minArgs  int
	maxArgs  int
	hidden   bool // not for people
	setup    func(*flag.FlagSet) runner
}

func commands() []command {
	return []command{
		demoCommand, ingestCommand, readCommand, graphCommand, statCommand, consumersCommand, verifyCommand, repairCommand,
		demoWriterCommand,
	}
}

// errRefused ends a command with exit code 1. Its text was printed already.
var errRefused = errors.New("refused")

// A usageError is a command line that makes no sense.
type usageError struct{ reason string }

func (e *usageError) Error() string { return e.reason }

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// run carries out one command line and returns its exit code.
func run(ctx context.Context, c *console, args []string) int {
	if len(args) == 0 {
		overview(c.err)
		return exitFailed
	}
	name, rest := args[0], args[1:]
	switch name {
	case "help":
		if len(rest) == 0 {
			overview(c.out)
			return exitOK
		}
		name, rest = rest[0], []string{"-h"}
	case "-h", "-help", "--help":
		overview(c.out)
		return exitOK
	}
	for _, cmd := range commands() {
		if cmd.name == name {
			return cmd.run(ctx, c, rest)
		}
	}
	fmt.Fprintf(c.err, "batpak: no command %q; batpak -h lists them\n", name)
	return exitFailed
}

// overview prints the commands.
func overview(w io.Writer) {
	fmt.Fprint(w, "batpak looks at, fills, checks and repairs batpak event stores.\n\n"+
		"usage: batpak COMMAND [flags] [arguments]\n\n")
	var t table
	for _, cmd := range commands() {
		if !cmd.hidden {
			t.row("  "+cmd.name, cmd.summary)
		}
	}
	t.print(w)
	fmt.Fprint(w, "\nbatpak COMMAND -h prints flags and examples.\n\n", exitCodes)
}

const exitCodes = `exit codes: 0 done or clean; 1 findings (verify, consumers), something to do or beyond repair (repair), refused input
            (ingest), a failed check (demo); 2 could not run, or not to the end
`

// run parses the command's flags, does its work and turns the outcome into an exit code.
func (cmd *command) run(ctx context.Context, c *console, args []string) int {
	fs := flag.NewFlagSet(cmd.name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	work := cmd.setup(fs)
	rest, err := parse(fs, args)
	if errors.Is(err, flag.ErrHelp) {
		cmd.usage(c.out, fs)
		return exitOK
	}
	if err == nil && (len(rest) < cmd.minArgs || len(rest) > cmd.maxArgs) {
		err = usagef("%d arguments, want %s", len(rest), cmd.synopsis)
	}
	if err == nil {
		err = work(ctx, c, rest)
	}
	var usage *usageError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errRefused):
		return exitRefused
	case errors.As(err, &usage):
		fmt.Fprintf(c.err, "batpak %s: %v; batpak %s -h explains\n", cmd.name, err, cmd.name)
	default:
		fmt.Fprintf(c.err, "batpak %s: %v\n", cmd.name, err)
	}
	return exitFailed
}

// usage prints what -h prints.
func (cmd *command) usage(w io.Writer, fs *flag.FlagSet) {
	fmt.Fprintf(w, "usage: batpak %s %s\n\n%s\n", cmd.name, cmd.synopsis, cmd.summary)
	if flags := flagText(fs); flags != "" {
		fmt.Fprintf(w, "\nflags:\n%s", flags)
	}
	if cmd.examples != "" {
		fmt.Fprintf(w, "\nexamples:\n%s", cmd.examples)
	}
	fmt.Fprintf(w, "\n%s", exitCodes)
}

func flagText(fs *flag.FlagSet) string {
	var b strings.Builder
	fs.SetOutput(&b)
	fs.PrintDefaults()
	return b.String()
}

// parse parses args and returns those that are no flags. Unlike [flag.FlagSet.Parse] it takes flags behind them too,
// up to "--".
func parse(fs *flag.FlagSet, args []string) (rest []string, err error) {
	for len(args) > 0 {
		if err := fs.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, err
			}
			return nil, &usageError{err.Error()}
		}
		left := fs.Args()
		if used := len(args) - len(left); len(left) == 0 || used > 0 && args[used-1] == "--" {
			return append(rest, left...), nil
		}
		rest, args = append(rest, left[0]), left[1:]
	}
	return rest, nil
}
