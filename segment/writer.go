package segment

import (
	"fmt"
	"sync"
	"sync/atomic"

	"batpak/internal/planted"
	"batpak/internal/vfs"
)

// MinSize and MaxSize bound the size at which a segment is sealed. Offsets in the footer and in durable-through marks
// are 32 bits wide.
const (
	MinSize = 4 << 10
	MaxSize = 2 << 30
)

// A Writer appends write groups to the active segment. Write, Sync, End, Durable and Finish are for one goroutine at
// a time, the committer; Fill is for another one beside it.
type Writer struct {
	dir    vfs.Dir
	file   vfs.File
	header Header
	seal   Seal
	size   int64 // where the segment is to be sealed

	// Owned by the committer.
	end     int64                 // behind the last good frame
	loose   bool                  // see Loosen
	relaxed bool                  // see Relax
	durable atomic.Int64          // synced up to here; others may read it
	poison  atomic.Pointer[error] // first failure that cannot be undone; every later call returns it

	// syncing guards one sync of the file at a time.
	syncing sync.Mutex
	syncErr error // of the first sync that failed

	// fill guards [filled, …): who holds it may write there.
	fill   sync.Mutex
	filled atomic.Int64 // zeroes stand ready up to here
	ahead  int64        // how far Fill keeps ahead of end; 0 means never
	began  int64        // end when the writer was opened
	gaveUp atomic.Bool  // a fill failed; none is tried again
	seen   atomic.Int64 // end, for Fill
	byCall atomic.Int64 // see put
}

// Create makes the file of segment h.Segment and writes its header. A nil error means that header and name are
// durable. size is where the segment is to be sealed, ahead how many bytes of zeroes [Writer.Fill] keeps ready.
//
// A failed Create leaves no file under the segment's name, as far as the file system lets it.
func Create(dir vfs.Dir, h *Header, size, ahead int64) (*Writer, error) {
	name := Name(h.Segment)
	f, err := dir.Create(name)
	if err != nil {
		return nil, fmt.Errorf("create segment %06d: %w", h.Segment, err)
	}
	w := newWriter(dir, f, h, h.Len(), size, ahead)
	if err := w.begin(); err != nil {
		// The empty file holds nothing; left behind it would be taken for a crash in rotation, which it is.
		f.Close()
		dir.Remove(name)
		return nil, fmt.Errorf("create segment %06d: %w", h.Segment, err)
	}
	return w, nil
}

// begin makes the header and the name durable.
func (w *Writer) begin() error {
	if _, err := w.file.WriteAt(AppendHeader(nil, &w.header), 0); err != nil {
		return err
	}
	if err := w.file.Sync(); err != nil {
		return err
	}
	if planted.On(planted.NoDirSyncAtCreate) {
		return nil
	}
	return w.dir.Sync()
}

// Resume opens the segment with header h for writing at end. Every byte before end is durable, and the file holds
// nothing but zeroes behind it: the caller has proven both, or goes on to prove the second and ends the segment where
// it cannot.
func Resume(dir vfs.Dir, h *Header, end, size, ahead int64) (*Writer, error) {
	f, err := dir.OpenWrite(Name(h.Segment))
	if err != nil {
		return nil, fmt.Errorf("open segment %06d: %w", h.Segment, err)
	}
	return ResumeFile(dir, f, h, end, size, ahead)
}

// ResumeFile is [Resume] with the segment's file f, which is open for writing. It takes f over, and closes it when it fails.
func ResumeFile(dir vfs.Dir, f vfs.File, h *Header, end, size, ahead int64) (*Writer, error) {
	length, err := vfs.OpenSize(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open segment %06d: %w", h.Segment, err)
	}
	w := newWriter(dir, f, h, end, size, ahead)
	w.filled.Store(max(length, end))
	w.byCall.Store(w.filled.Load()) // who knows what holes a crash has left
	return w, nil
}

func newWriter(dir vfs.Dir, f vfs.File, h *Header, end, size, ahead int64) *Writer {
	w := &Writer{
		dir: dir, file: f, header: *h, seal: NewSeal(h.Salt),
		size: size, end: end, ahead: ahead, began: end,
	}
	w.durable.Store(end)
	w.filled.Store(end)
	w.seen.Store(end)
	return w
}

// Header returns the segment's header.
func (w *Writer) Header() *Header { return &w.header }

// Seal returns what frames of this segment are checksummed with.
func (w *Writer) Seal() Seal { return w.seal }

// End returns the offset behind the last frame written.
func (w *Writer) End() int64 { return w.end }

// Durable returns the offset up to which a sync has succeeded.
func (w *Writer) Durable() int64 { return w.durable.Load() }

// Room returns how many bytes still fit.
func (w *Writer) Room() int64 { return w.size - w.end }

// Err returns the failure that poisoned the writer, or nil. Safe for concurrent use.
func (w *Writer) Err() error {
	if err := w.poison.Load(); err != nil {
		return *err
	}
	return nil
}

// Write appends one write group: whole frames, encoded for offset End. Nothing is durable before Sync.
//
// A write that fails leaves no trace: what reached the file is cut off again. Where even that fails the writer is
// poisoned.
//
// Errors: [ErrFull], before anything is written; [ErrPoisoned]; the I/O error.
func (w *Writer) Write(group []byte) error {
	if err := w.Err(); err != nil {
		return err
	}
	if int64(len(group)) > w.Room() {
		return fmt.Errorf("%w: segment %06d: %d bytes of %d left", ErrFull, w.header.Segment, len(group), w.Room())
	}
	// A group that reaches into the region that Fill may be zeroing right now waits for it.
	into := w.end+int64(len(group)) > w.filled.Load()
	if into && w.loose && len(group) <= looseMost {
		w.stretch(int64(len(group)))
		into = w.end+int64(len(group)) > w.filled.Load()
	}
	if into {
		w.fill.Lock()
		defer w.fill.Unlock()
	}
	if err := w.put(group, into); err != nil {
		if !into {
			w.fill.Lock()
			defer w.fill.Unlock()
		}
		err = fmt.Errorf("write segment %06d offset %d: %w", w.header.Segment, w.end, err)
		return w.cutBackLocked(err)
	}
	w.end += int64(len(group))
	w.seen.Store(w.end)
	if w.filled.Load() < w.end {
		w.filled.Store(w.end)
	}
	return nil
}

// put writes group to the end; into says that it reaches behind the zeroes. Zeroes that this process has written are
// overwritten through a mapped window, unless a sync has just been at their pages: see [Writer.noteSync].
func (w *Writer) put(group []byte, into bool) (err error) {
	if w.relaxed && !into && w.end >= w.byCall.Load() {
		_, err = vfs.OverwriteAt(w.file, group, w.end, w.filled.Load())
	} else {
		_, err = w.file.WriteAt(group, w.end)
	}
	return err
}

// noteSync is to be called before each sync of the file. A sync takes from the window's pages the right to be written to,
// and a store that wants it back may wait for what the file system is at. A call can wait for that without a processor, so
// those pages are written by calls. Where syncs are frequent, all are.
func (w *Writer) noteSync() {
	to := w.seen.Load() + vfs.WindowStep
	for {
		was := w.byCall.Load()
		if was >= to || w.byCall.CompareAndSwap(was, to) {
			return
		}
	}
}

// cutBackLocked removes, durably, what a failed write left behind the last good frame, and returns the cause: whole
// frames among it would come back with a crash. Where it cannot, the writer is poisoned. The caller holds fill.
func (w *Writer) cutBackLocked(cause error) error {
	if err := w.file.Truncate(w.end); err != nil {
		return w.poisoned(fmt.Errorf("%w, and cut back: %w", cause, err))
	}
	if err := w.SyncFile(); err != nil {
		return w.poisoned(fmt.Errorf("%w, and cut back: %w", cause, err))
	}
	w.filled.Store(w.end)
	return cause
}

// Sync makes everything written durable. A failed sync poisons the writer: what the disk holds is then unknown, and
// trying again would report success for bytes that are gone (see docs/reliability.md).
//
// Errors: [ErrPoisoned] with the I/O error.
func (w *Writer) Sync() error {
	if err := w.Err(); err != nil {
		return err
	}
	if w.durable.Load() == w.end {
		return nil
	}
	if err := w.SyncFile(); err != nil {
		return w.poisoned(err)
	}
	w.durable.Store(w.end)
	return nil
}

// SyncFile syncs the file beside whoever writes: of all methods of the committer it alone may run at the same time as
// the others. Its caller then calls [Writer.MarkDurable] with the End from before, or [Writer.Poison]. Once it has
// failed every Sync fails: the kernel reports a failed write-back once, and whoever hears of it must tell the rest.
func (w *Writer) SyncFile() error {
	w.syncing.Lock()
	defer w.syncing.Unlock()
	if w.syncErr != nil {
		return w.syncErr
	}
	if planted.On(planted.WrongFileSynced) && w.header.Previous > 0 {
		return syncOther(w.dir, w.header.Previous)
	}
	w.noteSync()
	if err := w.file.Sync(); err != nil {
		w.syncErr = fmt.Errorf("sync segment %06d: %w", w.header.Segment, err)
	}
	return w.syncErr
}

// syncOther is a planted bug: it syncs the segment that was full.
func syncOther(dir vfs.Dir, id uint64) error {
	f, err := dir.OpenWrite(Name(id))
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// MarkDurable records that a [Writer.SyncFile] that began when End was end has succeeded.
func (w *Writer) MarkDurable(end int64) { w.durable.Store(max(w.durable.Load(), min(end, w.end))) }

// Poison makes every later call fail with cause; only the first cause is kept.
func (w *Writer) Poison(cause error) error { return w.poisoned(cause) }

func (w *Writer) poisoned(cause error) error {
	if w.poison.Load() == nil {
		err := fmt.Errorf("%w: %w", ErrPoisoned, cause)
		w.poison.Store(&err)
	}
	return w.Err()
}

// Written returns the offset behind the last frame written. Safe for concurrent use.
func (w *Writer) Written() int64 { return w.seen.Load() }

// Lag returns how many bytes were written and not synced. Safe for concurrent use.
func (w *Writer) Lag() int64 { return w.seen.Load() - w.durable.Load() }

// NeedsSpare reports whether it is time to prepare the next segment's file. Safe for concurrent use.
func (w *Writer) NeedsSpare() bool { return w.ahead > 0 && w.seen.Load() > w.size/2 }

// Close releases the file and syncs nothing. After a clean end the caller has called Trim first. A Fill that is still
// under way writes nothing any more: what comes behind the frames now is the footer.
func (w *Writer) Close() error {
	w.fill.Lock()
	w.gaveUp.Store(true)
	w.fill.Unlock()
	return w.file.Close()
}

// Trim cuts the zeroes behind the last frame and makes the length durable. Everything written must be durable
// already. It is for clean closes: nobody may call Fill any more.
func (w *Writer) Trim() error {
	if err := w.Err(); err != nil {
		return err
	}
	if w.filled.Load() == w.end {
		return nil
	}
	w.fill.Lock()
	defer w.fill.Unlock()
	if err := w.file.Truncate(w.end); err != nil {
		return fmt.Errorf("trim segment %06d: %w", w.header.Segment, err)
	}
	w.filled.Store(w.end)
	if err := w.SyncFile(); err != nil {
		return w.poisoned(err)
	}
	return nil
}

// WriteFooter seals the file of segment id: footer goes to end, and the file is cut behind it. A nil error means that
// the footer is durable. Everything up to end must be durable, and a later segment must name end as its own, so that
// a crash inside WriteFooter costs the footer and nothing else.
//
// The trailer is written when everything before it is durable: where a trailer holds, the footer's pages do. A footer
// that stood there before goes first, lest its trailer vouch for half of the new one.
func WriteFooter(dir vfs.Dir, id uint64, end int64, footer []byte) error {
	f, err := dir.OpenWrite(Name(id))
	if err != nil {
		return fmt.Errorf("seal segment %06d: %w", id, err)
	}
	defer f.Close()
	trailer := max(0, len(footer)-trailerLen)
	for _, step := range []func() error{
		func() error { return cutBehind(f, end) },
		func() error { return writeSync(f, footer[:trailer], end) },
		func() error { return writeSync(f, footer[trailer:], end+int64(trailer)) },
	} {
		if err := step(); err != nil {
			return fmt.Errorf("seal segment %06d: %w", id, err)
		}
	}
	return nil
}

// cutBehind makes f end at end, durably where it was longer.
func cutBehind(f vfs.File, end int64) error {
	size, err := f.Size()
	if err != nil || size <= end {
		return err
	}
	if err := f.Truncate(end); err != nil {
		return err
	}
	return f.Sync()
}

// writeSync writes b at off, durably.
func writeSync(f vfs.File, b []byte, off int64) error {
	if _, err := f.WriteAt(b, off); err != nil {
		return err
	}
	return f.Sync()
}
