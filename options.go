package batpak

import (
	"crypto/ed25519"
	"io/fs"
	"log/slog"
	"time"

	"batpak/event"
	"batpak/fault"
	"batpak/idemp"
	"batpak/internal/vfs"
	"batpak/segment"
)

// A SyncMode says when appended events go to stable storage, and with that what an acknowledgement means.
//
//	mode          acknowledged when               visible to readers    survives
//	SyncAlways    the sync that covers it is done the same moment       power loss
//	SyncInterval  the operating system has it     the same moment       the death of the process; power loss after SyncEvery
//	SyncNever     the operating system has it     the same moment       the death of the process
//
// A draft can ask for more with [AckDurable], whatever the mode.
type SyncMode uint8

// The modes of [Options.Sync].
const (
	SyncAlways   SyncMode = iota // the default
	SyncInterval                 // sync every Options.SyncEvery
	SyncNever                    // leave it to the operating system; what piles up is synced in the background, and full segments
)

// String returns the name of the constant.
func (m SyncMode) String() string {
	switch m {
	case SyncAlways:
		return "SyncAlways"
	case SyncInterval:
		return "SyncInterval"
	case SyncNever:
		return "SyncNever"
	}
	return "SyncMode(?)"
}

// Defaults and bounds of [Options].
const (
	defaultSegmentSize    = 64 << 20
	defaultSyncEvery      = 50 * time.Millisecond
	defaultFollowEvery    = 5 * time.Millisecond
	defaultFillAhead      = 8 << 20
	defaultIndexEvery     = 2 << 20
	defaultMaxEventBytes  = 16 << 20
	defaultMaxBatchEvents = 10_000
	defaultMaxBatchBytes  = 32 << 20
	defaultMaxPending     = 64 << 10
	defaultPendingBytes   = 64 << 20
	maxIdempotencyWindow  = 1 << 62
)

// Options tune a store. The zero value, and nil, mean the defaults named at each field. Open copies them.
type Options struct {
	// SegmentSize is the size in bytes at which the active segment is sealed. Zero means 64 MiB; 4 KiB to 2 GiB.
	// No event and no batch can be larger than a segment less its header, for which 2,208 bytes are kept.
	SegmentSize int64

	// Sync says when events go to stable storage. Zero means SyncAlways.
	Sync SyncMode
	// SyncEvery is the longest time between syncs in SyncInterval. Zero means 50 ms; at least 1 ms.
	SyncEvery time.Duration

	// ReadOnly opens the store without the writer's lock: it writes nothing, and works beside a live writer and on
	// read-only media. It sees what was durable, or written where the writer's Sync is relaxed, at Open, and at the last
	// [Store.Refresh].
	ReadOnly bool

	// FollowEvery is how long a read-only store that is followed waits between looks at its directory; see [Store.Follow]. All
	// who follow it share the looks. While nothing comes it waits longer, up to eight times. Zero means 5 ms; at least
	// 1 ms. A look at a store that has had fences costs an Open when there is something new.
	FollowEvery time.Duration

	// NoSnapshot and NoCheckpoint switch off the artifacts of the first two rungs of the cold start: they are neither
	// read nor written. Opens then cost what the number of segments costs.
	NoSnapshot   bool
	NoCheckpoint bool

	// Logger takes what no caller can be given: failures of work in the background. nil discards.
	Logger *slog.Logger

	// SigningKeys sign receipts: the last one signs, all of them count in [Store.VerifyReceipt], so that a key can be
	// replaced by adding another. Every receipt that the store hands out is signed then; the exception is a retry of an
	// event whose receipt cannot be proven any more, since the event before it has been evicted. A write group takes one
	// signature, made while the group is written. nil means that nothing is signed.
	SigningKeys []ed25519.PrivateKey

	// Gates are rules that every draft must pass, asked in this order; see [Gate]. nil means none.
	Gates []Gate

	// Clock supplies the wall time. nil means time.Now. It may stand, jump and go back: order never depends on it.
	Clock func() time.Time

	// MaxEventBytes bounds the payload of one event. Zero means 16 MiB; at most 1 GiB.
	MaxEventBytes int64
	// MaxBatchEvents bounds the events of one batch. Zero means 10,000; never below 1.
	MaxBatchEvents int
	// MaxBatchBytes bounds the payloads of one batch together. Zero means 32 MiB, and it is never taken to be less
	// than MaxEventBytes.
	MaxBatchBytes int64

	// MaxPending and MaxPendingBytes bound what [Store.Submit] and [Store.SubmitBatch] leave in memory until it is
	// committed: events, and bytes of their frames. Zero means 65,536 and 64 MiB. One request is always taken when
	// nothing is pending.
	MaxPending      int
	MaxPendingBytes int64

	// FillAhead is how many bytes of zeroes are kept ready behind the active segment's last event, in the
	// background; they make syncs cheaper. Zero means 8 MiB; below zero means none. In SyncNever small appends put some
	// 64 KiB of zeroes in front of themselves instead, unless it is below zero. In both relaxed modes small appends are
	// copied into the zeroes through a map of the file, on Linux; below zero switches that off, too.
	FillAhead int64

	// IndexEvery is how many bytes of the active segment may become durable before the index so far is written down, in
	// the background, so that an open after a crash replays no more than that. Zero means 2 MiB; at least 1.
	IndexEvery int64

	// IdempotencyWindow is how long an idempotency key is known at least: as long as its event is among this many
	// sequences, counted back from the last one, whatever compaction, a crash or a close does in between. Zero means
	// 16 Mi (16,777,216); at most 2^62. Older keys age out in bulk: a segment that lies outside the window as a whole is
	// not asked any more, and a retry of an append in it is a new append. A key that is outside while its segment is not
	// may still be known. The window may be another one at each open; keys that compaction has dropped under a
	// narrower one do not come back.
	//
	// Keys cost no memory but in the active segment's index: some 60 bytes for each event there that has one. All others
	// are looked up on disk, through filters of 16 MiB at most and catalogs, which name the segment that may hold a key:
	// what a look-up costs follows the logarithm of the segments in the window. The keys of events that compaction has
	// removed are in index.idemp, which takes one bit of memory for 23 of them.
	IdempotencyWindow uint64

	// ContinueWithoutIdemp opens a store whose index.idemp is damaged without it. A retry of an append whose event has
	// been evicted is then written a second time. By default such a store is refused.
	ContinueWithoutIdemp bool

	// DirPerm and FilePerm are the permissions of what Open makes. Zero means 0700 and 0600.
	DirPerm, FilePerm fs.FileMode

	// ExpectHead is a head that the caller kept elsewhere. Open refuses a store that does not hold this event: it
	// was rolled back. nil means no check.
	ExpectHead *ExpectedHead

	// Progress is told how far Open has come: once for each segment, when its footer was checked or its frames were
	// read, and so once when there is one segment. The last call has Done equal to Total. Where a rung is stepped
	// down from, and where a read-only open looks again because a writer is at work, Done starts from 0. [Verify]
	// tells it after each segment, too, with RungFrames. nil means nobody listens.
	//
	// Calls come one at a time, not all from one goroutine, and all before Open returns. Open waits for each: the
	// callback should be quick, and must not open the directory itself. To give up, end the context of
	// [OpenContext] in it.
	Progress func(Progress)

	hook fault.Hook // empty but under the build tag faultinject
	fs   vfs.FS     // nil means the operating system's
}

// An ExpectedHead names an event that a store must hold.
type ExpectedHead struct {
	Seq  uint64
	Hash event.Hash
}

// withDefaults returns a copy of o with every zero field set. A nil o is the zero Options.
//
// Errors: *[OptionError] for the first field out of range.
func (o *Options) withDefaults() (Options, error) {
	var c Options
	if o != nil {
		c = *o
	}
	c.SegmentSize = orDefault(c.SegmentSize, defaultSegmentSize)
	c.SyncEvery = orDefault(c.SyncEvery, defaultSyncEvery)
	c.FollowEvery = orDefault(c.FollowEvery, defaultFollowEvery)
	c.MaxEventBytes = orDefault(c.MaxEventBytes, defaultMaxEventBytes)
	c.MaxBatchEvents = orDefault(c.MaxBatchEvents, defaultMaxBatchEvents)
	if c.MaxBatchBytes = orDefault(c.MaxBatchBytes, defaultMaxBatchBytes); c.MaxBatchBytes > 0 {
		c.MaxBatchBytes = max(c.MaxBatchBytes, c.MaxEventBytes)
	}
	c.MaxPending = orDefault(c.MaxPending, defaultMaxPending)
	c.MaxPendingBytes = orDefault(c.MaxPendingBytes, defaultPendingBytes)
	c.FillAhead = orDefault(c.FillAhead, defaultFillAhead)
	c.IndexEvery = orDefault(c.IndexEvery, defaultIndexEvery)
	c.IdempotencyWindow = orDefault(c.IdempotencyWindow, idemp.DefaultWindow)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.fs == nil {
		c.fs = vfs.OS
	}
	if c.Sync == SyncNever {
		c.FillAhead = min(c.FillAhead, 0) // nobody waits for a sync, so nobody gains
	}
	return c, c.validate()
}

// validate checks the fields in their order.
func (o *Options) validate() error {
	for _, check := range []struct {
		field  string
		value  any
		ok     bool
		reason string
	}{
		{"SegmentSize", o.SegmentSize, o.SegmentSize >= segment.MinSize && o.SegmentSize <= segment.MaxSize, "outside 4 KiB to 2 GiB"},
		{"Sync", o.Sync, o.Sync <= SyncNever, "not a mode"},
		{"SyncEvery", o.SyncEvery, o.SyncEvery >= time.Millisecond, "below 1 ms"},
		{"FollowEvery", o.FollowEvery, o.FollowEvery >= time.Millisecond, "below 1 ms"},
		{"SigningKeys", len(o.SigningKeys), signingKeysHold(o.SigningKeys), "not Ed25519 private keys"},
		{"MaxEventBytes", o.MaxEventBytes, o.MaxEventBytes > 0 && o.MaxEventBytes <= 1<<30, "outside 1 byte to 1 GiB"},
		{"MaxBatchEvents", o.MaxBatchEvents, o.MaxBatchEvents >= 1, "below 1"},
		{"MaxBatchBytes", o.MaxBatchBytes, o.MaxBatchBytes >= 1, "below 1 byte"},
		{"MaxPending", o.MaxPending, o.MaxPending >= 1, "below 1"},
		{"MaxPendingBytes", o.MaxPendingBytes, o.MaxPendingBytes >= 1, "below 1 byte"},
		{"IndexEvery", o.IndexEvery, o.IndexEvery >= 1, "below 1 byte"},
		{"IdempotencyWindow", o.IdempotencyWindow, o.IdempotencyWindow <= maxIdempotencyWindow, "above 2^62"},
		{"DirPerm", o.DirPerm, o.DirPerm&^fs.ModePerm == 0, "more than permission bits"},
		{"FilePerm", o.FilePerm, o.FilePerm&^fs.ModePerm == 0, "more than permission bits"},
	} {
		if !check.ok {
			return &OptionError{Field: check.field, Value: check.value, Reason: check.reason}
		}
	}
	return checkGates(o.Gates)
}

// orDefault returns v, or what zero means.
func orDefault[T int | int64 | uint64 | time.Duration](v, zero T) T {
	if v == 0 {
		return zero
	}
	return v
}
