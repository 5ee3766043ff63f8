// Package index answers queries over runs: the sealed segments of a store, each through the footer in its file, and
// the active segment, through an index in memory.
//
//	Set ── current ──> epoch: [ Sealed | Sealed | … | Active (frozen) | Active ]     ascending by sequence
//	                      ^
//	View ─────────────────┘  + last visible sequence
//
// A [Set] is what the writer changes: [Set.Rotate] adds a run, [Set.ReplaceSealed] swaps one, [Set.SetVisible] moves
// the visible end. A [View] is what a reader holds: one immutable list of runs and one visible end for as long as it
// lasts. Taking a View, and every read through it, takes no lock and waits for nobody; what a View can reach is
// unmapped and closed when the last View on it is gone.
//
// One order everywhere: the global sequence. A query is planned in each run from the rarest list that names a part of
// it; the rest is checked by columns. Nothing collects or sorts all matches.
//
// A stream's head and an idempotency key may be in any run. [Catalog] files say, for ranges of sealed segments, which
// one holds them last; [Set.SetCatalogs] gives them to the views that come. They change how long an answer takes, and
// never which one it is.
//
// Every frame that is handed out was checked: its checksums, and that it is the event that the index says. Errors are
// typed and located: [*segment.FrameError] and [*segment.FooterError].
package index
