package vfs

// WindowStep is how many bytes of a window are made ready at once: see [OverwriteAt].
const WindowStep = 64 << 10

// OverwriteAt is f.WriteAt(p, off) for writes that come one behind the other into bytes that are there already. All of
// [off, written) must have been written, by whatever handle, and not cut off since: a file that merely has that size may
// have holes there. Where the system can, a small p is copied into a window of the file that is mapped, and no call is made;
// elsewhere it is written as ever.
//
// What WriteAt promises holds: when OverwriteAt has returned every ReadAt, of any process, sees p, the death of this process
// takes nothing back, and f.Sync makes it durable or fails. What WriteAt leaves open is made use of: while OverwriteAt runs,
// and where the process is killed in it, any part of p may be there and any other not. Three things are otherwise:
//
//   - The file's times move when the system notices that a page is stored into, and not with each call: a [Stamp] may stay
//     what it was.
//   - When OverwriteAt fails, bytes of p behind the n that it returns may be there, too.
//   - A page that cannot be stored into, because its disk has failed, or is full and the system wants another place for it,
//     or because somebody has cut the file, takes away the window, for good: p is written by a call, which says what is
//     wrong. It never ends the process.
//
// Pages are made ready by WindowStep ahead of the writes, by a call. A sync of the file, by any handle, undoes that: stores
// would wait for it again, in a fault, where the runtime cannot use the processor otherwise. Whoever syncs writes the next
// WindowStep bytes by WriteAt. Truncate and Close of f unmap the window.
func OverwriteAt(f File, p []byte, off, written int64) (int, error) {
	if o, ok := f.(overwriter); ok {
		return o.overwriteAt(p, off, written)
	}
	return f.WriteAt(p, off)
}

// An overwriter has a way of its own for OverwriteAt.
type overwriter interface {
	overwriteAt(p []byte, off, written int64) (int, error)
}
