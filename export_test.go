package batpak

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"batpak/event"
	"batpak/idemp"
	"batpak/index"
	"batpak/internal/vfs"
	"batpak/segment"
)

// SetFS makes the stores that o opens live in fs.
func (o *Options) SetFS(fs vfs.FS) { o.fs = fs }

// SetFS makes the repairs of o work in fs.
func (o *RepairOptions) SetFS(fs vfs.FS) { o.fs = fs }

// WaitSealed returns when the background has nothing left to seal.
func (s *Store) WaitSealed() {
	b := &s.background
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.pending) > 0 || b.busy {
		b.quiet.Wait()
	}
}

// WaitIdle returns when the background has nothing left to fill, to prepare, to index or to seal.
func (s *Store) WaitIdle() {
	s.WaitSealed()
	b := &s.background
	b.begin(s)
	for _, c := range []chan struct{}{b.nudge, b.behind} {
		// The third wake is taken when what the second one asked for is done.
		for range 3 {
			select {
			case c <- struct{}{}:
			case <-b.ctx.Done():
				return
			}
		}
		for len(c) > 0 {
			runtime.Gosched()
		}
	}
}

// Waiting returns how many appends wait for a leader.
func (s *Store) Waiting() int {
	s.queue.mu.Lock()
	defer s.queue.mu.Unlock()
	return len(s.queue.waiting)
}

// Builds returns how often a read-only store was built anew by Refresh.
func (s *Store) Builds() uint64 { return s.state.Builds() }

// Rewrite replaces a sealed segment by a file of the same events under another salt, as a compaction does that evicts
// nothing. The store itself goes on with the file that it has; it is to be killed next.
func (s *Store) Rewrite(ctx context.Context, id uint64) error {
	headers, f, err := s.headers(id)
	if err != nil {
		return err
	}
	defer f.Close()
	h := headers[0]
	h.Salt[0] ^= 1
	b, seal := segment.AppendHeader(nil, &h), segment.NewSeal(h.Salt)
	frames := segment.NewScanner(f, &headers[0], headers[0].Len(), headers[1].End)
	for frames.Next() {
		frame := frames.Frame()
		b = seal.AppendFrame(b, int64(len(b)), frame.Type, frame.Flags, 0, frame.Body)
	}
	if frames.Offset() != headers[1].End || int64(len(b)) != headers[1].End {
		return fmt.Errorf("segment %d ends at %d, and again at %d, want %d", id, frames.Offset(), len(b), headers[1].End)
	}
	r, err := s.state.PrepareReplacement(ctx, id, []uint64{id})
	if err != nil {
		return err
	}
	if err := r.Write(id, func(f vfs.File) error { _, err := f.WriteAt(b, 0); return err }); err != nil {
		return err
	}
	return errors.Join(r.Commit(ctx), r.Place(ctx), r.Finish())
}

// headers returns the headers of a segment and of the one behind it, and the file of the first.
func (s *Store) headers(id uint64) (h [2]segment.Header, f vfs.File, err error) {
	for i := len(h) - 1; i >= 0; i-- {
		if f, err = s.state.Dir.OpenRead(segment.Name(id + uint64(i))); err != nil {
			return h, nil, err
		}
		b := make([]byte, segment.MaxHeaderLen)
		if _, err = f.ReadAt(b, 0); err == nil {
			h[i], err = segment.DecodeHeader(b, id+uint64(i))
		}
		if err != nil || i > 0 {
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			return h, nil, err
		}
	}
	return h, f, nil
}

// Selected returns the first event in the log that a condition selects; 0 for none.
func (s *Store) Selected(u Unless) (uint64, error) {
	compiled, err := new(encoder).compileUnless([]Unless{u})
	if err != nil {
		return 0, err
	}
	return s.committed(&compiled[0])
}

// SignGroup has the committer sign a write group of requests with these receipts, of events in the order of their
// sequences, the last of them the last one that there is; what the log has of older ones may be among them. It returns
// the receipts as the callers would get them.
func (s *Store) SignGroup(requests ...[]Receipt) [][]Receipt {
	c := &s.commit
	c.mu.Lock()
	defer c.mu.Unlock()
	seq, hashes := c.seq, c.hashes
	c.seq, c.hashes = 0, nil
	var group []*request
	for _, receipts := range requests {
		r := newRequest()
		for _, rcpt := range receipts {
			rcpt.Signature = Signature{}
			r.receipts = append(r.receipts, rcpt)
			if rcpt.Seq > c.seq {
				c.seq, c.hashes = rcpt.Seq, append(c.hashes, rcpt.Hash)
			}
		}
		group = append(group, r)
	}
	s.signGroup(group)
	c.seq, c.hashes = seq, hashes
	out := make([][]Receipt, len(group))
	for i, r := range group {
		s.signReceipts(r)
		out[i] = r.receipts
	}
	return out
}

// Ancestry returns what keeps a branch from being read in v.
func Ancestry(v *index.View, entity string, lane uint32) error {
	_, err := ancestryIn(v, entity, lane, nil)
	return err
}

// HashKey returns what a frame holds of an idempotency key.
func HashKey(key []byte) [16]byte { return new(encoder).keyHash(key) }

// KnowsKey looks the hash of an idempotency key up, as an append does.
func (s *Store) KnowsKey(hash [16]byte) (bool, error) {
	r := request{probes: []index.KeyProbe{index.NewKeyProbe(hash, 0)}}
	if suspects, err := s.suspects(&r); err != nil || len(suspects) == 0 {
		return false, err
	}
	v := s.set.Acquire()
	defer v.Release()
	found, err := v.FindKey(new(event.Raw), hash, idemp.WindowStart(s.commit.seq, s.opts.IdempotencyWindow), s.hidden.keyFilter())
	if found || err != nil {
		return found, err
	}
	_, found, err = s.state.EvictedKey(hash)
	return found, err
}

// KnownWhenEntered reports whether a waiter is known by the time that [watermark.wait] says so.
func KnownWhenEntered() (known bool) {
	var w watermark
	ctx, cancel := context.WithCancel(context.Background())
	_, _ = w.wait(ctx, 5, func() { known = w.wanted(5); cancel() })
	return known
}

// Asleep returns how many followers wait for an event that concerns them.
func (s *Store) Asleep() int {
	h := &s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	asleep := map[*sleeper]bool{}
	for _, standing := range h.standing {
		for _, f := range standing {
			if f.asleep {
				asleep[f] = true
			}
		}
	}
	return len(asleep)
}

// Woken returns how often followers were woken to look at something.
func (s *Store) Woken() uint64 { return s.hub.woken.Load() }

// Followed reports whether appends look for followers.
func (s *Store) Followed() bool { return s.hub.filter.Load() != nil }

// FollowDurable follows what is durable, as consumers do.
func (s *Store) FollowDurable(ctx context.Context, q Query, yield func(event.Event) bool) error {
	f, err := s.newFollower(q)
	if err != nil {
		return err
	}
	defer f.close()
	f.durable = true
	return f.follow(ctx, yield)
}

// A Follower is a follower, one step at a time.
type Follower struct{ f *follower }

// NewFollower returns a follower.
func (s *Store) NewFollower(q Query) (Follower, error) {
	f, err := s.newFollower(q)
	return Follower{f}, err
}

// Pull returns the sequences that a pull yields, and up to where it has looked.
func (f Follower) Pull(ctx context.Context) (seqs []uint64, at uint64, err error) {
	_, err = f.f.pull(ctx, func(ev event.Event) bool { seqs = append(seqs, ev.Seq); return true })
	return seqs, f.f.at, err
}

// Wait waits for something to pull.
func (f Follower) Wait(ctx context.Context) error { return f.f.wait(ctx) }

// Close ends the follower.
func (f Follower) Close() { f.f.close() }
