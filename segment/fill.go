package segment

import (
	"fmt"

	"batpak/internal/vfs"
)

const (
	fillFirst = 256 << 10 // zeroes of the first fill: small stores stay small
	fillMost  = 1 << 20   // zeroes of one sync: the committer's next sync waits for them

	// fillWrite is how many zeroes one write takes. Where the kernel caches what one write brings as one piece, as ext4
	// does since Linux 6.16, each small write into it later costs what the piece has blocks: frames written into zeroes
	// that came by the MiB took twice as long as into those that came like this. A piece begins at a multiple of its size in
	// the file, so a write that does not comes as many small ones, which take twice as long to bring.
	fillWrite = 64 << 10

	// looseMost is the size of a group up to which zeroes come with the write that needs them: overwriting is cheaper than
	// growing the file for each group, whose pages come one by one where zeroes bring sixteen at once. A larger group brings
	// as many itself.
	looseMost = 32 << 10
)

// window returns how many zeroes should stand ready: as many bytes as were written so far, within bounds, so that small
// stores stay small.
func (w *Writer) window() int64 {
	return max(min(w.seen.Load()-w.began, w.ahead), min(fillFirst, w.ahead))
}

// NeedsFill reports whether Fill has something to do. Safe for concurrent use.
func (w *Writer) NeedsFill() bool {
	filled := w.filled.Load()
	return w.ahead > 0 && !w.gaveUp.Load() && filled < w.size && filled-w.seen.Load() < w.window()
}

// Fill writes and syncs zeroes behind the last frame, so that later syncs find their blocks allocated: a sync of a
// growing file must also wait for the file system's journal. It uses a handle of its own, since the kernel reports a
// failed write-back once per handle and the report must reach Sync. Zeroes that cannot be written cost speed, nothing
// else; where their sync fails every later sync fails, since it covered the committer's bytes as well.
func (w *Writer) Fill() error {
	f, err := w.dir.OpenWrite(Name(w.header.Segment))
	if err != nil {
		return fmt.Errorf("fill segment %06d: %w", w.header.Segment, err)
	}
	defer f.Close()
	for w.NeedsFill() {
		if err := w.fillStep(f); err != nil {
			return fmt.Errorf("fill segment %06d: %w", w.header.Segment, err)
		}
	}
	return nil
}

// zeroes is what fills are written from; nobody writes to it.
var zeroes [fillWrite]byte

// writeZeroes fills [from, to) of f.
func writeZeroes(f vfs.File, from, to int64) error {
	for from < to {
		n := min(to-from, fillWrite-from%fillWrite)
		if _, err := f.WriteAt(zeroes[:n], from); err != nil {
			return err
		}
		from += n
	}
	return nil
}

func (w *Writer) fillStep(f vfs.File) error {
	w.fill.Lock()
	from := w.filled.Load()
	to := min(upTo(from, min(w.window(), fillMost)), w.size)
	if from >= to || w.gaveUp.Load() {
		w.fill.Unlock()
		return nil
	}
	err := writeZeroes(f, from, to)
	if err == nil {
		w.filled.Store(to)
	}
	w.fill.Unlock()
	if err == nil {
		w.noteSync()
		if err = f.Sync(); err != nil {
			w.tellSync(err)
		}
	}
	if err != nil {
		w.gaveUp.Store(true)
	}
	return err
}

// tellSync makes every later sync fail: the one that failed covered what the committer had written too.
func (w *Writer) tellSync(err error) {
	w.syncing.Lock()
	defer w.syncing.Unlock()
	if w.syncErr == nil {
		w.syncErr = fmt.Errorf("sync segment %06d: %w", w.header.Segment, err)
	}
}

// Relax says that few writes are synced each by itself: those into zeroes that this process has written may then go
// through a mapped window of the file, see [vfs.OverwriteAt]. Where each is followed by a sync, which takes from the window
// the right to be written to, calls are cheaper.
func (w *Writer) Relax() { w.relaxed = true }

// Loosen says that nobody waits for syncs: Write then puts zeroes in front of small groups itself, and syncs none of them.
func (w *Writer) Loosen() { w.loose = true }

// stretch writes zeroes behind those that stand ready, for a group of so many bytes and some more. Where it cannot, the
// file grows with each write.
func (w *Writer) stretch(group int64) {
	w.fill.Lock()
	defer w.fill.Unlock()
	from := w.filled.Load()
	to := min((w.end+group)/fillWrite*fillWrite+fillWrite, w.size)
	if from >= to || w.gaveUp.Load() {
		return
	}
	if err := writeZeroes(w.file, from, to); err != nil {
		w.gaveUp.Store(true)
		return
	}
	w.filled.Store(to)
}

// upTo returns where n bytes of zeroes from from on end: at a multiple of fillWrite, unless there are less than that.
func upTo(from, n int64) int64 {
	if n < fillWrite {
		return from + n
	}
	return (from + n + fillWrite - 1) / fillWrite * fillWrite
}
