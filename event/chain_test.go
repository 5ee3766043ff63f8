package event

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"testing"
)

// The chain as the package comment describes it, written out by hand.
func linkByHand(parent, content Hash, meta []byte) Hash {
	var b bytes.Buffer
	b.WriteString("batpak.event.v1\n")
	b.Write(parent[:])
	b.Write(content[:])
	b.Write(meta)
	return sha256.Sum256(b.Bytes())
}

func TestLinkAgainstTheComment(t *testing.T) {
	var l Linker
	parent := Hash{}
	for i, h := range []Header{plain(), full(), plain()} {
		h.Clock = uint64(i + 1)
		content := ContentHash(h.Salt, []byte("payload"))
		meta := AppendMeta(nil, &h)
		before := bytes.Clone(meta)
		got := l.Link(&parent, &content, meta)
		if want := linkByHand(parent, content, meta); got != want {
			t.Errorf("event %d: Link = %x, want %x", i, got, want)
		}
		if !bytes.Equal(meta, before) {
			t.Error("Link changed its argument")
		}
		parent = got
	}
}

// A golden value: the hash is part of the format and never changes.
func TestLinkGolden(t *testing.T) {
	h := plain()
	var l Linker
	var parent Hash
	content := ContentHash(h.Salt, []byte("payload"))
	hash := l.Link(&parent, &content, AppendMeta(nil, &h))
	if got, want := hex.EncodeToString(hash[:]), goldenHash; got != want {
		t.Errorf("Link = %s, want %s", got, want)
	}
}

func TestContentHash(t *testing.T) {
	if got, want := ContentHash([16]byte{}, []byte("abc")), Hash(sha256.Sum256([]byte("abc"))); got != want {
		t.Errorf("ContentHash without salt = %x, want %x", got, want)
	}
	salt := [16]byte{1}
	if got, want := ContentHash(salt, []byte("abc")), Hash(sha256.Sum256(append(salt[:], "abc"...))); got != want {
		t.Errorf("ContentHash with salt = %x, want %x", got, want)
	}
	if !(Hash{}).IsZero() || (Hash{31: 1}).IsZero() {
		t.Error("IsZero is wrong")
	}
}

func TestVerify(t *testing.T) {
	h := full()
	var l Linker
	parent := Hash{1}
	content := ContentHash(h.Salt, []byte("x"))
	meta := AppendMeta(nil, &h)
	hash := l.Link(&parent, &content, meta)
	r, err := DecodeBody(append(append(meta, hash[:]...), 'x'))
	if err != nil {
		t.Fatal(err)
	}
	if !l.Verify(&r, parent) {
		t.Error("Verify = false with the right parent")
	}
	if l.Verify(&r, Hash{}) {
		t.Error("Verify = true with another parent")
	}
}

const goldenHash = "dbd7510c36eca0b8ce0d66211b80a540a59cb39de60626cb0a3760360f165efb"
