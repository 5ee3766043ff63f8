package main

import (
	"batpak"
	"batpak/event"
)

// links lets causation, correlation and fork name the copies of events instead of the originals. A nil *links changes
// nothing.
type links struct {
	copies  map[event.ID]event.ID // original → copy
	pending map[event.ID]int      // original → index in the batch that is being put together
}

func newLinks() *links {
	return &links{copies: make(map[event.ID]event.ID), pending: make(map[event.ID]int)}
}

// begin starts a batch.
func (k *links) begin() {
	if k != nil {
		clear(k.pending)
	}
}

// join says that l is at index i of the batch.
func (k *links) join(l *line, i int) {
	if k != nil && !l.origin.IsZero() {
		k.pending[l.origin] = i
	}
}

// mustWait reports whether l names an event of the batch whose ID has to be known first. A cause can be named by its
// place in the batch, but for a line with a key: its place would become part of the request that the key stands for.
// A fork cannot.
func (k *links) mustWait(l *line) bool {
	if k == nil {
		return false
	}
	_, group := k.pending[l.draft.Correlation]
	_, cause := k.pending[l.draft.Causation]
	_, fork := k.pending[l.draft.Fork]
	return group || fork || cause && len(l.draft.IdempotencyKey) > 0
}

// draft returns the draft of l with its links translated; i is its place in the batch, -1 outside of one.
func (k *links) draft(l *line, i int) batpak.Draft {
	d := l.draft
	if k == nil {
		return d
	}
	if id, ok := k.copies[d.Correlation]; ok {
		d.Correlation = id
	}
	if id, ok := k.copies[d.Fork]; ok {
		d.Fork = id
	}
	if at, ok := k.pending[d.Causation]; ok && i > at {
		d.Causation, d.CausedByDraft = event.ID{}, batpak.DraftAt(at)
	} else if id, ok := k.copies[d.Causation]; ok {
		d.Causation = id
	}
	return d
}

// took remembers what a batch became.
func (k *links) took(lines []line, receipts []batpak.Receipt) {
	if k == nil {
		return
	}
	for i := range lines {
		if !lines[i].origin.IsZero() {
			k.copies[lines[i].origin] = receipts[i].ID
		}
	}
}
