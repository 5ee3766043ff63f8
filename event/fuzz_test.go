package event

import (
	"bytes"
	"errors"
	"testing"
)

func FuzzDecodeBody(f *testing.F) {
	for _, tt := range headerCases {
		h := plain()
		tt.edit(&h)
		if body := encode(&h, []byte("payload")); len(body) < 4096 {
			f.Add(body)
		}
	}
	h := full()
	body := encode(&h, []byte("payload"))
	f.Add(body)
	redacted := bytes.Clone(body[:len(body)-len("payload")])
	redacted[offFlags+1] |= byte(FlagRedacted >> 8)
	f.Add(append(redacted, make([]byte, HashLen)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := DecodeBody(b)
		if hash, hashErr := BodyHash(b); (hashErr == nil) != (err == nil) || err == nil && *hash != r.Hash {
			t.Fatalf("BodyHash = %v, DecodeBody = %v", hashErr, err)
		}
		if err != nil {
			if !errors.Is(err, ErrBody) && !errors.Is(err, ErrFuture) {
				t.Fatalf("DecodeBody = %v, want a typed error", err)
			}
			return
		}
		ev := r.Event()
		if ev.Seq != r.Seq || len(ev.Payload) != len(r.Payload) {
			t.Fatal("Event and Raw differ")
		}
		var l Linker
		l.Verify(&r, Hash{})
		if err := r.Check(); err != nil {
			if !errors.Is(err, ErrBody) && !errors.Is(err, ErrFuture) {
				t.Fatalf("Check = %v, want a typed error", err)
			}
			return
		}
		h := r.Header()
		want := bytes.Clone(r.Meta)
		want[offFlags+1] &^= byte(FlagRedacted >> 8)
		if got := AppendMeta(nil, &h); !bytes.Equal(got, want) {
			t.Fatalf("AppendMeta(Header()) = %x, want %x", got, want)
		}
	})
}
