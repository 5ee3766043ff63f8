package batpak

import (
	"context"
	"errors"
	"fmt"

	"batpak/event"
	"batpak/index"
	"batpak/internal/cursors"
	"batpak/internal/planted"
	"batpak/internal/vfs"
)

// A located is what the store knows of a consumer: three places tell, and the newest one counts. The log says where it
// was put (a ConsumerRecord) and, in one batch with what came of it, how far it is (a PositionRecord). The file says how
// far it is otherwise. The generation begins with the ConsumerRecord: what the others say of older ones counts no more.
type located struct {
	record ConsumerRecord // zero Generation: the log does not know the consumer
	file   cursors.File   // zero Generation: there is none
	at     cursors.Position
}

// known reports whether the consumer has been made.
func (l *located) known() bool { return l.record.Generation > 0 || l.file.Position.Generation > 0 }

// print returns the fingerprint of what the log says that the consumer selects.
func (l *located) print() (print [32]byte, err error) {
	q, err := l.query()
	if err != nil {
		return print, err
	}
	return q.fingerprint(), nil
}

// query returns what the log says that the consumer selects.
func (l *located) query() (q storedQuery, err error) {
	err = decodeStrictly(l.record.Query, &q)
	return q, err
}

// locate finds out where a consumer is. What it could find comes with an error, too.
//
// Errors: *[PositionError]; those of [Store.Read]; I/O errors.
func (s *Store) locate(ctx context.Context, name string) (l located, err error) {
	file, failed := s.cursorFile(name) // first: what it says the log knows by then, also when somebody puts the consumer elsewhere
	if l.record, err = s.consumerRecord(ctx, name); err != nil {
		return l, err
	}
	if l.file = file; failed != nil || !l.known() {
		return l, failed
	}
	if l.at, err = position(l.record.Generation, l.record.Seq, l.record.Hash); err != nil {
		return l, s.historyError(name, l.file.Position, "the log does not know the consumer")
	}
	logged, err := s.loggedPosition(ctx, name)
	if err != nil {
		return l, err
	}
	if logged.Generation == l.at.Generation && l.at.Before(logged) {
		l.at = logged
	}
	if l.file.Position.Generation < l.at.Generation {
		return l, nil // of before the consumer was put elsewhere; or none
	}
	if err := s.checkFile(ctx, name, &l); err != nil {
		return l, err
	}
	if l.at.Before(l.file.Position) {
		l.at = l.file.Position
	}
	return l, nil
}

// checkFile compares the file of a consumer with the log.
//
// Errors: *[PositionError]; those of [Store.Read].
func (s *Store) checkFile(ctx context.Context, name string, l *located) error {
	p := l.file.Position
	if s.opts.ReadOnly && p.Seq > s.Visible() {
		return nil // the writer is ahead of what this process has looked at
	}
	if planted.On(planted.PositionUnchecked) {
		return nil
	}
	if last := s.lastSeq(); p.Seq > last {
		return &PositionError{
			Consumer: name, File: cursors.DirName + "/" + cursors.FileName(name), Seq: p.Seq, LastSeq: last, Err: ErrPositionAhead,
			Reason: fmt.Sprintf("it names event %d, the last one is %d", p.Seq, last),
		}
	}
	if p.Generation > l.at.Generation {
		if s.opts.ReadOnly {
			return nil // the same
		}
		return s.historyError(name, p, fmt.Sprintf("the log knows generation %d of it, not %d", l.at.Generation, p.Generation))
	}
	print, err := l.print()
	if err != nil {
		return fmt.Errorf("query of consumer %q: %w", name, err)
	}
	if print != l.file.Query {
		return s.historyError(name, p, "the log knows another query of this generation")
	}
	if p.Hash.IsZero() {
		return nil
	}
	// An event that compaction has taken cannot be compared.
	if hash, ok, err := s.hashAt(ctx, p.Seq); err != nil || ok && hash != p.Hash {
		if err != nil {
			return err
		}
		return s.historyError(name, p, fmt.Sprintf("event %d is another one", p.Seq))
	}
	return nil
}

// historyError returns the error for a file of another history.
func (s *Store) historyError(name string, p cursors.Position, reason string) error {
	return &PositionError{
		Consumer: name, File: cursors.DirName + "/" + cursors.FileName(name), Seq: p.Seq, LastSeq: s.lastSeq(),
		Reason: reason, Err: ErrPositionHistory,
	}
}

// lastSeq returns the last sequence that the store has.
func (s *Store) lastSeq() uint64 { return s.Frontier().Written }

// cursorFile returns what the file of a consumer says; the zero File when there is none.
//
// Errors: *[PositionError]; I/O errors.
func (s *Store) cursorFile(name string) (cursors.File, error) {
	dir, err := s.cursorDir()
	if err != nil || dir == nil {
		return cursors.File{}, err
	}
	f, err := cursors.Read(dir, s.state.StoreID, name)
	if errors.Is(err, cursors.ErrAbsent) {
		return cursors.File{}, nil
	}
	return f, fileError(name, err)
}

// fileError translates what package cursors says of a file.
func fileError(name string, err error) error {
	var file *cursors.FileError
	if !errors.As(err, &file) {
		return err
	}
	if errors.Is(err, vfs.ErrUnsafePath) {
		return fmt.Errorf("%s: %w", file.File, file.Err) // nothing here takes it away
	}
	finding := ErrPositionDamaged
	switch {
	case errors.Is(err, cursors.ErrForeign):
		finding = ErrPositionForeign
	case errors.Is(err, cursors.ErrFuture):
		finding = ErrPositionFuture
	}
	return &PositionError{Consumer: name, File: file.File, Reason: fmt.Sprintf("%s at offset %d", file.Reason, file.Offset), Err: finding}
}

// newest calls fn with the newest event that q selects, if there is one: also where it is not visible yet, since it
// stands behind an open fence. The payload is fn's for as long as it runs.
//
// Errors: those of fn; as [Store.Read].
func (s *Store) newest(ctx context.Context, q Query, fn func(payload []byte) error) error {
	q.Reverse = true
	return s.each(ctx, q, func(raw *event.Raw) (bool, error) { return false, fn(raw.Payload) })
}

// each calls fn with the events that q selects, visible or not, until it returns false.
//
// Errors: those of fn; as [Store.Read].
func (s *Store) each(ctx context.Context, q Query, fn func(*event.Raw) (bool, error)) error {
	compiled, err := q.compile()
	if err != nil {
		return err
	}
	return s.look(ctx, func(v *index.View) error {
		if !s.opts.ReadOnly {
			if v = s.set.AcquireAll(); v == nil {
				return ErrClosed
			}
			defer v.Release()
		}
		cur := v.Scan(compiled, true)
		defer cur.Close()
		for cur.Next() {
			if more, err := fn(cur.Raw()); err != nil || !more {
				return err
			}
		}
		return cur.Err()
	})
}

// consumerRecord returns the newest record of a consumer; the zero record when there is none.
func (s *Store) consumerRecord(ctx context.Context, name string) (r ConsumerRecord, err error) {
	q := Query{Entity: ConsumersEntity, Kinds: []event.Kind{KindConsumer}, Tags: []string{name}}
	err = s.newest(ctx, q, func(payload []byte) error {
		r = ConsumerRecord{}
		return decodeStrictly(payload, &r)
	})
	if err != nil {
		return ConsumerRecord{}, fmt.Errorf("record of consumer %q: %w", name, err)
	}
	return r, nil
}

// loggedPosition returns the newest position that the log has of a consumer; the zero Position when there is none.
func (s *Store) loggedPosition(ctx context.Context, name string) (p cursors.Position, err error) {
	q := Query{Entity: consumerEntity(name), Kinds: []event.Kind{KindPosition}}
	err = s.newest(ctx, q, func(payload []byte) (err error) {
		p, err = decodePosition(payload)
		return err
	})
	if err != nil {
		return p, fmt.Errorf("position of consumer %q: %w", name, err)
	}
	return p, nil
}

// hashAt returns the hash of an event, hidden or not; ok is false when there is none.
func (s *Store) hashAt(ctx context.Context, seq uint64) (h event.Hash, ok bool, err error) {
	if seq == 0 {
		return h, false, nil
	}
	q := Query{After: seq - 1, Before: seq + 1, System: true}
	err = s.each(ctx, q, func(raw *event.Raw) (bool, error) {
		h, ok = raw.Hash, true
		return false, nil
	})
	return h, ok, err
}

// begin makes the consumer, if the store does not know it.
func (c *Consumer) begin(ctx context.Context) error {
	st := c.state
	st.placing.Lock()
	defer st.placing.Unlock()
	if _, loaded, _ := st.position(); loaded {
		return nil
	}
	l, err := c.store.locate(ctx, st.name)
	var wrong *PositionError
	switch {
	case errors.As(err, &wrong):
		return nil // whoever asks for the position will be told
	case err != nil:
		return err
	case l.known():
		return c.use(&l)
	}
	seq, err := c.origin()
	if err != nil {
		return err
	}
	return c.place(ctx, "made", 1, seq, seq)
}

// origin returns where From says that the consumer begins.
//
// Errors: *[OptionError].
func (c *Consumer) origin() (uint64, error) {
	if c.opts.From.now {
		return c.store.Visible(), nil
	}
	if last := c.store.lastSeq(); c.opts.From.seq > last {
		return 0, &OptionError{Field: "From", Value: c.opts.From.seq, Reason: fmt.Sprintf("behind the last event, %d", last)}
	}
	return c.opts.From.seq, nil
}

// use makes what was found the state of the consumer. The caller holds placing.
func (c *Consumer) use(l *located) error {
	print, err := l.print()
	if err != nil {
		return fmt.Errorf("query of consumer %q: %w", c.state.name, err)
	}
	st := c.state
	st.mu.Lock()
	defer st.mu.Unlock()
	st.print = print
	st.settle(l.at)
	return nil
}

// place puts the consumer behind seq, durably, and begins a generation. The end of ctx does not leave open whether it
// has: else this process would go on in one place, and the next one in the other. The caller holds placing.
func (c *Consumer) place(ctx context.Context, reason string, generation, seq, origin uint64) error {
	s, st := c.store, c.state
	hash, _, err := s.hashAt(ctx, seq)
	if err != nil {
		return err
	}
	p := cursors.Position{Generation: generation, Seq: seq, Hash: hash}
	d := recordDraft(ConsumersEntity, KindConsumer, &ConsumerRecord{
		Name: st.name, Reason: reason, Generation: generation, Seq: seq, Hash: hashText(hash), Origin: origin,
		Query: c.query.text(),
	})
	d.Tags, d.Ack = []string{st.name}, AckDurable
	if _, err := s.Append(context.WithoutCancel(ctx), d); err != nil {
		return fmt.Errorf("consumer %q: %w", st.name, err)
	}
	st.mu.Lock()
	st.print = c.print
	st.settle(p)
	st.mu.Unlock()
	s.consumers.saving.RLock()
	defer s.consumers.saving.RUnlock()
	if s.consumers.closed {
		return nil // the log knows
	}
	return s.writeCursor(st.name, p, c.print)
}

// load sees to it that the state of the consumer is known, and fits the consumer.
//
// Errors: *[PositionError]; as locate.
func (c *Consumer) load(ctx context.Context) error {
	st := c.state
	st.placing.Lock()
	defer st.placing.Unlock()
	if _, loaded, _ := st.position(); !loaded {
		l, err := c.store.locate(ctx, st.name)
		if err == nil {
			err = c.use(&l)
		}
		if err != nil {
			return err
		}
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.print != c.print {
		return &PositionError{Consumer: st.name, Seq: st.at.Seq, LastSeq: c.store.lastSeq(), Err: ErrPositionQuery}
	}
	return nil
}

// Reset puts the consumer back to where ConsumerOptions.From says, with the query that it has now; FromNow is the end as
// it is now. It is durable when Reset returns; ctx is as for [Consumer.Seek]. Events behind that are handed over again; what
// was parked of them counts as handed over anew. What a reactor has answered is not answered twice, see [Consumer.React].
//
// Errors: [ErrConsumerRunning]; *[PositionError] with [ErrPositionFuture]; as [Store.Append].
func (c *Consumer) Reset(ctx context.Context) error {
	seq, err := c.origin()
	if err != nil {
		return err
	}
	return c.move(ctx, "reset", seq, true)
}

// Seek puts the consumer behind the event with this sequence, back or ahead, with the query that it has now; 0 is the
// beginning. It is durable when Seek returns. Events in front of that are not handed over any more. The end of ctx takes
// nothing back that is being written: that is waited for.
//
// Errors: as [Consumer.Reset]; *[DraftError] for a sequence behind the end of the log.
func (c *Consumer) Seek(ctx context.Context, seq uint64) error {
	if last := c.store.lastSeq(); seq > last {
		return &DraftError{Field: "Seq", Reason: fmt.Sprintf("%d is behind the last event, %d", seq, last)}
	}
	return c.move(ctx, "seek", seq, false)
}

// move puts the consumer elsewhere; begin says that it begins there.
func (c *Consumer) move(ctx context.Context, reason string, seq uint64, begin bool) error {
	s, st := c.store, c.state
	if err := s.writable(ctx); err != nil {
		return err
	}
	if err := s.consumers.enter(st, nil); err != nil {
		return err
	}
	defer st.leave()
	st.placing.Lock()
	defer st.placing.Unlock()
	l, err := s.locate(ctx, st.name)
	var wrong *PositionError
	if err != nil && (!errors.As(err, &wrong) || errors.Is(err, ErrPositionFuture)) {
		return err
	}
	origin := l.record.Origin
	if begin {
		origin = seq
	}
	return c.place(ctx, reason, max(l.record.Generation, l.file.Position.Generation)+1, seq, origin)
}
