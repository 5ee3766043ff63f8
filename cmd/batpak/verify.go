package main

import (
	"context"
	"flag"
	"fmt"
	"os"

	"batpak"
)

var verifyCommand = command{
	name:     "verify",
	synopsis: "[-json] DIR",
	summary:  "checks every byte of the store in DIR without opening it: checksums, hash chains, batches, indexes",
	examples: `  batpak verify store && echo clean
  batpak verify -json store

It changes nothing, takes no lock, and works on stores that do not open any more. An unfinished write at the end of
the log, as a crash leaves it, is no finding: the next open cuts it.
`,
	minArgs: 1, maxArgs: 1,
	setup: setupVerify,
}

func setupVerify(fs *flag.FlagSet) runner {
	asJSON := fs.Bool("json", false, "print one JSON object")
	return func(ctx context.Context, c *console, args []string) error {
		if _, err := os.Stat(args[0]); err != nil {
			return err
		}
		report, err := batpak.Verify(ctx, args[0], nil)
		if err != nil {
			return err
		}
		if *asJSON {
			err = printJSON(c.out, report)
		} else {
			_, err = fmt.Fprint(c.out, report)
		}
		if err == nil && len(report.Findings) > 0 {
			err = errRefused
		}
		return err
	}
}
