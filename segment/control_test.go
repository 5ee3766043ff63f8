package segment

import (
	"bytes"
	"crypto/sha256"
	"testing"

	"batpak/event"
)

func TestBatchRoundTrip(t *testing.T) {
	for _, tt := range []struct {
		name string
		b    Batch
	}{
		{"smallest", Batch{Count: 1, First: 1}},
		{"every field", Batch{Count: 0x01020304, Length: 0x1112131415161718, First: 0x2122232425262728, Digest: event.Hash{1, 31: 2}}},
		{"largest", Batch{Count: 1<<32 - 1, Length: 1<<64 - 1, First: 1<<64 - 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			body := AppendBatch([]byte("before"), &tt.b)[len("before"):]
			if got, ok := DecodeBatch(body); !ok || got != tt.b || len(body) != batchLen {
				t.Errorf("DecodeBatch(%x) = %+v, %v, want %+v", body, got, ok, tt.b)
			}
		})
	}
}

func TestDecodeBatchRefuses(t *testing.T) {
	good := AppendBatch(nil, &Batch{Count: 2, Length: 100, First: 7})
	for _, tt := range []struct {
		name string
		body []byte
	}{
		{"nothing", nil},
		{"cut", good[:len(good)-1]},
		{"longer", append(bytes.Clone(good), 0)},
		{"no members", AppendBatch(nil, &Batch{First: 7})},
		{"sequence zero", AppendBatch(nil, &Batch{Count: 1})},
		{"reserved bytes", append(append(bytes.Clone(good[:4]), 1), good[5:]...)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if b, ok := DecodeBatch(tt.body); ok {
				t.Errorf("DecodeBatch(%x) = %+v, want refused", tt.body, b)
			}
		})
	}
}

func TestBatchDigest(t *testing.T) {
	var d BatchDigest
	hashes := []event.Hash{{1}, {2}, {3}}
	for n := range len(hashes) + 1 { // a digest is used again and again
		d.Reset()
		byHand := []byte("batpak.batch.v1\n")
		for i := range n {
			d.Add(&hashes[i])
			byHand = append(byHand, hashes[i][:]...)
		}
		var got event.Hash
		if d.Sum(&got); got != sha256.Sum256(byHand) {
			t.Errorf("digest of %d members = %x, want %x", n, got, sha256.Sum256(byHand))
		}
	}
}

func TestFenceRoundTrip(t *testing.T) {
	for _, tt := range []struct {
		name string
		f    Fence
	}{
		{"begin", Fence{Op: FenceBegin, Fence: 1, Seq: 0, Deadline: 1_700_000_000_000}},
		{"begin without deadline", Fence{Op: FenceBegin, Fence: 1<<64 - 1, Seq: 1<<64 - 1}},
		{"commit", Fence{Op: FenceCommit, Fence: 0x0102030405060708, Seq: 0x1112131415161718}},
		{"cancel", Fence{Op: FenceCancel, Fence: 7, Seq: 9}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			body := AppendFence([]byte("before"), &tt.f)[len("before"):]
			if got, ok := DecodeFence(body); !ok || got != tt.f || len(body) != fenceLen {
				t.Errorf("DecodeFence(%x) = %+v, %v, want %+v", body, got, ok, tt.f)
			}
		})
	}
}

func TestDecodeFenceRefuses(t *testing.T) {
	good := AppendFence(nil, &Fence{Op: FenceCommit, Fence: 1, Seq: 2})
	padded := bytes.Clone(good)
	padded[7] = 1
	for _, tt := range []struct {
		name string
		body []byte
	}{
		{"nothing", nil},
		{"cut", good[:len(good)-1]},
		{"longer", append(bytes.Clone(good), 0)},
		{"no operation", AppendFence(nil, &Fence{Fence: 1})},
		{"unknown operation", AppendFence(nil, &Fence{Op: 4, Fence: 1})},
		{"fence zero", AppendFence(nil, &Fence{Op: FenceBegin})},
		{"deadline on commit", AppendFence(nil, &Fence{Op: FenceCommit, Fence: 1, Deadline: 1})},
		{"deadline on cancel", AppendFence(nil, &Fence{Op: FenceCancel, Fence: 1, Deadline: 1})},
		{"reserved bytes", padded},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if f, ok := DecodeFence(tt.body); ok {
				t.Errorf("DecodeFence(%x) = %+v, want refused", tt.body, f)
			}
		})
	}
}

func TestMark(t *testing.T) {
	s := NewSeal(saltA)
	f, err := s.DecodeFrame(s.AppendMark(nil, 4096, 4000), 1, 4096)
	if err != nil || f.Type != TypeMark || f.Through != 4000 || f.Flags != FlagGroup || len(f.Body) != 1 {
		t.Errorf("mark = %+v, %v", f, err)
	}
}
