package batpak

import (
	"context"
	"fmt"

	"batpak/hidden"
	"batpak/internal/planted"
	"batpak/segment"
)

// A Fence stages appends that become visible together, or never. What is appended through it gets its sequences at once
// and is as durable as any append, so that its receipts can be handed on; reads do not see it before [Fence.Commit].
// Appends beside the fence go on, and wait behind it for their turn to be seen: the visible end of the store does not
// pass the first event of an open fence, nor come between the events of a committed one, so that whoever reads in commit
// order never finds an event behind the place where it stands.
//
// A fence ends in one of two ways. After Commit everything it staged is visible. [Fence.Cancel], the end of the context
// that it was opened with, [Store.Close] and the death of the process hide it for ever: hidden events keep their
// sequence, their clock and their place in the chain, and an idempotency key that one of them carried is forgotten.
//
// Several fences may be open at a time. A Fence is safe for concurrent use.
type Fence struct {
	store  *Store
	number uint64
	ctx    context.Context
	stop   func() bool // no longer cancel when ctx ends

	// Owned by the committer.
	begun   bool // its frame is written, or staged
	ending  bool // the frame that ends it is staged
	outcome fenceOutcome
	cause   error // why it was cancelled, when nobody asked
}

// A fenceOutcome is what became of a fence.
type fenceOutcome uint8

const (
	fenceOpen fenceOutcome = iota
	fenceCommitted
	fenceCancelled
)

// A FenceError says that a fence has ended, or that it stands in the way of an append. Nothing was written.
type FenceError struct {
	Fence     uint64 // number of the fence
	Committed bool   // it has ended, and everything it staged is visible
	Err       error  // wraps [ErrFenceEnded] or [ErrFenceOpen], and why it was cancelled, if nobody asked
}

func (e *FenceError) Error() string { return fmt.Sprintf("fence %d: %v", e.Fence, e.Err) }

// Unwrap returns the reason.
func (e *FenceError) Unwrap() error { return e.Err }

// Fence opens a fence. It writes nothing before the first append through it. ctx is the fence's: when it ends before
// Commit the fence is cancelled, as a transaction of database/sql is rolled back. A context without an end makes a fence
// that holds the visible end back until somebody ends it.
//
// Errors: [ErrClosed]; [ErrReadOnly]; *[CanceledError] when ctx has ended.
func (s *Store) Fence(ctx context.Context) (*Fence, error) {
	if err := s.writable(ctx); err != nil {
		return nil, err
	}
	f := &Fence{store: s, number: s.lastFence.Add(1), ctx: ctx}
	if planted.On(planted.FenceContextIgnored) {
		ctx = context.WithoutCancel(ctx)
		f.ctx = ctx
	}
	f.stop = context.AfterFunc(ctx, func() {
		// Nobody waits for it. When it fails the fence has ended, or the committer tries again; see retryCancels.
		_ = f.end(context.Background(), segment.FenceCancel, context.Cause(ctx))
	})
	return f, nil
}

// Number returns the number of the fence. Once something was appended through it, no other fence of the store has it.
func (f *Fence) Number() uint64 { return f.number }

// Append is [Store.Append] through the fence: the event is durable as the store's mode says, and visible after Commit. An
// idempotency key that an open fence has used can be used again through the same fence only.
//
// Errors: those of Store.Append; *[FenceError].
func (f *Fence) Append(ctx context.Context, d Draft) (Receipt, error) {
	return f.store.append(ctx, d, f)
}

// AppendBatch is [Store.AppendBatch] through the fence.
//
// Errors: those of Store.AppendBatch; *[FenceError].
func (f *Fence) AppendBatch(ctx context.Context, drafts []Draft) ([]Receipt, error) {
	return f.store.appendBatch(ctx, drafts, f)
}

// Commit makes everything that the fence has staged visible, at once, as soon as no open fence has staged anything in
// front of the last of it. It is durable as the store's mode says; in the relaxed ones [Store.Flush] makes it so at
// once. A fence without events has nothing to commit, and ends.
//
// Errors: *[FenceError] when the fence has ended; *[WriteError], after which it is still open unless the writer is
// poisoned; *[CanceledError] when ctx ends first; [ErrClosed].
func (f *Fence) Commit(ctx context.Context) error { return f.endAndForget(ctx, segment.FenceCommit) }

// Cancel hides everything that the fence has staged, for ever. After Commit it does nothing but return an error, so that
// it can be deferred.
//
// Errors: as [Fence.Commit].
func (f *Fence) Cancel(ctx context.Context) error { return f.endAndForget(ctx, segment.FenceCancel) }

// endAndForget ends the fence and no longer watches its context.
func (f *Fence) endAndForget(ctx context.Context, op segment.FenceOp) error {
	err := f.end(ctx, op, nil)
	if err == nil {
		f.stop()
	}
	return err
}

// end brings the fence to its end.
func (f *Fence) end(ctx context.Context, op segment.FenceOp, cause error) error {
	s := f.store
	if err := s.writable(ctx); err != nil {
		return err
	}
	r := newRequest()
	r.fence, r.op, r.cause, r.frames = f, op, cause, fenceFrameLen
	abandoned, err := s.commitRequest(ctx, r)
	if !abandoned {
		r.free()
	}
	return err
}

// fenceFrameLen is the size of a fence frame in a segment.
var fenceFrameLen = int64(segment.FrameHeaderLen + len(segment.AppendFence(nil, &segment.Fence{})))

// A fenceStep is what the group being committed does to a fence.
type fenceStep struct {
	fence *Fence
	op    segment.FenceOp
	cause error
}

// stageFence checks that the fence of r is open and stages the frame that begins or ends it, where there is one to
// write. It reports whether that was all of r.
//
// Errors: *[FenceError]; *[WriteError].
func (s *Store) stageFence(r *request) (done bool, err error) {
	f, c := r.fence, &s.commit
	if f.outcome != fenceOpen || f.ending {
		r.settled = f.outcome != fenceOpen
		return false, c.tooLate(f)
	}
	if f.ctx.Err() != nil && r.op != segment.FenceCancel { // the cancel is on its way
		r.settled = true
		return false, f.ended(false, context.Cause(f.ctx))
	}
	if r.op == 0 {
		if f.begun {
			return false, nil
		}
		if err := s.prepareFences(); err != nil {
			return false, err
		}
		f.begun = true
		c.stageStep(fenceStep{f, segment.FenceBegin, nil}, deadline(f.ctx))
		return false, nil
	}
	f.ending = true
	step := fenceStep{f, r.op, r.cause}
	if !f.begun {
		c.steps = append(c.steps, step)
		return true, nil
	}
	c.stageStep(step, 0)
	return true, nil
}

// tooLate returns the error of whoever comes when f has ended, or ends with the group.
func (c *committer) tooLate(f *Fence) error {
	for _, step := range c.steps {
		if step.fence == f && step.op != segment.FenceBegin {
			return f.ended(step.op == segment.FenceCommit, step.cause)
		}
	}
	return f.ended(f.outcome == fenceCommitted, f.cause)
}

// ended returns the error of whoever comes too late; cause is why the fence was cancelled, when nobody asked.
func (f *Fence) ended(committed bool, cause error) error {
	err := ErrFenceEnded
	if cause != nil {
		err = fmt.Errorf("%w: %w", ErrFenceEnded, cause)
	}
	return &FenceError{Fence: f.number, Committed: committed, Err: err}
}

// deadline returns when ctx ends, in Unix milliseconds; 0 when it has no deadline.
func deadline(ctx context.Context) int64 {
	if at, ok := ctx.Deadline(); ok {
		return max(at.UnixMilli(), 1)
	}
	return 0
}

// prepareFences makes the store ready for its first fence frame.
//
// Errors: *[WriteError].
func (s *Store) prepareFences() error {
	c := &s.commit
	if c.tracker != nil {
		return nil
	}
	if err := s.state.Fence(s.durable.Load()); err != nil {
		return &WriteError{Err: err}
	}
	c.tracker = hidden.NewTracker(s.state.Fences)
	return nil
}

// stageStep puts the frame of a step into the group buffer.
func (c *committer) stageStep(step fenceStep, deadline int64) {
	var flags segment.FrameFlags
	if len(c.buf) == 0 {
		flags = segment.FlagGroup
	}
	var room [64]byte
	body := segment.AppendFence(room[:0], &segment.Fence{
		Op: step.op, Fence: step.fence.number, Seq: c.seq, Deadline: deadline,
	})
	offset := c.base + int64(len(c.buf))
	c.buf = c.seal.AppendFrame(c.buf, offset, segment.TypeFence, flags, uint32(c.writer.Durable()), body)
	c.steps = append(c.steps, step)
}

// undoSteps takes back what was staged behind the first keep steps.
func (c *committer) undoSteps(keep int) {
	for _, step := range c.steps[keep:] {
		if step.op == segment.FenceBegin {
			step.fence.begun = false
		} else {
			step.fence.ending = false
		}
	}
	c.steps = c.steps[:keep]
}

// settleFences carries out the steps of a group that is committed, and returns how far reads may see.
func (s *Store) settleFences() (visible uint64) {
	c := &s.commit
	defer func() { s.openFences.Store(int64(len(c.fences))) }()
	first := c.seq - uint64(len(c.staged))
	if c.tracker != nil {
		for i := range c.staged {
			c.tracker.Event(first+1+uint64(i), c.staged[i].fence)
		}
	}
	for _, step := range c.steps {
		s.settleFence(step)
	}
	c.steps = c.steps[:0]
	if c.tracker != nil {
		if first, ok := c.tracker.Front(); ok && !planted.On(planted.StagedVisible) {
			return first - 1
		}
	}
	return c.seq
}

// settleFence carries out one step.
func (s *Store) settleFence(step fenceStep) {
	c, f := &s.commit, step.fence
	switch step.op {
	case segment.FenceBegin:
		c.tracker.Begin(f.number)
		c.fences[f.number] = f
		return
	case segment.FenceCommit:
		f.outcome = fenceCommitted
	case segment.FenceCancel:
		f.outcome, f.cause = fenceCancelled, step.cause
	}
	if !f.begun {
		return
	}
	delete(c.fences, f.number)
	if f.outcome == fenceCommitted {
		c.tracker.Commit(f.number)
		return
	}
	c.tracker.Cancel(f.number)
	s.hidden.use(c.tracker.Cancelled()) // before the visible end passes them
}

// cancelFences ends every fence that is open, since the store closes. The caller holds the committer.
//
// Errors: *[WriteError].
func (s *Store) cancelFences() error {
	c := &s.commit
	if len(c.fences) == 0 {
		return nil
	}
	if c.writer.Room() < int64(len(c.fences))*fenceFrameLen {
		if err := s.rotate(); err != nil {
			return err
		}
	}
	c.begin(true, s.opts.Clock())
	for _, f := range c.fences {
		f.ending = true
		f.stop() // its context may outlive the store by far; something was appended, so Fence has returned
		c.stageStep(fenceStep{f, segment.FenceCancel, ErrClosed}, 0)
	}
	if err := s.write(c.seq, c.hlc); err != nil {
		return err
	}
	s.publish()
	return nil
}

// noteLate remembers the fences whose context has ended and whose cancel, in group, could not be written: nobody else
// would end them, and everything behind them would wait for ever.
func (c *committer) noteLate(group []*request) {
	if c.tracker == nil {
		return
	}
	for _, r := range group {
		if r.op == segment.FenceCancel && r.cause != nil && r.err != nil && r.fence.outcome == fenceOpen {
			c.late = append(c.late, r.fence)
		}
	}
}

// retryCancels cancels those fences, in front of the next group.
func (s *Store) retryCancels() {
	late := s.commit.late
	s.commit.late = nil
	for _, f := range late {
		r := newRequest()
		r.fence, r.op, r.cause, r.frames = f, segment.FenceCancel, context.Cause(f.ctx), fenceFrameLen
		s.commitAll([]*request{r}, false)
		s.commit.noteLate([]*request{r})
		r.free()
	}
}

// undecided says that a key was used by an event of an open fence, unless that is the fence of the request: whether it
// was used at all is not known before the fence ends.
func (c *committer) undecided(it *item, fence uint64) error {
	if fence == 0 || fence == it.fence || c.fences[fence] == nil && !c.begins(fence) {
		return nil
	}
	return &FenceError{Fence: fence, Err: fmt.Errorf("%w: it has used the idempotency key", ErrFenceOpen)}
}

// begins reports whether the group being committed begins a fence.
func (c *committer) begins(fence uint64) bool {
	for _, step := range c.steps {
		if step.op == segment.FenceBegin && step.fence.number == fence {
			return true
		}
	}
	return false
}

// keepHidden makes what is hidden for good durable, so that the next open need not derive it from the log again. It is
// for the background: nothing depends on it.
func (s *Store) keepHidden() {
	c := &s.commit
	c.mu.Lock()
	if c.tracker == nil || c.writer.Err() != nil {
		c.mu.Unlock()
		return
	}
	f := c.tracker.Settled()
	lag := c.writer.Durable() != c.writer.End()
	c.mu.Unlock()
	s.keeping.Lock()
	defer s.keeping.Unlock()
	if f.Covers <= s.kept {
		return
	}
	var err error
	if lag { // a frame that decides must not be lost when the file says what it has decided
		if err = s.syncBehind(); err == nil {
			err = c.current.Load().Err() // another sync may have failed in between
		}
	}
	if err == nil {
		err = s.state.WriteHidden(f)
	}
	if err != nil {
		s.opts.Logger.Warn("write hidden ranges", "err", err)
		if c.current.Load().Err() != nil {
			s.endWaits()
		}
		return
	}
	s.kept = f.Covers
}
