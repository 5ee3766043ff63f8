package batpak

import (
	"context"
	"log/slog"
	"time"

	"batpak/coordinate"
	"batpak/event"
	"batpak/internal/cursors"
)

// A Consumer is a durable position in the store, under a name, and whoever goes on from it: a handler is given every
// event that the query selects, in commit order, at least once. The position moves on when the handler has returned; after
// a crash, or a new start of the process, events behind the last position that was kept are handed over again.
//
// There are two ways to be one. [Consumer.Run] is for handlers whose effects lie outside of the store. Its position is
// kept in a file, by count and by time, so that an event costs no sync. [Consumer.React] is for handlers that answer
// events with events: what they return and the position are committed in one atomic batch, so that there is one answer
// to each event, whatever crashes.
//
// Positions are bound to the store and to the event that they name, and are never ahead of what is durable. A store
// where a position does not belong, since it was rolled back or swapped, is a *[PositionError], never a silent step back;
// [Consumer.Reset] and [Consumer.Seek] are the way on. Losing the directory of positions costs redelivery, nothing else:
// where a consumer began, and where it was put since, is in the log.
//
// Within a process one goroutine at a time may run the consumer of a name; another process cannot write to the store
// meanwhile. A Consumer is safe for concurrent use.
type Consumer struct {
	store *Store
	opts  ConsumerOptions
	query storedQuery
	print [32]byte // fingerprint of query
	state *consumerState
}

// ConsumerOptions say what a consumer selects and how it goes about it. Zero fields have the defaults named at each.
type ConsumerOptions struct {
	// Query selects what is handed over. It belongs to the consumer: another one under the same name is a
	// *[PositionError], since the events that it would have selected before are behind the position. It cannot say
	// where to begin or end: After, Before, ToHLC, Limit and Reverse are refused; Borrow does not matter. The store's own events
	// are handed over with System, or where their kinds are named.
	Query Query

	// From is where a consumer begins that the store does not know yet, and where [Consumer.Reset] puts it. The zero
	// From is the beginning of the log.
	From From

	// MaxAttempts is how often the handler is called for an event that it fails on, with pauses in between, before the
	// event is parked and the consumer goes on. 0 parks nothing: the first failure ends the run with a *[HandlerError].
	// A new run begins to count anew, unless the one before has not come to its end, since its process was killed, or died
	// of the event: then this one notes each event before it is handed over, and a process that ends while the handler has
	// it counts as an attempt, in this run and those behind. So an event that kills the process is parked, too, with
	// [ErrHandlerLost]: after MaxAttempts + 1 processes at most, since the first one has not looked closely. To note an
	// event costs a small write without a sync.
	MaxAttempts int
	// NoPark ends the run with a *[HandlerError] after MaxAttempts, instead of parking the event.
	NoPark bool

	// The pause behind attempt n is drawn evenly from zero to Pause × 2ⁿ⁻¹, which stops growing at MaxPause.
	Pause    time.Duration // Zero means 100 ms; at least 1 ns
	MaxPause time.Duration // Zero means 30 s, or Pause where that is more; at least Pause
	Seed     uint64        // of the draws, for tests. Zero means a random one

	// The position of a run is written at the latest after SaveEvents events or SaveEvery, and when the run ends: as many
	// events may be handed over again after a crash. Each time costs two syncs and a rename. In SyncInterval and
	// SyncNever what is written is a position that is durable by then, with everything that was appended before the
	// handler had returned.
	SaveEvents int           // Zero means 10,000; at least 1
	SaveEvery  time.Duration // Zero means 1 s; at least 1 ms

	// Logger is told of events that fail or are parked while the run goes on. nil means the store's.
	Logger *slog.Logger
}

// A From is where a consumer begins. The zero From is the beginning of the log. Froms are comparable.
type From struct {
	now bool
	seq uint64
}

// FromNow begins behind what is visible when the consumer is made: [Store.Consumer] notes it in the log.
func FromNow() From { return From{now: true} }

// FromAfter begins behind the event with this sequence; 0 is the beginning.
func FromAfter(seq uint64) From { return From{seq: seq} }

// Defaults of [ConsumerOptions].
const (
	defaultConsumerPause    = 100 * time.Millisecond
	defaultConsumerMaxPause = 30 * time.Second
	defaultSaveEvents       = 10_000
	defaultSaveEvery        = time.Second
)

// withDefaults returns o with every zero field set.
//
// Errors: *[OptionError]; those of a query.
func (o ConsumerOptions) withDefaults(s *Store) (ConsumerOptions, error) {
	o.Pause = orDefault(o.Pause, defaultConsumerPause)
	o.MaxPause = orDefault(o.MaxPause, max(o.Pause, defaultConsumerMaxPause))
	o.SaveEvents = orDefault(o.SaveEvents, defaultSaveEvents)
	o.SaveEvery = orDefault(o.SaveEvery, defaultSaveEvery)
	if o.Logger == nil {
		o.Logger = s.opts.Logger
	}
	for _, check := range []struct {
		field  string
		value  any
		ok     bool
		reason string
	}{
		{"Query.After", o.Query.After, o.Query.After == 0, "From says where to begin"},
		{"Query.Before", o.Query.Before, o.Query.Before == 0, "a consumer has no end"},
		{"Query.ToHLC", o.Query.ToHLC, o.Query.ToHLC == 0, "a consumer has no end"},
		{"Query.Limit", o.Query.Limit, o.Query.Limit == 0, "a consumer has no end"},
		{"Query.Reverse", o.Query.Reverse, !o.Query.Reverse, "events are handed over in commit order"},
		{"MaxAttempts", o.MaxAttempts, o.MaxAttempts >= 0, "below 0"},
		{"Pause", o.Pause, o.Pause >= 1, "below 1 ns"},
		{"MaxPause", o.MaxPause, o.MaxPause >= o.Pause, "below Pause"},
		{"SaveEvents", o.SaveEvents, o.SaveEvents >= 1, "below 1"},
		{"SaveEvery", o.SaveEvery, o.SaveEvery >= time.Millisecond, "below 1 ms"},
	} {
		if !check.ok {
			return o, &OptionError{Field: check.field, Value: check.value, Reason: check.reason}
		}
	}
	_, err := o.Query.compile()
	return o, err
}

// Consumer returns the consumer of that name: 1 to 255 bytes of UTF-8 without control characters. One that the store does
// not know is made, where o.From says, and the log notes it durably. What is wrong with the position of a known one is
// said when it is asked for, as by Run.
//
// Errors: *[DraftError] for the name or the query; *[OptionError]; *[LimitError]; [ErrClosed]; [ErrReadOnly]; those of
// [Store.Append] and [Store.Read].
func (s *Store) Consumer(name string, o ConsumerOptions) (*Consumer, error) {
	if err := checkConsumerName(name); err != nil {
		return nil, err
	}
	if err := s.writable(context.Background()); err != nil {
		return nil, err
	}
	o, err := o.withDefaults(s)
	if err != nil {
		return nil, err
	}
	c := &Consumer{store: s, opts: o, state: s.consumers.of(name)}
	if c.query, c.print, err = storeQuery(&o.Query); err != nil {
		return nil, err
	}
	if c.opts.Query, err = c.query.query(); err != nil { // which shares nothing with the caller's
		return nil, err
	}
	if err := c.begin(context.Background()); err != nil {
		return nil, err
	}
	return c, nil
}

// checkConsumerName refuses what no consumer can be called.
//
// Errors: *[DraftError]; *[LimitError].
func checkConsumerName(name string) error {
	if len(name) > cursors.MaxName {
		return &LimitError{Field: "consumer name", Value: int64(len(name)), Limit: cursors.MaxName}
	}
	if err := coordinate.Check("consumer", name); err != nil {
		return &DraftError{Field: "consumer name", Err: err}
	}
	return nil
}

// Name returns the name of the consumer.
func (c *Consumer) Name() string { return c.state.name }

// Run hands every event behind the position to fn, those that there are and those that come, in commit order, until ctx
// ends. The position moves on when fn has returned nil; when it has returned an error, ConsumerOptions.MaxAttempts says what
// happens. fn is called by the goroutine of Run, one event at a time. The event's bytes are fn's. fn's context ends with
// ctx, and when the store is closed; what fn returns after that counts for nothing but a nil error.
//
// A panic in fn is an error of fn. An event that fn was given and whose position was not kept yet is handed over again by
// the next run: fn must bear that, as with the event's ID for a key.
//
// Errors: the cause of ctx, as it is, once it has ended; [ErrClosed] when the store is closed; *[HandlerError];
// *[PositionError]; [ErrConsumerRunning]; *[WriteError] when the writer has failed; those of [Store.Read] for damage; I/O
// errors of the file of the position.
func (c *Consumer) Run(ctx context.Context, fn func(context.Context, event.Event) error) error {
	return c.run(ctx, func(ctx context.Context, ev event.Event) ([]Draft, error) { return nil, fn(ctx, ev) })
}

// React is Run for a handler that answers events with events, a reactor. The drafts that fn returns are committed in one
// atomic batch with the position, before the next event is handed over: there is one answer to each event, whatever
// crashes, and whatever fn may be called again for. No drafts are an answer, too; they cost no write.
//
// Drafts inherit: one without a Correlation gets the event's, or the event where that has none, so that [Store.Correlated]
// finds all of the group; one without a Causation, and that names no draft of the batch, gets the event. One without an
// IdempotencyKey gets [ReactionKey] of the consumer, the event's sequence and the draft's index. So nothing is answered
// twice even where the position is put back, as by [Consumer.Reset]: a replay calls fn again, and what it returns is left
// out as far as the keys are known, for [Options.IdempotencyWindow] sequences. What was committed first stands: a draft
// that is another one under the same key is an *[IdempotencyConflictError], and fails as fn's error does; so does, as a
// *[PartialReplayError], an answer that is known in part when CausedByDraft is set in the rest of it. To answer anew on
// purpose, use another consumer, or keys of one's own.
//
// A draft that is refused, by a condition, a gate or a limit, is a failure of fn, too: it is called again, and the event
// is parked after MaxAttempts.
//
// A reactor sees what it appends when its query selects that: one that answers its own answers never comes to an end.
// Select by kinds or entities that it does not append. The store's own events, positions among them, are not selected
// unless the query asks for them.
//
// Errors: as [Consumer.Run]; *[WriteError] when an answer could not be written.
func (c *Consumer) React(ctx context.Context, fn func(context.Context, event.Event) ([]Draft, error)) error {
	return c.run(ctx, fn)
}
