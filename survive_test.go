package batpak_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"batpak"
	"batpak/coldstart"
	"batpak/coordinate"
	"batpak/internal/vfs"
	"batpak/segment"
)

// A life is what happens to a disk after a crash: the store is opened, checked, written to, closed, opened and checked
// again.
type life struct {
	opts batpak.Options // without clock and file system
	mem  *vfs.Mem
	tick int64

	// lied: the disk forgot what it had promised to keep. A typed refusal is then as good as a prefix.
	lied bool
	// compare looks at the disk read-only first, checks the store before it is closed, too, and that a second open leaves
	// the segments as they are.
	compare bool

	staging uint64 // number of the fence that is appended through; 0 for none

	told   []told // what there was when the store was opened, and what was appended then
	opened int    // length of the trace when the store was open
}

// open opens the store, an hour before the workload that wrote it: order must not depend on clocks.
func (l *life) open() (*batpak.Store, error) {
	o := l.opts
	o.SetFS(l.mem)
	o.Clock = func() time.Time {
		l.tick++
		return time.UnixMilli(testEpoch - 3_600_000 + l.tick)
	}
	return batpak.Open(vfs.MemDir, &o)
}

// live checks that the disk is held by c, and goes on. It returns how many events of the claim there are.
func (l *life) live(c claim) (n int, err error) {
	if l.compare {
		if err := l.peek(c); err != nil {
			return 0, fmt.Errorf("read-only: %w", err)
		}
	}
	st, err := l.open()
	if err != nil {
		if l.lied && typedRefusal(err) {
			return 0, errRefused
		}
		return 0, fmt.Errorf("open: %w", err)
	}
	l.opened = l.mem.OpCount()
	n, shown, err := c.holds(st)
	if err != nil {
		if l.lied && typedReadError(err) {
			return 0, errors.Join(errRefused, st.Close())
		}
		return n, errors.Join(fmt.Errorf("opened: %w", err), st.Close())
	}
	l.told = append(l.told, settled(c.want[:n], shown)...)
	for i := range l.told {
		l.told[i].begun, l.told[i].durable = -1, l.opened // what recovery shows is durable
	}
	after := claim{want: l.told, shown: c.shown, murky: c.murky}
	if err := l.goOn(st, &after, slices.Clone(l.told)); err != nil {
		return n, errors.Join(fmt.Errorf("going on: %w", err), st.Close())
	}
	if err := st.Close(); err != nil {
		return n, fmt.Errorf("close: %w", err)
	}
	l.told = after.want
	for i := range l.told {
		l.told[i].durable = min(l.told[i].durable, l.mem.OpCount())
		if f := l.told[i].fence; f != nil && f.acked < never {
			f.durable = min(f.durable, l.mem.OpCount())
		}
	}
	return n, l.again(&after)
}

// peek opens the store read-only, before anyone has repaired it: it shows a prefix, and changes nothing.
func (l *life) peek(c claim) error {
	was, start := l.opts, l.mem.OpCount()
	defer func() { l.opts = was }()
	l.opts.ReadOnly = true
	st, err := l.open()
	switch {
	case errors.Is(err, coldstart.ErrNoStore), l.lied && typedRefusal(err):
		return nil
	case err != nil:
		return err
	}
	c.least, c.reader = 0, true // what is proven to be durable may be less than what is
	_, _, err = c.holds(st)
	if l.lied && typedReadError(err) {
		err = nil
	}
	if err := errors.Join(err, st.Close()); err != nil {
		return err
	}
	return unchanged(l.mem, start, true)
}

// errRefused says that a disk that lied was refused with a typed error.
var errRefused = errors.New("refused")

// goOn appends a few events and adds them to the claim.
func (l *life) goOn(st *batpak.Store, c *claim, there []told) error {
	ctx := context.Background()
	fresh := coordinate.MustNew("after:crash", "eu")
	single := batpak.Draft{Coordinate: streamA, Kind: kindOne, Payload: []byte("after"), Expect: batpak.Clock(clockOf(there, streamA))}
	begun := l.mem.OpCount()
	rcpt, err := st.Append(ctx, single)
	if err := l.add(c, []batpak.Draft{single}, []batpak.Receipt{rcpt}, begun, err); err != nil {
		return err
	}
	pair := []batpak.Draft{
		{Coordinate: fresh, Kind: kindOne, Expect: batpak.Clock(clockOf(there, fresh))},
		{Coordinate: streamA, Kind: kindOne, Payload: []byte("effect"), CausedByDraft: batpak.DraftAt(0)},
	}
	begun = l.mem.OpCount()
	rcpts, err := st.AppendBatch(ctx, pair)
	if err := l.add(c, pair, rcpts, begun, err); err != nil {
		return err
	}
	for i := range there {
		if there[i].key == nil || there[i].size > 1 || usedAgain(there[i:]) {
			continue
		}
		if there[i].fence != nil {
			if err := l.writeAgain(st, c, there[i].draft); err != nil {
				return fmt.Errorf("retry of hidden event %d: %w", there[i].Seq, err)
			}
			continue
		}
		again, err := st.Append(ctx, there[i].draft)
		if err != nil {
			return fmt.Errorf("retry of event %d: %w", there[i].Seq, err)
		}
		want := there[i].receipt
		want.Replayed = true
		if found := there[i].receipt.Store == [16]byte{}; !found && again != want ||
			found && (again.Seq != want.Seq || again.ID != want.ID || again.Hash != want.Hash || !again.Replayed) {
			return fmt.Errorf("retry of event %d: receipt %+v, want %+v", there[i].Seq, again, want)
		}
	}
	if slices.ContainsFunc(there, func(t told) bool { return t.fence != nil }) {
		if err := l.fence(st, c); err != nil {
			return fmt.Errorf("fences: %w", err)
		}
	}
	if !l.compare {
		return nil // again looks at everything
	}
	_, _, err = c.holds(st)
	return err
}

// usedAgain reports whether the key of the first of some events is that of a later one, too.
func usedAgain(events []told) bool {
	return slices.ContainsFunc(events[1:], func(t told) bool { return bytes.Equal(t.key, events[0].key) })
}

// writeAgain retries an event that is hidden: it is a new one.
func (l *life) writeAgain(st *batpak.Store, c *claim, d batpak.Draft) error {
	begun := l.mem.OpCount()
	rcpt, err := st.Append(context.Background(), d)
	if err == nil && rcpt.Replayed {
		err = fmt.Errorf("receipt %+v of an event that is hidden", rcpt)
	}
	return l.add(c, []batpak.Draft{d}, []batpak.Receipt{rcpt}, begun, err)
}

// fence stages events in two fences, of which one is committed.
func (l *life) fence(st *batpak.Store, c *claim) error {
	ctx := context.Background()
	lost, err := st.Fence(ctx)
	if err != nil {
		return err
	}
	kept, err := st.Fence(ctx)
	if err != nil {
		return err
	}
	for _, f := range []*batpak.Fence{lost, kept} {
		d := batpak.Draft{Coordinate: coordinate.MustNew("fence:after", "eu"), Kind: kindOne, Payload: fmt.Append(nil, f.Number())}
		begun := l.mem.OpCount()
		l.staging = f.Number()
		rcpt, err := f.Append(ctx, d)
		if err := l.add(c, []batpak.Draft{d}, []batpak.Receipt{rcpt}, begun, err); err != nil {
			return err
		}
		if f == lost {
			c.want[len(c.want)-1].fence = &lostFate
		}
	}
	l.staging = 0
	begun := l.mem.OpCount()
	if err := kept.Commit(ctx); err != nil {
		return err
	}
	c.want[len(c.want)-1].fence = &fate{first: c.want[len(c.want)-1].Seq, begun: begun, acked: l.mem.OpCount(), durable: never}
	if l.opts.Sync == batpak.SyncAlways {
		c.want[len(c.want)-1].fence.durable = l.mem.OpCount()
	}
	return lost.Cancel(ctx)
}

// clockOf returns the clock of the main lane of a stream.
func clockOf(there []told, at coordinate.Coordinate) uint64 {
	for i := len(there) - 1; i >= 0; i-- {
		if there[i].Coordinate.Entity() == at.Entity() && there[i].Lane == 0 {
			return there[i].Clock
		}
	}
	return 0
}

// add takes what an append returned into the claim.
func (l *life) add(c *claim, drafts []batpak.Draft, receipts []batpak.Receipt, begun int, err error) error {
	if err != nil {
		return fmt.Errorf("append: %w", err)
	}
	ops := l.mem.OpCount()
	for _, t := range tell(drafts, receipts) {
		if t.Seq <= c.shown {
			return fmt.Errorf("sequence %d is given out again: it was shown before the crash", t.Seq)
		}
		t.begun, t.acked, t.number = begun, ops, l.staging
		if l.opts.Sync == batpak.SyncAlways {
			t.durable = ops
		}
		c.want = append(c.want, t)
	}
	c.least, c.most = len(c.want), len(c.want)
	if len(c.want) > 200 {
		return nil
	}
	return chained(slices.DeleteFunc(slices.Clone(c.want), func(t told) bool {
		return c.murky[streamName{t.Coordinate.Entity(), t.Lane}]
	}))
}

// again opens the store that was closed, checks it, closes it, and checks that this changed no event.
func (l *life) again(c *claim) error {
	var before map[string][]byte
	if l.compare {
		before = segmentsOf(l.mem.Files())
	}
	st, err := l.open()
	if err != nil {
		return fmt.Errorf("open again: %w", err)
	}
	if _, _, err := c.holds(st); err != nil {
		return errors.Join(fmt.Errorf("opened again: %w", err), st.Close())
	}
	if rep := st.OpenReport(); !rep.Clean || rep.TornBytes > 0 || rep.Moved > 0 {
		return errors.Join(fmt.Errorf("opened again: not a clean end:\n%v", rep), st.Close())
	}
	if err := st.Close(); err != nil {
		return fmt.Errorf("close again: %w", err)
	}
	if l.compare {
		return sameFiles(segmentsOf(l.mem.Files()), before)
	}
	return nil
}

// segmentsOf returns the segments among files.
func segmentsOf(files map[string][]byte) map[string][]byte {
	for name := range files {
		if _, ok := segment.ParseName(name); !ok {
			delete(files, name)
		}
	}
	return files
}

// sameFiles says which file is not as it was.
func sameFiles(got, want map[string][]byte) error {
	for name, b := range got {
		if w, ok := want[name]; !ok {
			return fmt.Errorf("file %s is new", name)
		} else if !bytes.Equal(b, w) {
			return fmt.Errorf("file %s has changed", name)
		}
	}
	for name := range want {
		if _, ok := got[name]; !ok {
			return fmt.Errorf("file %s is gone", name)
		}
	}
	return nil
}
