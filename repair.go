package batpak

import (
	"context"
	"fmt"
	"io/fs"

	"batpak/coldstart"
	"batpak/internal/vfs"
)

// RepairOptions say what [Repair] may do. The zero value, and nil, mean a dry run.
type RepairOptions struct {
	// Write carries the repair out. When false, Repair says what it would do, and changes nothing but the lock file.
	Write bool

	// DropIdemp sets a damaged window of idempotency keys aside, which nothing can rebuild. The keys of events that
	// were removed from the log are then forgotten: a retry with one of them writes again. All other keys are in the log.
	DropIdemp bool

	// Progress is told, with RungFrames, after each segment that Repair has read. Calls come one at a time; Repair
	// waits for each. nil means nobody listens.
	Progress func(Progress)

	// FilePerm are the permissions of the files that Repair makes. Zero means 0600.
	FilePerm fs.FileMode

	fs vfs.FS // nil means the operating system's
}

// Repair makes anew what is damaged in the store in dir and can be derived from what is not: the identity, footers,
// caches, hidden ranges, the anchor. Events are never touched: damage in the log is reported with segment, offset and
// sequences, and left as it is. What a crash leaves needs no repair: Open sees to it.
//
// A nil error means that Repair could look at everything, and has carried out what it may; the report says what that
// was, or would be, and what is beyond repair. Each step replaces one file by a whole and durable one: after a crash or
// an error in the middle the store opens, or can be repaired again. Damaged files that cannot be made again by the next
// open are kept under their name with ".quarantine" behind it.
//
// Repair reads the whole log, and holds the writer's lock meanwhile. It must run as the user that the store belongs to:
// the files that it makes are that user's.
//
// Errors: *[OptionError]; *vfs.LockedError when somebody writes; coldstart.ErrNoStore; the error of ctx; I/O errors. The
// report then says what had been done.
func Repair(ctx context.Context, dir string, o *RepairOptions) (*coldstart.RepairReport, error) {
	var opts RepairOptions
	if o != nil {
		opts = *o
	}
	if opts.FilePerm&^fs.ModePerm != 0 {
		err := &OptionError{Field: "FilePerm", Value: opts.FilePerm, Reason: "more than permission bits"}
		return new(coldstart.RepairReport), err
	}
	report, err := coldstart.Repair(ctx, coldstart.RepairConfig{
		FS: opts.fs, Dir: dir, FilePerm: opts.FilePerm, Write: opts.Write, DropIdemp: opts.DropIdemp, Progress: toldTo(opts.Progress),
	})
	if err != nil {
		return report, fmt.Errorf("repair store %s: %w", dir, err)
	}
	return report, nil
}
