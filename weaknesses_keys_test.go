package batpak_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"batpak"
	"batpak/coldstart"
	"batpak/idemp"
)

// What an older system got wrong about idempotency keys, each as a test. The weaknesses have the numbers of the catalogue
// of its write path; W13 is tested in coldstart, W8 by TestKeysTakeLittleHeap.

// TestWeaknessW04_RetryBeforeCondition: a condition that its own first commit has made false does not stand in the way of
// a retry, alone and in a batch.
func TestWeaknessW04_RetryBeforeCondition(t *testing.T) {
	r := startRig(t, batpak.Options{})
	first := r.full(streamA)
	first.Expect = batpak.Absent()
	batch := []batpak.Draft{r.full(streamB), r.full(streamB)}
	batch[0].Expect, batch[1].Expect = batpak.Absent(), batpak.Clock(1)
	want := r.mustAppend(t, first)
	wantAll, err := r.batch(batch)
	if err != nil {
		t.Fatal(err)
	}
	want.Replayed = true
	for range 2 {
		if got, err := r.append(first); err != nil || got != want {
			t.Errorf("retry: %+v, %v, want %+v", got, err, want)
		}
		got, err := r.batch(batch)
		if err != nil {
			t.Fatal(err)
		}
		for i := range got {
			wantAll[i].Replayed = true
			if got[i] != wantAll[i] {
				t.Errorf("retry of a batch: %+v, want %+v", got[i], wantAll[i])
			}
		}
		if err := stepKill(r); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(r.history()); n != 3 {
		t.Errorf("%d events, want 3", n)
	}
}

// TestWeaknessW06_GroupsNeedNoKeys: appends with keys and without share a write group.
func TestWeaknessW06_GroupsNeedNoKeys(t *testing.T) {
	r := startRig(t, batpak.Options{})
	keyed, plain := r.full(streamA), r.draft(streamB, 0)
	requests := [][]batpak.Draft{{keyed}, {plain}, {r.full(streamB), r.draft(streamA, 0)}}
	if err := r.group(requests); err != nil {
		t.Fatal(err)
	}
	if got := r.mustAppend(t, keyed); !got.Replayed {
		t.Errorf("retry: %+v", got)
	}
	if got := r.mustAppend(t, plain); got.Replayed {
		t.Errorf("append without a key: %+v", got)
	}
}

// TestWeaknessW11_CancelledKeyIsForgotten: the key of an append whose fence was cancelled does not answer a retry.
func TestWeaknessW11_CancelledKeyIsForgotten(t *testing.T) { noError(t, keysOfCancelledFence()) }

// TestWeaknessW12_KeysAreAKindOfTheirOwn: keys are any bytes, ask nothing of IDs, and are bound to their request.
func TestWeaknessW12_KeysAreAKindOfTheirOwn(t *testing.T) {
	r := startRig(t, batpak.Options{})
	plain := r.mustAppend(t, r.draft(streamA, 0))
	for name, key := range map[string][]byte{
		"zero": make([]byte, 16), "one byte": {0}, "an event's ID": plain.ID[:], "not UTF-8": {0xff, 0xfe}, "the longest": bytes.Repeat([]byte{7}, 1024),
	} {
		d := r.draft(streamB, 0)
		d.IdempotencyKey = key
		first := r.mustAppend(t, d)
		if first.Replayed || bytes.Equal(first.ID[:], key) {
			t.Errorf("%s: %+v", name, first)
		}
		if got := r.mustAppend(t, d); !got.Replayed || got.Seq != first.Seq {
			t.Errorf("%s: retry %+v, want event %d", name, got, first.Seq)
		}
		d.Payload = append(bytes.Clone(d.Payload), '!')
		var conflict *batpak.IdempotencyConflictError
		if _, err := r.append(d); !errors.As(err, &conflict) || conflict.Seq != first.Seq || conflict.Have == conflict.Want {
			t.Errorf("%s: other request: %v", name, err)
		}
	}
	// The ID of an event that has no key is nobody's key.
	d := r.draft(streamA, 0)
	d.IdempotencyKey = []byte(plain.ID.String())
	if got := r.mustAppend(t, d); got.Replayed {
		t.Errorf("an event's ID as a key: %+v", got)
	}
}

// TestWeaknessW13_DamagedKeysAreRefused: an index.idemp that does not hold refuses the open; who goes on without it says
// so, and the report says it again.
func TestWeaknessW13_DamagedKeysAreRefused(t *testing.T) {
	r := startRig(t, batpak.Options{})
	r.mustAppend(t, r.full(streamA))
	if err := r.close(); err != nil {
		t.Fatal(err)
	}
	r.mem.SetFile(idemp.FileName, []byte("not what it was"))
	var refusal *coldstart.IdempError
	if err := r.open(); !errors.As(err, &refusal) || refusal.File != idemp.FileName {
		t.Fatalf("Open = %v", err)
	}
	r.opts.ContinueWithoutIdemp = true
	if err := r.open(); err != nil {
		t.Fatal(err)
	}
	if report := r.st.OpenReport(); !bytes.Contains([]byte(report.String()), []byte(idemp.FileName)) {
		t.Errorf("the report does not say it:\n%v", report)
	}
}

// TestWeaknessW31_NothingOfItsOwnIsKeyed: a store that was opened and closed often has no event and no key of its own.
func TestWeaknessW31_NothingOfItsOwnIsKeyed(t *testing.T) {
	r := startRig(t, batpak.Options{})
	for range 5 {
		if err := stepReopen(r); err != nil {
			t.Fatal(err)
		}
	}
	d := r.full(streamA)
	d.IdempotencyKey = fmt.Append(nil, "open")
	if got := r.mustAppend(t, d); got.Replayed || got.Seq != 1 {
		t.Errorf("first append: %+v", got)
	}
}
