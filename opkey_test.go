package batpak_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"batpak"
)

// The vectors are the contract: other programs derive the same keys.
func TestOperationKeyVectors(t *testing.T) {
	long := strings.Repeat("x", 1014) // with "1:d," and "1014:…," the key has 1,024 bytes
	for _, tt := range []struct {
		name   string
		domain string
		parts  []string
		want   string
	}{
		{"nothing", "", nil, "0:,"},
		{"domain alone", "charge", nil, "6:charge,"},
		{"domain and parts", "charge", []string{"order:1042", "7"}, "6:charge,10:order:1042,1:7,"},
		{"empty part", "charge", []string{""}, "6:charge,0:,"},
		{"two empty parts", "charge", []string{"", ""}, "6:charge,0:,0:,"},
		{"empty domain", "", []string{"charge"}, "0:,6:charge,"},
		{"split one way", "d", []string{"a", "bc"}, "1:d,1:a,2:bc,"},
		{"split the other way", "d", []string{"ab", "c"}, "1:d,2:ab,1:c,"},
		{"part that looks like parts", "d", []string{"a,2:bc"}, "1:d,6:a,2:bc,"},
		{"bytes, not characters", "größe", []string{"\x00\xff"}, "7:größe,2:\x00\xff,"},
		{"as long as a key may be", "d", []string{long}, "1:d,1014:" + long + ","},
		{"one byte more", "d", []string{long + "x"}, "#4dd08725ac2fe2a05a042f2b341a5a0f5bc7843d3d03025a7672c40cf51c024f"},
		{"many parts", "d", strings.Split(strings.Repeat("p", 400), ""), "#0873260717ac68215cf0df38b443e65a242c599ba97c0daad98d694b945003b4"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := batpak.OperationKey(tt.domain, tt.parts...)
			if string(got) != tt.want {
				t.Errorf("OperationKey(%q, %q) = %q, want %q", tt.domain, tt.parts, got, tt.want)
			}
		})
	}
}

// netstrings is the encoding in other words.
func netstrings(domain string, parts []string) []byte {
	var b bytes.Buffer
	for _, s := range append([]string{domain}, parts...) {
		fmt.Fprintf(&b, "%d:%s,", len(s), s)
	}
	if b.Len() > 1024 {
		return fmt.Appendf(nil, "#%s", hex.EncodeToString(hashOf(b.Bytes())))
	}
	return b.Bytes()
}

func hashOf(b []byte) []byte {
	sum := sha256.Sum256(b)
	return sum[:]
}

// splitKey is the inverse of a key that is not hashed.
func splitKey(key []byte) (list []string, ok bool) {
	for len(key) > 0 {
		digits, rest, found := bytes.Cut(key, []byte(":"))
		n, err := strconv.Atoi(string(digits))
		if !found || err != nil || n < 0 || n >= len(rest) || rest[n] != ',' || strconv.Itoa(n) != string(digits) {
			return nil, false
		}
		list, key = append(list, string(rest[:n])), rest[n+1:]
	}
	return list, true
}

// FuzzOperationKey splits bytes into parts in two ways: equal keys come from equal lists alone, a key that is not hashed
// tells its list, and no key is longer than an append takes.
func FuzzOperationKey(f *testing.F) {
	f.Add([]byte("d,a,bc"), []byte("d,ab,c"), byte(','))
	f.Add([]byte("1:d,1:a,"), []byte("1:d,1:a"), byte(':'))
	f.Add([]byte(""), []byte(","), byte(','))
	f.Add(bytes.Repeat([]byte("x,"), 600), bytes.Repeat([]byte("x,"), 601), byte(','))
	f.Fuzz(func(t *testing.T, a, b []byte, cut byte) {
		lists := [2][]string{strings.Split(string(a), string([]byte{cut})), strings.Split(string(b), string([]byte{cut}))}
		var keys [2][]byte
		for i, list := range lists {
			keys[i] = batpak.OperationKey(list[0], list[1:]...)
			if want := netstrings(list[0], list[1:]); !bytes.Equal(keys[i], want) {
				t.Fatalf("OperationKey of %q = %q, want %q", list, keys[i], want)
			}
			if len(keys[i]) == 0 || len(keys[i]) > 1024 {
				t.Fatalf("OperationKey of %q has %d bytes", list, len(keys[i]))
			}
			if keys[i][0] == '#' {
				continue
			}
			if back, ok := splitKey(keys[i]); !ok || strings.Join(back, "\x00|") != strings.Join(list, "\x00|") || len(back) != len(list) {
				t.Fatalf("key %q splits into %q, want %q", keys[i], back, list)
			}
		}
		same := len(lists[0]) == len(lists[1]) && bytes.Equal(a, b)
		if bytes.Equal(keys[0], keys[1]) != same {
			t.Fatalf("lists %q have keys %q", lists, keys)
		}
	})
}

// The longest keys are taken by an append, and a retry is known by them.
func TestOperationKeyIsAKey(t *testing.T) {
	ctx := context.Background()
	st := openAt(t, t.TempDir(), nil)
	defer mustClose(t, st)
	for _, part := range []string{"", strings.Repeat("x", 1014), strings.Repeat("x", 1015), strings.Repeat("x", 1<<20)} {
		d := batpak.Draft{Coordinate: orderAt, Kind: kindOne, IdempotencyKey: batpak.OperationKey("d", part)}
		first, err := st.Append(ctx, d)
		if err != nil || first.Replayed {
			t.Fatalf("part of %d bytes: %v", len(part), err)
		}
		d.IdempotencyKey = batpak.OperationKey("d", part)
		if again, err := st.Append(ctx, d); err != nil || !again.Replayed || again.ID != first.ID {
			t.Errorf("part of %d bytes: the retry was not known: %v", len(part), err)
		}
	}
}
