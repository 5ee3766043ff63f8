// Command batpak looks at, fills, checks and repairs batpak stores from a shell.
//
//	batpak demo   [-dir DIR] [-keep] [-repo PATH] [-max-commits N]
//	batpak ingest [-segment-size N] [-sync MODE] [-batch N] [-skip-bad] [-relink] DIR [FILE|-]
//	batpak read   [-entity NAME] [-prefix P] [-scope S] [-kind K]… [-tag T]… [-lane N] [-after SEQ] [-before SEQ]
//	              [-limit N] [-reverse|-f] DIR
//	batpak graph  [-format text|dot|svg] [-depth N] [-limit N] [-correlated] DIR EVENT
//	batpak stat   [-json] DIR
//	batpak consumers [-json] [-parked NAME | -reset NAME | -seek NAME -at SEQ | -forget NAME [-at SEQ]] DIR
//	batpak verify [-json] DIR
//	batpak repair [-write] [-drop-idemp] [-json] DIR
//
// Every command prints its flags and examples with -h. Flags may stand before or behind the other arguments; "--" ends
// them.
//
// # Exit codes
//
//	0  done; verify: the store is clean; repair: there was nothing to do, or all of it was done
//	1  verify, consumers: there are findings; repair: there is something that it would do, or that it cannot repair; ingest: input
//	   was refused; demo: a check did not hold
//	2  the command could not run, or not to its end: wrong usage, no such store, a disk that fails, an interrupt
//	   (which is how read -f ends: 0)
//
// # The lines of ingest and read
//
// One JSON object per line:
//
//	field            ingest    read    meaning
//	entity           required  always  the stream: 1 to 1,024 bytes of UTF-8 without control characters
//	scope            required  always  the label beside it, of the same form
//	kind             required  always  "category:number", the category as one hexadecimal digit: "1:7"
//	payload          this one  or      any JSON value, stored as exactly the bytes of the line
//	payload_base64   or this   this    any bytes
//	payload_version  taken     if set  the caller's schema, 0 to 65,535
//	lane, depth      taken     if set  32-bit numbers
//	fork             taken     if set  on the first event of a lane: ID of the event that it branches from, which is there
//	tags             taken     if any  array of strings
//	correlation      taken     if set  ID of the group
//	causation        taken     if set  ID of the direct cause
//	extensions       taken     if any  object of base64 strings
//	key              taken     never   idempotency key: a line that comes again with it writes nothing (the store
//	                                   keeps a hash of the key only, so read cannot print it)
//	seq, id, clock,  ignored   always  what the store gave the event: sequence, ID, clock, wall time,
//	time, hlc, hash                    hybrid logical clock (16 hexadecimal digits), chain hash
//	redacted         refused   if set  the payload was removed, so there is nothing to copy
//
// Any other field, and a field given twice, is an error: a mistyped name would lose data without a word. Null means
// that the field is not there, but in payload, where it is a payload. read prints a payload under "payload" only where
// ingest would store the very same bytes again, and as base64 otherwise, so a pipe copies a store:
//
//	batpak read old | batpak ingest -relink new
//
// The copy has the same events in the same order, and sequences, IDs, times and hashes of its own. -relink makes
// causation, correlation and fork name the copies instead of the originals; it keeps about 100 bytes of memory per event.
// Without it the first fork is refused, since the new store does not have the event that it names. Idempotency keys and
// the store's own events are not copied.
//
// # What ingest commits together
//
// ingest reads ahead while it writes: a write batch is the lines that came in meanwhile, at most -batch of them. A
// batch is atomic (after a crash, all of its lines are there or none), but which lines share one depends on timing:
// batches are there for speed, not for meaning. Lines are stored in their order and nothing behind a line that was
// refused is stored, unless -skip-bad is given.
package main

import (
	"context"
	"os"
	"os/signal"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := run(ctx, newConsole(os.Stdin, os.Stdout, os.Stderr), os.Args[1:])
	stop()
	os.Exit(code)
}
