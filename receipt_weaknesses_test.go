package batpak_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"batpak"
	"batpak/event"
	"batpak/internal/merkle"
	"batpak/internal/vfs"
	"batpak/segment"
)

// The weaknesses W… of the write path of the system that ours descends from, as far as they concern receipts.

// W15: the place on disk was part of a receipt's identity; the signature covered little and was lost; verification needed
// the store, and did not read the data; receipts went out unsigned without a word, and old unsigned ones failed.
func TestWeaknessW15_Receipts(t *testing.T) {
	keys := batpak.ReceiptRules{Keys: publicKeys(1)}
	t.Run("events move on disk", func(t *testing.T) {
		r := startRig(t, signedBy(1))
		first, second := r.mustAppend(t, r.full(streamA)), r.mustAppend(t, r.full(streamA))
		rewrite(t, r, func(frames []segment.Frame) []segment.Frame { return frames }, 4096)
		for _, rcpt := range []batpak.Receipt{first, second} {
			if err := r.st.VerifyReceipt(t.Context(), rcpt); err != nil {
				t.Errorf("event %d at another place: %v", rcpt.Seq, err)
			}
			if again, err := r.st.Receipt(t.Context(), rcpt.ID); err != nil || !again.Same(rcpt) {
				t.Errorf("receipt of event %d at another place: %+v, %v, want %+v", rcpt.Seq, again, err, rcpt)
			}
		}
	})
	t.Run("the signature covers every field", func(t *testing.T) {
		r := startRig(t, signedBy(1))
		m := membersOf(t, r.mustAppend(t, r.full(streamA)))
		for member, value := range map[string]any{ // what its signature left out
			"hlc": "7", "lane": 9, "depth": 9, "clock": "9", "correlation": otherID, "causation": otherID, "payload_version": 1,
		} {
			changed := maps.Clone(m)
			changed[member] = value
			rcpt, err := changed.receipt()
			if err != nil {
				t.Fatal(err)
			}
			if err := batpak.VerifyReceipt(rcpt, keys); !errors.Is(err, batpak.ErrReceipt) {
				t.Errorf("%s changed: %v", member, err)
			}
		}
	})
	t.Run("a signature that was lost is made anew", func(t *testing.T) {
		r := startRig(t, signedBy(1))
		rcpt := r.mustAppend(t, r.full(streamA))
		rcpt.Signature = batpak.Signature{}
		signed, err := r.st.SignReceipt(t.Context(), rcpt)
		if err := errors.Join(err, batpak.VerifyReceipt(signed, keys)); err != nil {
			t.Error(err)
		}
	})
	t.Run("verification without the store", func(t *testing.T) {
		r := startRig(t, signedBy(1))
		d := r.full(streamA)
		rcpt := r.mustAppend(t, d)
		r.kill()
		if err := errors.Join(batpak.VerifyReceipt(rcpt, keys), rcpt.VerifyPayload(d.Payload)); err != nil {
			t.Error(err)
		}
	})
	t.Run("no downgrade", func(t *testing.T) {
		r := startRig(t, batpak.Options{})
		old := r.mustAppend(t, r.full(streamA))
		mustFind(t, "unsigned", batpak.VerifyReceipt(old, keys), "Signature", batpak.ErrReceiptUnsigned)
		r.kill()
		r.opts.SigningKeys = signedBy(1).SigningKeys
		if err := r.open(); err != nil {
			t.Fatal(err)
		}
		mustFind(t, "from before the keys, in the log", r.st.VerifyReceipt(t.Context(), old), "", nil)
		if retry := r.mustAppend(t, r.told[0].draft); retry.Signature.IsZero() || !retry.Same(old) {
			t.Errorf("retry: %+v, want it signed", retry)
		}
	})
}

// W14: retries of events that had been evicted were errors. W16, in part: what was evicted changed what stayed.
//
// The event before another one is evicted: its hash is then nowhere but in receipts.
func TestWeaknessW14_RetryBehindAnEvictedEvent(t *testing.T) {
	r := startRig(t, signedBy(1))
	first, second, third := r.mustAppend(t, r.full(streamA)), r.mustAppend(t, r.full(streamA)), r.mustAppend(t, r.full(streamA))
	evict(t, r, second.Seq)
	verify := func(rcpt batpak.Receipt) error { return r.st.VerifyReceipt(t.Context(), rcpt) }
	mustFind(t, "the first", verify(first), "", nil)
	mustFind(t, "the one behind: its hash proves the parent", verify(third), "", nil)
	lie := third
	lie.Parent = first.Hash
	mustFind(t, "another parent", verify(lie), "Parent", batpak.ErrReceiptMismatch)
	_, err := r.st.Receipt(t.Context(), third.ID)
	mustFind(t, "made anew", err, "Parent", batpak.ErrReceiptEvicted)

	retry, err := r.st.Append(t.Context(), r.told[2].draft)
	if err != nil || !retry.Replayed || !retry.Parent.IsZero() || !retry.Signature.IsZero() {
		t.Fatalf("retry: %+v, %v, want it without parent and signature", retry, err)
	}
	mustFind(t, "the retry's receipt", batpak.VerifyReceipt(retry, batpak.ReceiptRules{AllowUnsigned: true}), "Parent", batpak.ErrReceiptEvicted)
	if retry.Parent = third.Parent; !retry.Same(third) {
		t.Errorf("retry: %+v, want all but the parent as in %+v", retry, third)
	}
}

// W19: payload versions were lost in batches.
func TestWeaknessW19_PayloadVersionsOfBatches(t *testing.T) {
	r := startRig(t, batpak.Options{})
	drafts := []batpak.Draft{r.draft(streamA, 0), r.draft(streamA, 0)}
	drafts[0].PayloadVersion, drafts[1].PayloadVersion = 7, 65535
	rcpts, err := r.batch(drafts)
	if err != nil {
		t.Fatal(err)
	}
	for i, rcpt := range rcpts {
		if rcpt.PayloadVersion != drafts[i].PayloadVersion {
			t.Errorf("receipt %d: payload version %d, want %d", i, rcpt.PayloadVersion, drafts[i].PayloadVersion)
		}
		mustFind(t, "verified", r.st.VerifyReceipt(t.Context(), rcpt), "", nil)
	}
}

// W21: sequences were counted anew where they had gaps, and receipts kept the old ones.
func TestWeaknessW21_ReceiptsOverGaps(t *testing.T) {
	r := mustWrite(t, batpak.Options{Sync: batpak.SyncNever, IndexEvery: 512}, false, func(r *rig) error {
		for range 3 {
			if err := errors.Join(severalSegments(r), stepKill(r)); err != nil {
				return err
			}
		}
		return severalSegments(r)
	})
	for _, lost := range []string{"", "index.", ".fbix"} { // nothing, and what tells sequences beside the frames
		m := vfs.NewMemFrom(r.mem.Files())
		for name := range m.Files() {
			if lost != "" && strings.Contains(name, lost) {
				m.DeleteFile(name)
			}
		}
		o := r.opts
		o.SetFS(m)
		st, err := batpak.Open(vfs.MemDir, &o)
		if err != nil {
			t.Fatal(err)
		}
		h := r.history()
		for i := range h {
			if err := tellsReceipt(st, &h[i]); err != nil {
				t.Errorf("without %q: %v", lost, err)
			}
		}
		if gaps := h[len(h)-1].Seq - uint64(len(h)); gaps == 0 {
			t.Error("there are no gaps")
		}
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// W32: decoders were lenient: an unknown kind became another one, and extension keys were not checked.
func TestWeaknessW32_LenientDecoding(t *testing.T) {
	r := startRig(t, batpak.Options{})
	rcpt := r.mustAppend(t, r.full(streamA))
	m := membersOf(t, rcpt)
	for _, key := range []string{"", "a\x00b", strings.Repeat("k", 256)} {
		bad := maps.Clone(m)
		bad["extensions"] = map[string][]byte{key: {1}}
		_, err := bad.receipt()
		mustFind(t, "extension key in JSON", err, "", batpak.ErrReceiptFormat)
	}
	b, err := rcpt.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(b, []byte("trace"))
	b[at] = 0
	mustFind(t, "extension key in bytes", new(batpak.Receipt).UnmarshalBinary(b), "", batpak.ErrReceiptFormat)
	m["kind"] = "d:4095"
	reserved, err := m.receipt()
	if err != nil || reserved.Kind != event.Kind(0xDFFF) {
		t.Fatalf("a reserved kind is decoded as %v, %v", reserved.Kind, err)
	}
	mustFind(t, "another kind", r.st.VerifyReceipt(t.Context(), reserved), "Kind", batpak.ErrReceiptMismatch)
}

// rewrite kills the store, writes its only segment anew with the frames that change returns, the first of them padding
// bytes later than it was, and opens what that is: a log as a compaction may leave it.
func rewrite(t *testing.T, r *rig, change func([]segment.Frame) []segment.Frame, padding int) {
	t.Helper()
	r.kill()
	name := segment.Name(1)
	b := r.mem.Files()[name]
	head, err := segment.DecodeHeader(b, 1)
	if err != nil {
		t.Fatal(err)
	}
	sc := segment.NewScanner(bytes.NewReader(b), &head, head.Len(), int64(len(b)))
	var frames []segment.Frame
	for sc.Next() {
		f := *sc.Frame()
		f.Body = bytes.Clone(f.Body)
		frames = append(frames, f)
	}
	out := bytes.Clone(b[:head.Len()])
	seal := segment.NewSeal(head.Salt)
	if padding > 0 {
		out = seal.AppendFrame(out, int64(len(out)), segment.TypeMark, segment.FlagGroup, uint32(len(out)), make([]byte, padding))
	}
	for _, f := range change(frames) {
		out = seal.AppendFrame(out, int64(len(out)), f.Type, f.Flags, uint32(head.Len()), f.Body)
	}
	for name := range r.mem.Files() {
		if name != "store.meta" {
			r.mem.DeleteFile(name)
		}
	}
	r.mem.SetFile(name, out)
	if err := r.open(); err != nil {
		t.Fatal(err)
	}
}

// evict gives the first segment a footer that says another stream and ID of some of its events: for their streams, and for
// who looks for them, they have left the log. The number of events must stay, which a compaction would change.
func evict(t *testing.T, r *rig, seqs ...uint64) {
	t.Helper()
	forge(t, r, nil, func(raw *event.Raw) {
		if slices.Contains(seqs, raw.Seq) {
			raw.Entity, raw.ID, raw.Clock = fmt.Appendf(nil, "evicted %d", raw.Seq), event.NewID(raw.HLC, 0), 1
			raw.Causation, raw.Correlation = event.ID{}, event.ID{}
		}
	})
}

// forge changes the events of the first segment, which are sealed by then, and what its footer says of them. Lengths
// must stay. nil changes nothing.
func forge(t *testing.T, r *rig, frame func(body []byte, raw *event.Raw), entry func(raw *event.Raw)) {
	t.Helper()
	name := segment.Name(1)
	for len(segmentsOf(r.mem.Files())) < 3 {
		r.mustAppend(t, r.draft(streamB, 1500))
		r.settle()
	}
	if err := r.close(); err != nil {
		t.Fatal(err)
	}
	b := bytes.Clone(r.mem.Files()[name])
	head, err := segment.DecodeHeader(b, 1)
	if err != nil {
		t.Fatal(err)
	}
	builder, tree, seal := segment.NewFooterBuilder(&head), merkle.Range{}, segment.NewSeal(head.Salt)
	sc := segment.NewScanner(bytes.NewReader(bytes.Clone(b)), &head, head.Len(), int64(len(b)))
	frames, end := uint64(0), head.Len()
	for ; sc.Next(); frames++ {
		f := sc.Frame()
		end = f.End()
		if f.Type != segment.TypeEvent {
			continue
		}
		var raw event.Raw
		whole := b[f.Offset:end]
		for pass := range 2 { // as it was, and as it is
			if err := raw.Decode(whole[segment.FrameHeaderLen:]); err != nil {
				t.Fatal(err)
			}
			if pass == 0 {
				tree.Append(&raw.Hash) // the next segment's header knows it
			}
			if frame != nil {
				frame(whole[segment.FrameHeaderLen:], &raw)
				seal.Finish(whole, f.Offset, f.Type, f.Flags, f.Through)
			}
		}
		if entry != nil {
			entry(&raw)
		}
		if err := builder.Add(&raw, uint32(f.Offset), uint32(f.Len())); err != nil {
			t.Fatal(err)
		}
	}
	out, err := builder.Finish(nil, segment.FooterEnd{Frames: frames, End: end, TreeSize: tree.Size(), Root: tree.Root(), Range: tree.Hashes()})
	if err != nil {
		t.Fatal(err)
	}
	for other := range r.mem.Files() {
		if strings.HasPrefix(other, "index.") || strings.HasSuffix(other, ".fbcat") {
			r.mem.DeleteFile(other)
		}
	}
	r.mem.SetFile(name, append(b[:end:end], out...))
	if err := r.open(); err != nil {
		t.Fatal(err)
	}
	if report := r.st.OpenReport(); report.Scanned > 0 {
		t.Fatal(report)
	}
}
