package batpak

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"batpak/event"
	"batpak/index"
)

// A Gate decides which drafts may be committed: a rule that must hold whoever appends, such as a limit on an account. The
// store asks it inside the committer, behind the conditions of the draft and before the draft has a sequence: nothing
// can be committed between what it sees and what it lets pass. A retry with a known idempotency key is answered before
// any gate is asked.
//
// Gates are asked in the order of [Options.Gates]; the first denial ends it. They stand in everybody's way: a gate
// should look at little, and must not append, wait for the store, or keep what it is given.
type Gate struct {
	Name  string       // 1 to 128 bytes, unique in a store; errors and records name it
	Scope string       // asked about drafts of this scope only; empty means any
	Kinds []event.Kind // asked about drafts of these kinds only; empty means any

	// Check returns nil to let the draft pass, or why it may not. The draft is as it will be committed, without its
	// conditions and without the bytes of its idempotency key; it and the view are valid until Check returns. A Check
	// that panics has denied, with the code [DeniedByPanic]. Calls come one at a time.
	Check func(v *GateView, d *Draft) *Denial
}

// DeniedByPanic is the code of a denial by a gate that panicked.
const DeniedByPanic = "panic"

// A Denial is why a gate does not let a draft pass.
type Denial struct {
	Code    string            `json:"code"`              // for programs
	Message string            `json:"message,omitempty"` // for people
	Context map[string]string `json:"context,omitempty"` // whatever helps to understand it
}

// A GateView is what a [Gate] may look at: the draft's stream, and everything committed before the draft. Events behind
// an open fence count, since they have been committed; hidden ones do not.
type GateView struct {
	Clock uint64     // of the stream, earlier drafts of the same batch counted; 0: it has no event
	Seq   uint64     // of the stream's last event; 0: it has none
	Hash  event.Hash // of the stream's last event; not known, and zero, when that is in the same batch

	store  *Store
	before savepoint // staged before the request
	done   bool
}

// Read is [Store.Read] over everything that was committed before the draft, or will be with it and before it: drafts of
// other callers in the same write group, but not those of the draft's own batch. It is valid while Check runs.
//
// Errors: those of Store.Read.
func (v *GateView) Read(q Query) iter.Seq2[event.Event, error] {
	return func(yield func(event.Event, error) bool) {
		if v.done {
			yield(event.Event{}, fmt.Errorf("%w: a gate's view is used behind its end", ErrInvalid))
			return
		}
		compiled, err := q.compile()
		if err != nil {
			yield(event.Event{}, err)
			return
		}
		v.store.hidden.hide(&compiled)
		r := gateReading{GateView: v, q: compiled, left: q.Limit, yield: yield}
		if q.Limit == 0 {
			r.left = -1
		}
		if q.Reverse {
			_ = r.staged() && r.committed()
		} else {
			_ = r.committed() && r.staged()
		}
	}
}

// A gateReading is a [GateView.Read] under way.
type gateReading struct {
	*GateView
	q     index.Query
	left  int    // events; below 0: no limit
	last  uint64 // sequence yielded last from the log
	yield func(event.Event, error) bool
}

// take yields one event and reports whether to go on.
func (r *gateReading) take(raw *event.Raw) bool {
	ok := r.yield(raw.Event(), nil)
	r.left--
	return ok && r.left != 0
}

// committed yields what is in the log, and reports whether to go on. Where a footer has to be healed it goes on behind
// what it has yielded.
func (r *gateReading) committed() bool {
	on, err := r.scan()
	for r.store.healed(err) {
		switch {
		case r.last == 0:
		case r.q.Reverse:
			r.q.Before = r.last
		default:
			r.q.After = r.last
		}
		on, err = r.scan()
	}
	if err != nil {
		r.yield(event.Event{}, fmt.Errorf("read: %w", err))
		return false
	}
	return on
}

// scan yields what the log holds in the range that is left.
func (r *gateReading) scan() (on bool, err error) {
	v := r.store.set.AcquireAll()
	if v == nil {
		return false, ErrClosed
	}
	defer v.Release()
	cur := v.Scan(r.q, false)
	defer cur.Close()
	for cur.Next() {
		r.last = cur.Raw().Seq
		if !r.take(cur.Raw()) {
			return false, nil
		}
	}
	return true, cur.Err()
}

// staged yields what the group has staged before the request, and reports whether to go on.
func (r *gateReading) staged() bool {
	for sp, err := range r.store.commit.selects(&r.q, r.before.staged, r.q.Reverse) {
		if err != nil {
			r.yield(event.Event{}, fmt.Errorf("read: %w", err))
			return false
		}
		if seq := r.store.commit.raw.Seq; seq <= r.q.After || r.q.Before != 0 && seq >= r.q.Before {
			continue
		}
		raw, err := event.DecodeBody(slices.Clone(r.store.commit.body(sp))) // the gate's
		if err != nil {
			r.yield(event.Event{}, fmt.Errorf("read: %w", err))
			return false
		}
		if !r.take(&raw) {
			return false
		}
	}
	return true
}

// A DeniedError says that a gate did not let a draft pass. The draft was not written.
type DeniedError struct {
	Gate string // name of the gate
	Denial
	// Receipt is that of the record of the denial, where [Draft.RecordDenial] asked for one; nil otherwise.
	Receipt *Receipt
}

func (e *DeniedError) Error() string {
	if e.Message == "" {
		return fmt.Sprintf("%v by %s: %s", ErrDenied, e.Gate, e.Code)
	}
	return fmt.Sprintf("%v by %s: %s: %s", ErrDenied, e.Gate, e.Code, e.Message)
}

// Unwrap returns [ErrDenied].
func (e *DeniedError) Unwrap() error { return ErrDenied }

// applies reports whether g is to be asked about a draft.
func (g *Gate) applies(it *item) bool {
	return (g.Scope == "" || g.Scope == it.at.Scope()) && (len(g.Kinds) == 0 || slices.Contains(g.Kinds, it.kind))
}

// ask asks g about it, whose stream ends in head; the view ends with the answer.
func (s *Store) ask(g *Gate, it *item, head *streamHead, before savepoint) (denial *Denial) {
	v := &GateView{Clock: head.clock, Seq: head.seq, store: s, before: before}
	if head.seq <= before.seq {
		v.Hash = head.hash
	}
	defer func() {
		v.done = true
		if p := recover(); p != nil {
			denial = &Denial{Code: DeniedByPanic, Message: fmt.Sprint(p)}
		}
	}()
	return g.Check(v, it.draft)
}

// gate asks the gates about it, whose stream ends in head. Items of the same request that are placed already are not
// linked yet.
//
// Errors: *[DeniedError].
func (s *Store) gate(it *item, head *streamHead, before savepoint) error {
	for i := range s.opts.Gates {
		g := &s.opts.Gates[i]
		if !g.applies(it) {
			continue
		}
		if denial := s.ask(g, it, head, before); denial != nil {
			return &DeniedError{Gate: g.Name, Denial: *denial}
		}
	}
	return nil
}

// keepDraft keeps what a gate may see of d. Nothing of it is the caller's: who may be gone before a gate looks.
func (e *encoder) keepDraft(it *item, d *Draft) {
	kept := it.draft
	*kept = *d
	kept.IdempotencyKey, kept.Expect, kept.Unless = nil, Any(), nil
	// A gate that changes it must not change what was hashed.
	from := len(e.buf)
	e.buf = append(e.buf, d.Payload...)
	kept.Payload = e.buf[from:len(e.buf):len(e.buf)]
	kept.Tags = slices.Clone(d.Tags)
	if kept.Extensions != nil {
		kept.Extensions = make(map[string][]byte, len(d.Extensions))
		for key, value := range d.Extensions {
			kept.Extensions[key] = slices.Clone(value)
		}
	}
}

// A GateResult is what one gate says of a draft.
type GateResult struct {
	Gate    string  `json:"gate"`
	Applies bool    `json:"applies"`          // the gate is asked about such drafts
	Denial  *Denial `json:"denial,omitempty"` // nil: it lets the draft pass
}

// EvaluateGates asks every gate about a draft that is not appended, also those behind the first denial. It waits for its
// turn as an append does, and takes as long as the gates do; what it says holds until the next append.
//
// Errors: those of [Store.Append] for a draft that cannot be; [ErrClosed]; [ErrReadOnly]; *[CanceledError].
func (s *Store) EvaluateGates(ctx context.Context, d Draft) ([]GateResult, error) {
	if err := s.writable(ctx); err != nil {
		return nil, err
	}
	r := newRequest()
	defer r.free()
	if err := s.encodeOne(r, &d); err != nil {
		return nil, err
	}
	c := &s.commit
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.closed.Load() {
		return nil, ErrClosed
	}
	c.begin(false, s.opts.Clock())
	return s.evaluate(&r.items[0], c.save())
}

// evaluate asks every gate about it.
func (s *Store) evaluate(it *item, before savepoint) ([]GateResult, error) {
	head, err := s.headOf(it, s.commit.active.Entity(it.at.Entity()))
	if err != nil {
		return nil, err
	}
	if _, err := s.branch(it, head); err != nil {
		return nil, err
	}
	results := make([]GateResult, len(s.opts.Gates))
	for i := range s.opts.Gates {
		g := &s.opts.Gates[i]
		results[i].Gate = g.Name
		if results[i].Applies = g.applies(it); !results[i].Applies {
			continue
		}
		results[i].Denial = s.ask(g, it, head, before)
	}
	return results, nil
}

// checkGates refuses gates that cannot be.
//
// Errors: *[OptionError].
func checkGates(gates []Gate) error {
	seen := make(map[string]bool)
	for i := range gates {
		g := &gates[i]
		reason := ""
		switch {
		case g.Name == "" || len(g.Name) > 128:
			reason = "a gate's name has 1 to 128 bytes"
		case seen[g.Name]:
			reason = "two gates have this name"
		case g.Check == nil:
			reason = "without Check"
		}
		if reason != "" {
			return &OptionError{Field: "Gates", Value: g.Name, Reason: reason}
		}
		seen[g.Name] = true
	}
	return nil
}

// isDenial returns the denial that err tells of, or nil.
func isDenial(err error) *DeniedError {
	var denied *DeniedError
	if errors.As(err, &denied) {
		return denied
	}
	return nil
}
