package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"

	"batpak"
)

var repairCommand = command{
	name:     "repair",
	synopsis: "[-write] [-drop-idemp] [-json] DIR",
	summary:  "says what can be made anew in the damaged store in DIR, and with -write does it; never touches events",
	examples: `  batpak repair store                what it would do
  batpak repair -write store
  batpak verify store                afterwards: is all of it sound?

It rebuilds the store's identity, the indexes of sealed segments, the hidden ranges and the anchor from what is sound,
and removes damaged caches. Damaged events are reported with segment, offset and sequences, and left as they are: take
them from a backup. What a crash leaves needs no repair; the next open sees to it. Nobody may write meanwhile. Run it as
the user that the store belongs to. Files that it replaces stay beside the new ones, as NAME.quarantine, but for caches
and indexes.
`,
	minArgs: 1, maxArgs: 1,
	setup: setupRepair,
}

func setupRepair(fs *flag.FlagSet) runner {
	var o batpak.RepairOptions
	fs.BoolVar(&o.Write, "write", false, "carry the repair out; without it nothing is changed")
	fs.BoolVar(&o.DropIdemp, "drop-idemp", false, "set a damaged index.idemp aside: the idempotency keys of evicted events are then forgotten")
	asJSON := fs.Bool("json", false, "print one JSON object")
	return func(ctx context.Context, c *console, args []string) error {
		if _, err := os.Stat(args[0]); err != nil {
			return err
		}
		report, err := batpak.Repair(ctx, args[0], &o)
		if err != nil && len(report.Actions) == 0 {
			return err
		}
		// What had been done is said even when the rest could not be.
		var printed error
		if *asJSON {
			printed = printJSON(c.out, report)
		} else {
			_, printed = fmt.Fprint(c.out, report)
		}
		if err = errors.Join(err, printed); err == nil && !report.Complete() {
			err = errRefused
		}
		return err
	}
}
