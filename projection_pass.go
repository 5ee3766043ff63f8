package batpak

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"batpak/event"
	"batpak/index"
)

// yieldEvery is how many events a pass looks at before it lets those in who want to see a state.
const yieldEvery = 1024

// A holding is one state, and how far it has come.
type holding struct {
	fold    fold
	at      uint64           // every visible event up to here was applied
	applied uint64           // events
	events  uint64           // of the log up to at: when they are fewer now, some were evicted
	broken  bool             // a fold has failed half-way: the state is not that of at
	why     *ProjectionError // the failure, if it was one
	stale   bool             // events that it was folded from have been evicted
}

// A feed is a state in a pass.
type feed struct {
	def    *projecting
	h      *holding
	mu     *sync.RWMutex // held while h changes; nil when nobody else sees it
	gone   func() bool   // reports whether nobody wants h any more; nil means never
	due    uint64        // events applied at which the pass is to stop; 0 for never
	failed *ProjectionError
	out    bool // it takes no more events of this pass
}

// wants reports whether the event that the index calls raw is one for f.
func (f *feed) wants(raw *event.Raw) bool {
	q := &f.def.query
	return !f.out && raw.Seq > f.h.at && raw.Seq > q.After && (q.Before == 0 || raw.Seq < q.Before) && q.Matches(raw)
}

// fail takes f out of the pass because of an event.
func (f *feed) fail(raw *event.Raw, err error) {
	k := &f.def.key
	f.failed = &ProjectionError{
		Projection: k.Name, Version: k.Version, Seq: raw.Seq, ID: raw.ID, Entity: string(raw.Entity), Kind: raw.Kind, Err: err,
	}
	f.h.broken, f.h.why, f.h.at, f.out = true, f.failed, raw.Seq-1, true
}

// A pass brings states to the same position by reading the log once. Each gets what its own query selects, from where
// it stands. Not safe for concurrent use.
type pass struct {
	store  *Store
	feeds  []*feed
	query  index.Query // what is read: all that any feed wants
	alone  bool        // one feed, which wants all that is read
	cursor index.Cursor
	names  names

	upTo    uint64 // sequence to stop at
	reached uint64 // every event up to here was handed out
	after   again
}

var passes = sync.Pool{New: func() any { return new(pass) }}

// project brings feeds up to the sequence upTo, or to the visible end when that comes first. more is true when it has
// stopped before, since a feed is due. What becomes of each feed it says.
//
// Errors: *[CanceledError]; [ErrClosed]; those of [Store.Read] for damage. The feeds then stand somewhere on the way.
func (s *Store) project(ctx context.Context, feeds []*feed, upTo uint64) (more bool, err error) {
	p := passes.Get().(*pass)
	p.store, p.feeds, p.upTo, p.after = s, feeds, min(upTo, s.set.Visible()), again{}
	defer func() {
		p.store, p.feeds, p.query = nil, nil, index.Query{}
		passes.Put(p)
	}()
	for begin := true; begin && err == nil; {
		begin, more, err = p.over(ctx)
	}
	return more, err
}

// over goes over the log with one view. again says that it must be done once more, from where it stands.
func (p *pass) over(ctx context.Context) (again, more bool, err error) {
	p.after.builds = p.store.state.Builds()
	v, err := p.store.view(ctx)
	if err != nil {
		return false, false, err
	}
	defer v.Release()
	err = p.begin(v)
	from := p.reached
	if err == nil && p.in() > 0 {
		more, err = p.read(ctx, v)
	}
	if ended := p.end(v); err == nil {
		err = ended
	}
	if err == nil || p.store.mayRead(ctx) != nil {
		return false, more, err
	}
	if p.reached != from {
		p.after.renewed = false
	}
	if err := p.store.mend(ctx, &p.after, err); err != nil {
		return false, false, fmt.Errorf("project: %w", err)
	}
	return true, false, nil
}

// begin takes those feeds out whose history has changed, and says what is to be read for the others.
func (p *pass) begin(v *index.View) error {
	p.query, p.reached = index.Query{}, p.upTo
	var in []*feed
	for _, f := range p.feeds {
		if f.out {
			continue
		}
		events, err := v.CountTo(f.h.at)
		if err != nil {
			return err
		}
		if events != f.h.events {
			f.h.stale, f.out = true, true
			continue
		}
		in = append(in, f)
		p.reached = min(p.reached, f.h.at)
	}
	p.alone = len(in) == 1
	switch len(in) {
	case 0:
	case 1:
		p.query = in[0].def.query
	default:
		p.query = unionOf(in)
	}
	p.query.After = max(p.query.After, p.reached)
	if end := p.upTo + 1; p.query.Before == 0 || p.query.Before > end {
		p.query.Before = end
	}
	p.query.Hidden = p.store.hidden.filter() // behind the view, as reads do
	return nil
}

// unionOf returns a query that selects what any feed wants, and more if there are several. Ranges of sequences are left
// out.
func unionOf(feeds []*feed) index.Query {
	u := feeds[0].def.query
	if len(feeds) > 1 {
		u = index.Query{}
	}
	u.After, u.Before = 0, 0
	kinds := len(feeds) > 1
	for _, f := range feeds {
		q := &f.def.query
		u.System = u.System || q.System
		kinds = kinds && (len(q.Kinds) > 0 || q.Categories != 0)
	}
	for _, f := range feeds {
		if q := &f.def.query; kinds {
			u.Kinds, u.Categories = append(u.Kinds, q.Kinds...), u.Categories|q.Categories
		}
	}
	return u.Normal()
}

// read hands out what there is to read. more is true when a feed is due, gone, or has failed.
func (p *pass) read(ctx context.Context, v *index.View) (more bool, err error) {
	cur := v.ScanWith(&p.cursor, p.query, true)
	defer func() {
		p.store.projections.frames.Add(uint64(cur.Work().Frames))
		cur.Close()
	}()
	for before := p.in(); ; {
		if err := p.store.mayRead(ctx); err != nil {
			return false, err
		}
		for _, f := range p.feeds {
			if !f.out && f.gone != nil && f.gone() {
				f.out = true
				return true, nil // its turn is given back before the others go on
			}
			if !f.out && f.due != 0 && f.h.applied >= f.due {
				return true, nil
			}
		}
		if more, err := p.hold(ctx, cur); !more || err != nil {
			return false, err
		}
		if in := p.in(); in < before {
			return true, nil // the state of one that has failed is made again before the others go on
		}
	}
}

// in returns how many feeds still take events.
func (p *pass) in() (n int) {
	for _, f := range p.feeds {
		if !f.out {
			n++
		}
	}
	return n
}

// hold holds the locks of all feeds while it hands out some events. more is false at the end.
func (p *pass) hold(ctx context.Context, cur *index.Cursor) (more bool, err error) {
	for _, f := range p.feeds {
		if f.mu != nil {
			f.mu.Lock()
			defer f.mu.Unlock()
		}
	}
	whole := false
	defer func() {
		for _, f := range p.feeds {
			f.h.broken = f.h.broken || !whole // a fold has ended its goroutine: whose, and where, nobody knows
		}
	}()
	for n := 0; n < yieldEvery; n += checkEvery {
		if more, err = p.some(cur, checkEvery); !more || err != nil {
			break
		}
		if err = p.store.mayRead(ctx); err != nil {
			break
		}
	}
	if !more && err == nil {
		p.reached = p.upTo
	}
	for _, f := range p.feeds {
		if !f.out {
			f.h.at = max(f.h.at, p.reached)
		}
	}
	whole = true
	return more, err
}

// some hands out up to n events.
func (p *pass) some(cur *index.Cursor, n int) (more bool, err error) {
	for ; n > 0; n-- {
		if !cur.Next() {
			return false, cur.Err()
		}
		raw := cur.Raw()
		p.hand(raw)
		p.reached = raw.Seq
	}
	return true, nil
}

// hand gives an event to the feeds that want it.
func (p *pass) hand(raw *event.Raw) {
	var ev event.Event
	for _, f := range p.feeds {
		if f.out || !p.alone && !f.wants(raw) {
			continue
		}
		if ev.Seq == 0 {
			ev = raw.Event()
			p.names.own(&ev)
		}
		own := ev
		if !p.alone {
			own.Tags = slices.Clone(ev.Tags) // each fold may do with them what it likes
		}
		if err := f.h.fold.take(own); err != nil {
			f.fail(raw, err)
			continue
		}
		f.h.applied++
	}
}

// end notes what the feeds' states were folded from.
func (p *pass) end(v *index.View) error {
	for _, f := range p.feeds {
		if f.h.stale || f.h.broken {
			continue
		}
		events, err := v.CountTo(f.h.at)
		if err != nil {
			return err
		}
		if f.mu != nil {
			f.mu.Lock()
		}
		f.h.events = events
		if f.mu != nil {
			f.mu.Unlock()
		}
	}
	return nil
}
