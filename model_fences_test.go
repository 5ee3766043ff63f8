package batpak_test

import (
	"context"
	"errors"
	"runtime"
	"slices"

	"pgregory.net/rapid"

	"batpak"
	"batpak/hidden"
	"batpak/segment"
)

// What the model knows of fences, conditions, waits and frontiers.

// OpenFence opens a fence, unless there are many.
func (m *model) OpenFence(t *rapid.T) {
	if len(m.fences) >= 3 {
		return
	}
	f, err := m.fence()
	if err != nil {
		t.Fatal(err)
	}
	m.fences = append(m.fences, f)
}

// AppendFenced appends a draft, or a batch, through an open fence.
func (m *model) AppendFenced(t *rapid.T) {
	if len(m.fences) == 0 {
		return
	}
	f := rapid.SampledFrom(m.fences).Draw(t, "fence")
	d := m.drawDraft(t)
	d.Expect = batpak.Clock(m.clock(&d, nil))
	if rapid.Bool().Draw(t, "alone") {
		rcpt, err := f.append(d)
		if err != nil {
			t.Fatal(err)
		}
		m.show(t, rcpt)
		return
	}
	more := m.drawDraft(t)
	d.Payload, more.Payload = d.Payload[:min(300, len(d.Payload))], more.Payload[:min(300, len(more.Payload))]
	more.Expect = batpak.Clock(m.clock(&more, []batpak.Draft{d}))
	rcpts, err := f.batch([]batpak.Draft{d, more})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rcpts {
		m.show(t, r)
	}
}

// EndFence commits a fence, cancels it, or ends its context.
func (m *model) EndFence(t *rapid.T) {
	if len(m.fences) == 0 {
		return
	}
	i := rapid.IntRange(0, len(m.fences)-1).Draw(t, "fence")
	f := m.fences[i]
	m.fences = slices.Delete(m.fences, i, i+1)
	var err error
	switch rapid.SampledFrom([]string{"commit", "commit", "cancel", "context"}).Draw(t, "end") {
	case "commit":
		err = f.commit()
	case "cancel":
		err = f.cancel()
	default:
		f.stop()
		for f.first > 0 && m.st.Stats().Fences > m.staging() {
			runtime.Gosched()
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := f.f.Commit(context.Background()); !errors.Is(err, batpak.ErrFenceEnded) {
		t.Fatalf("Commit of a fence that has ended: %v", err)
	}
}

// staging returns how many open fences have staged something.
func (m *model) staging() (n int) {
	for _, f := range m.fences {
		if f.first > 0 {
			n++
		}
	}
	return n
}

// isOpen reports whether a fence is open that has the fate.
func (m *model) isOpen(f *fate) bool {
	return slices.ContainsFunc(m.fences, func(g *fencing) bool { return g.fate == f })
}

// gone reports whether an event is hidden for good.
func (m *model) gone(w *told) bool {
	return w.fence != nil && w.fence.acked == never && !m.isOpen(w.fence)
}

// front returns the sequence that reads stop in front of.
func (m *model) front() uint64 {
	h := m.history()
	front := m.shown + 1
	for i := range h {
		if h[i].fence != nil && m.isOpen(h[i].fence) {
			front = h[i].Seq
			break
		}
	}
	for moved := true; moved; {
		moved = false
		for i := range h {
			f := h[i].fence
			if f == nil || f.acked == never || h[i].Seq < front || f.first >= front {
				continue
			}
			front, moved = f.first, true
		}
	}
	return front
}

// visible returns what reads see.
func (m *model) visible() []told {
	front := m.front()
	return slices.DeleteFunc(m.history(), func(w told) bool { return w.Seq >= front || m.gone(&w) })
}

// Unless appends a draft with a condition on everything.
func (m *model) Unless(t *rapid.T) {
	u := batpak.Unless{Query: batpak.Query{
		EntityPrefix: rapid.SampledFrom([]string{"", "a", "gr", "z"}).Draw(t, "prefix"),
		Kinds:        rapid.SliceOfN(rapid.SampledFrom(modelKinds), 0, 2).Draw(t, "kinds"),
		Tags:         rapid.SliceOfN(rapid.SampledFrom(modelTags), 0, 1).Draw(t, "tags"),
	}}
	if len(m.told) > 0 {
		u.Seq = rapid.SampledFrom(m.told[max(0, len(m.told)-6):]).Draw(t, "seq").Seq
	}
	want := uint64(0)
	for _, w := range m.history() {
		if w.Seq > u.Seq && !m.gone(&w) && matches(&u.Query, &w.Event) {
			want = w.Seq
			break
		}
	}
	d := m.drawDraft(t)
	d.Unless = []batpak.Unless{u}
	rcpt, err := m.append(d)
	var conflict *batpak.ConflictError
	switch {
	case want == 0 && err != nil:
		t.Fatal(err)
	case want == 0:
		m.show(t, rcpt)
	case !errors.As(err, &conflict) || conflict.Seq != want:
		t.Fatalf("append unless %+v: %v, want a conflict with event %d", u, err, want)
	}
}

// Submit hands several drafts over before it waits for any.
func (m *model) Submit(t *rapid.T) {
	var drafts []batpak.Draft
	var tickets []*batpak.Ticket
	begun := m.mem.OpCount()
	for range rapid.IntRange(1, 4).Draw(t, "n") {
		d := m.drawDraft(t)
		d.Expect = batpak.Clock(m.clock(&d, drafts))
		ticket, err := m.st.Submit(context.Background(), d)
		if err != nil {
			t.Fatal(err)
		}
		drafts, tickets = append(drafts, d), append(tickets, ticket)
	}
	for i, ticket := range tickets {
		rcpt, err := ticket.Wait(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		m.record(drafts[i:i+1], []batpak.Receipt{rcpt}, begun, nil)
		m.show(t, rcpt)
	}
}

// Flush makes everything durable, by call or by wait.
func (m *model) Flush(t *rapid.T) {
	if rapid.Bool().Draw(t, "wait") {
		if err := m.st.WaitDurable(context.Background(), m.st.Frontier().Written); err != nil {
			t.Fatal(err)
		}
		ops := m.mem.OpCount()
		for i := range m.told { // of events only: a Commit after the last of them may not be durable
			m.told[i].durable = min(m.told[i].durable, ops)
		}
	} else if err := m.flush(); err != nil {
		t.Fatal(err)
	}
	if f := m.st.Frontier(); f.Durable != f.Written {
		t.Fatalf("flushed: %+v", f)
	}
}

// Frontier checks what the store says of itself.
func (m *model) Frontier(t *rapid.T) {
	f, last := m.st.Frontier(), uint64(0)
	if h := m.history(); len(h) > 0 {
		last = h[len(h)-1].Seq
	}
	if f.Accepted < f.Written || f.Written < f.Durable || f.Visible > f.Written || f.Written < last ||
		m.opts.Sync == batpak.SyncAlways && f.Durable != f.Written {
		t.Fatalf("frontier %+v at event %d", f, last)
	}
	if f.Accepted < m.frontier.Accepted || f.Written < m.frontier.Written || f.Durable < m.frontier.Durable || f.Visible < m.frontier.Visible {
		t.Fatalf("frontier %+v, and before %+v", f, m.frontier)
	}
	m.frontier = f
	if front := m.front(); m.staging() > 0 && f.Visible != front-1 || m.staging() == 0 && f.Visible < last {
		t.Fatalf("frontier %+v, and the first event that must not be seen is %d of %d", f, front, last)
	}
	ended, end := context.WithCancel(context.Background())
	end()
	if err := m.st.WaitVisible(ended, f.Visible); err != nil {
		t.Fatalf("wait for event %d, which is seen: %v", f.Visible, err)
	}
	if err := m.st.WaitVisible(ended, f.Visible+1); !errors.Is(err, batpak.ErrCanceled) {
		t.Fatalf("wait for event %d, which is not seen: %v", f.Visible+1, err)
	}
}

// loseCaches removes some of the files that a store can do without.
func (m *model) loseCaches(t *rapid.T) {
	for name := range m.mem.Files() {
		if _, isSegment := segment.ParseName(name); isSegment || name == "store.meta" || name == ".lock" || name == hidden.FileName || name == "anchor" {
			continue
		}
		m.mem.DeleteFile(name)
		if rapid.Bool().Draw(t, "enough") {
			return
		}
	}
}
