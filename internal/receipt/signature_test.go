package receipt

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"testing"

	"batpak/event"
)

var testKey = ed25519.NewKeyFromSeed([]byte("0123456789abcdef0123456789abcdef"))

func someHashes(n int) []event.Hash {
	hashes := make([]event.Hash, n)
	for i := range hashes {
		hashes[i] = sha256.Sum256(fmt.Append(nil, i))
	}
	return hashes
}

// Every event of a group has a signature that holds for it, for its store, and for nothing else.
func TestGroups(t *testing.T) {
	public := testKey.Public().(ed25519.PublicKey)
	other := ed25519.NewKeyFromSeed(make([]byte, 32)).Public().(ed25519.PublicKey)
	store, elsewhere := [16]byte{1}, [16]byte{2}
	for _, n := range []int{1, 2, 3, 4, 5, 7, 8, 64, 100} {
		hashes := someHashes(n)
		g := Sign(testKey, KeyID(public), store, hashes)
		for i := range hashes {
			s, err := DecodeSignature([]byte(g.Signature(i)))
			if err != nil {
				t.Fatalf("%d of %d: %v", i, n, err)
			}
			if !s.Verify(public, store, &hashes[i]) {
				t.Errorf("%d of %d: does not hold", i, n)
			}
			stranger := sha256.Sum256([]byte("stranger"))
			neighbour := hashes[(i+1)%n]
			if s.Verify(other, store, &hashes[i]) || s.Verify(public, elsewhere, &hashes[i]) ||
				s.Verify(public, store, (*event.Hash)(&stranger)) || n > 1 && s.Verify(public, store, &neighbour) {
				t.Errorf("%d of %d: holds for another key, store or event", i, n)
			}
			if s.Leaves++; s.Verify(public, store, &hashes[i]) {
				t.Errorf("%d of %d: holds for a larger tree", i, n)
			}
		}
	}
}

// TestSignatureGolden fixes the message that is signed and the bytes of signatures: old ones must hold for ever.
func TestSignatureGolden(t *testing.T) {
	public := testKey.Public().(ed25519.PublicKey)
	root := someHashes(1)[0]
	const want = "62617470616b2e72656365697074732e76310a" + "01000000000000000000000000000000" + "05000000" +
		"5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9"
	if got := hex.EncodeToString(message([16]byte{1}, 5, &root)); got != want {
		t.Errorf("message = %s, want %s", got, want)
	}
	sum := sha256.New()
	g := Sign(testKey, KeyID(public), [16]byte{1}, someHashes(7))
	for i := range 7 {
		sum.Write([]byte(g.Signature(i)))
	}
	if got, want := hex.EncodeToString(sum.Sum(nil)), "ee0c02261ba8efe51e34ef6bade87fb7a84350bbee705c851ecc4058c481de32"; got != want {
		t.Errorf("SHA-256 of the signatures of seven events = %s, want %s", got, want)
	}
}

// BenchmarkSign is what a write group costs, on the goroutine that signs and, per receipt, on the caller's.
func BenchmarkSign(b *testing.B) {
	id := KeyID(testKey.Public().(ed25519.PublicKey))
	b.Run("floor", func(b *testing.B) {
		m := make([]byte, 71)
		for b.Loop() {
			ed25519.Sign(testKey, m)
		}
	})
	for _, n := range []int{1, 64, 1000} {
		hashes := someHashes(n)
		b.Run(fmt.Sprintf("group/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Sign(testKey, id, [16]byte{1}, hashes)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/event")
		})
		g := Sign(testKey, id, [16]byte{1}, hashes)
		b.Run(fmt.Sprintf("receipt/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				g.Signature(n / 2)
			}
		})
	}
}

// BenchmarkVerify is beside its floor, the check of a bare signature.
func BenchmarkVerify(b *testing.B) {
	public := testKey.Public().(ed25519.PublicKey)
	b.Run("floor", func(b *testing.B) {
		m := make([]byte, 71)
		s := ed25519.Sign(testKey, m)
		for b.Loop() {
			ed25519.Verify(public, m, s)
		}
	})
	hashes := someHashes(64)
	s, err := DecodeSignature([]byte(Sign(testKey, KeyID(public), [16]byte{1}, hashes).Signature(9)))
	if err != nil {
		b.Fatal(err)
	}
	b.Run("group/64", func(b *testing.B) {
		for b.Loop() {
			if !s.Verify(public, [16]byte{1}, &hashes[9]) {
				b.Fatal("does not hold")
			}
		}
	})
}
