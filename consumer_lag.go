package batpak

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"batpak/event"
	"batpak/index"
	"batpak/internal/cursors"
)

// A Position is where a consumer is.
type Position struct {
	Generation uint64     // one more each time the consumer is put elsewhere
	Seq        uint64     // everything up to it was handled; 0 for nothing
	Hash       event.Hash // of that event; zero where there is none
}

// A Lag is what a consumer has in front of it. All of it is zero when it has seen everything.
type Lag struct {
	Events uint64        // visible ones that its query selects
	Bytes  int64         // of the log, from the first of them to the end
	Age    time.Duration // how long the first of them has been there, by the store's clock
}

// A ConsumerInfo is what the store knows of one consumer.
type ConsumerInfo struct {
	Name     string // empty for a file that nobody can tell the consumer of
	Query    string // what it selects, as JSON; empty where it is not known
	Position Position
	Lag      Lag
	Parked   int
	Running  bool // in this process
	// Err is what is wrong with its position, a *[PositionError] or an error of reading it; the fields above are what is
	// known all the same.
	Err error
}

// Position returns where the consumer is: what was handled, not what was written to disk.
//
// Errors: *[PositionError]; [ErrClosed]; as [Store.Read].
func (c *Consumer) Position(ctx context.Context) (Position, error) {
	if err := c.store.mayRead(ctx); err != nil {
		return Position{}, err
	}
	if err := c.load(ctx); err != nil {
		return Position{}, err
	}
	at, _, _ := c.state.position()
	return Position(at), nil
}

// Lag returns what the consumer has in front of it. The events are counted by [Store.Count], one is read, and the bytes
// are those between two places in the log: what lies in between costs a look at the index of each segment.
//
// Errors: as [Consumer.Position].
func (c *Consumer) Lag(ctx context.Context) (Lag, error) {
	p, err := c.Position(ctx)
	if err != nil {
		return Lag{}, err
	}
	return c.store.lag(ctx, c.opts.Query, p.Seq)
}

// lag returns what of q lies behind seq.
func (s *Store) lag(ctx context.Context, q Query, seq uint64) (l Lag, err error) {
	q.After, q.Limit = seq, 1
	for first, err := range s.Read(ctx, q) {
		if err != nil {
			return l, err
		}
		l.Age = max(s.opts.Clock().Sub(first.HLC.Time()), 0)
		err = s.look(ctx, func(v *index.View) (err error) {
			l.Bytes, err = v.BytesFrom(first.Seq)
			return err
		})
		if err != nil {
			return Lag{}, fmt.Errorf("lag: %w", err)
		}
		q.Limit = 0
		l.Events, err = s.Count(ctx, q)
		return l, err
	}
	return l, nil
}

// Consumers returns all consumers that the store knows of, by name. Each costs its position and a count, see
// [Consumer.Lag], and all that it has ever parked is read. A read-only store tells what it has seen so far: the positions
// of a run in another process are those that were written.
//
// Errors: [ErrClosed]; as [Store.Read]. What is wrong with one consumer is in its Err.
func (s *Store) Consumers(ctx context.Context) ([]ConsumerInfo, error) {
	if err := s.mayRead(ctx); err != nil {
		return nil, err
	}
	files, err := s.cursorFiles() // first: the log knows of each before it is made
	if err != nil {
		return nil, fmt.Errorf("consumers: %w", err)
	}
	records, err := s.consumerRecords(ctx)
	if err != nil {
		return nil, fmt.Errorf("consumers: %w", err)
	}
	infos := make([]ConsumerInfo, 0, len(records))
	for _, name := range slices.Sorted(maps.Keys(records)) {
		infos = append(infos, s.consumerInfo(ctx, name, records[name]))
	}
	infos = append(infos, s.strayCursors(files, records)...)
	slices.SortStableFunc(infos, func(a, b ConsumerInfo) int { return cmp.Compare(a.Name, b.Name) })
	return infos, s.mayRead(ctx)
}

// consumerRecords returns the records of all consumers, oldest first. Of one that this version cannot read it has the name;
// whoever looks for the position is told why.
func (s *Store) consumerRecords(ctx context.Context) (map[string][]ConsumerRecord, error) {
	records := make(map[string][]ConsumerRecord)
	q := Query{Entity: ConsumersEntity, Kinds: []event.Kind{KindConsumer}}
	err := s.each(ctx, q, func(raw *event.Raw) (bool, error) {
		var r ConsumerRecord
		if err := decodeStrictly(raw.Payload, &r); err != nil {
			r = ConsumerRecord{}
			for tag := range raw.EachTag {
				r.Name = string(tag)
			}
		}
		records[r.Name] = append(records[r.Name], r)
		return true, nil
	})
	return records, err
}

// consumerInfo returns what is known of a consumer with these records.
func (s *Store) consumerInfo(ctx context.Context, name string, records []ConsumerRecord) ConsumerInfo {
	info := ConsumerInfo{Name: name, Query: string(records[len(records)-1].Query)}
	st := s.consumers.of(name)
	st.mu.Lock()
	info.Running = st.running && st.cancel != nil
	at, loaded := st.at.Position, st.loaded
	st.mu.Unlock()
	l := located{record: records[len(records)-1], at: at}
	var err error
	if !loaded {
		if l, err = s.locate(ctx, name); l.record.Generation == 0 {
			l.record = records[len(records)-1] // it was not found for another reason
		}
	}
	info.Position = Position(l.at)
	stored, failed := l.query()
	err = errors.Join(err, failed)
	if q, failed := stored.query(); err == nil && failed == nil {
		info.Lag, err = s.lag(ctx, q, l.at.Seq)
	} else {
		err = errors.Join(err, failed)
	}
	parked, failed := s.parked(ctx, name, records)
	info.Parked, info.Err = len(parked), errors.Join(err, failed)
	return info
}

// A cursorFinding is what a file in the directory of positions says, or what is wrong with it.
type cursorFinding struct {
	cursors.File
	err *cursors.FileError
}

// cursorFiles returns all files of positions.
func (s *Store) cursorFiles() (files []cursorFinding, err error) {
	dir, err := s.cursorDir()
	if err != nil || dir == nil {
		return nil, err
	}
	for f, err := range cursors.All(dir, s.state.StoreID) {
		var file *cursors.FileError
		if err != nil && !errors.As(err, &file) {
			return nil, err
		}
		files = append(files, cursorFinding{f, file})
	}
	return files, nil
}

// strayCursors returns what there is to say of files whose consumer the log does not know.
func (s *Store) strayCursors(files []cursorFinding, records map[string][]ConsumerRecord) (strays []ConsumerInfo) {
	known := make(map[string]bool, len(records))
	for name := range records {
		known[cursors.DirName+"/"+cursors.FileName(name)] = true
	}
	for _, f := range files {
		switch {
		case f.err != nil:
			if !known[f.err.File] {
				strays = append(strays, ConsumerInfo{Err: fileError("", f.err)})
			}
		case records[f.Name] == nil && !s.opts.ReadOnly:
			strays = append(strays, ConsumerInfo{
				Name: f.Name, Position: Position(f.Position), Err: s.historyError(f.Name, f.Position, "the log does not know the consumer"),
			})
		}
	}
	return strays
}

// KnownConsumer returns the consumer of that name with the query that the log knows: for who puts it elsewhere or looks
// after what is parked, and has nothing to do with the events. Its Reset leads to where it began when it was made or reset.
//
// Errors: [ErrNoConsumer]; as [Store.Consumer].
func (s *Store) KnownConsumer(ctx context.Context, name string) (*Consumer, error) {
	if err := checkConsumerName(name); err != nil {
		return nil, err
	}
	if err := s.writable(ctx); err != nil {
		return nil, err
	}
	r, err := s.consumerRecord(ctx, name)
	switch {
	case err != nil:
		return nil, err
	case r.Generation == 0:
		return nil, fmt.Errorf("%w: %q", ErrNoConsumer, name)
	}
	stored, err := (&located{record: r}).query()
	if err != nil {
		return nil, fmt.Errorf("query of consumer %q: %w", name, err)
	}
	q, err := stored.query()
	if err != nil {
		return nil, fmt.Errorf("query of consumer %q: %w", name, err)
	}
	return s.Consumer(name, ConsumerOptions{Query: q, From: FromAfter(r.Origin)})
}
