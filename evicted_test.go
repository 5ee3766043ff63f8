package batpak_test

import (
	"bytes"
	"errors"
	"fmt"

	"batpak"
	"batpak/event"
	"batpak/idemp"
	"batpak/internal/vfs"
	"batpak/segment"
)

// evict writes the keys of events of which the log knows nothing else: another store had them.
func (l *lifetime) evict(store [16]byte) error {
	past, err := writtenRig(batpak.Options{SegmentSize: 1 << 20}, false, func(r *rig) error {
		// None of the sequences that this store hides are those of the evicted.
		before := make([]batpak.Draft, 500)
		for i := range before {
			before[i] = r.draft(streamA, 0)
		}
		if err := second(r.batch(before)); err != nil {
			return err
		}
		for i := range 3 {
			d := r.full(streamB)
			d.IdempotencyKey = fmt.Appendf(nil, "evicted %d", i)
			if err := second(r.append(d)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	l.gone = past.history()[500:]
	update := idemp.Update{Store: store}
	b := past.mem.Files()[segment.Name(1)]
	head, err := segment.DecodeHeader(b, 1)
	if err != nil {
		return err
	}
	sc := segment.NewScanner(bytes.NewReader(b), &head, head.Len(), int64(len(b)))
	for sc.Next() {
		var raw event.Raw
		if sc.Frame().Type != segment.TypeEvent || raw.Decode(sc.Frame().Body) != nil || raw.Key == (event.Key{}) {
			continue
		}
		t := &l.gone[len(update.Fresh)]
		update.Fresh = append(update.Fresh, idemp.EntryOf(&raw, t.receipt.Parent))
		t.receipt.Store = store
	}
	dir, err := l.mem.OpenDir(vfs.MemDir, vfs.DirOptions{})
	if err != nil {
		return err
	}
	return errors.Join(idemp.Write(dir, update), dir.Close())
}
