package batpak_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"batpak"
	"batpak/coordinate"
)

// What a batch that is refused was about to add leaves no trace: neither its streams and scopes, nor the clocks and hashes
// of those that were there, however far it had come.
func TestRefusedBatchLeavesNoTrace(t *testing.T) {
	for _, n := range []int{2, 31, 32, 33, 100, 700} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "store")
			st := openAt(t, dir, &batpak.Options{Sync: batpak.SyncNever})
			drafts := make([]batpak.Draft, n)
			for i := range drafts {
				drafts[i] = batpak.Draft{
					Coordinate: coordinate.MustNew(fmt.Sprintf("e%d", i%40), fmt.Sprintf("s%d", i%5)), Kind: kindOne, Payload: []byte{byte(i)},
				}
			}
			first := batpak.Draft{Coordinate: coordinate.MustNew("e0", "s"), Kind: kindOne}
			before, err := st.Append(t.Context(), first)
			if err != nil {
				t.Fatal(err)
			}
			drafts[n-1].Expect = batpak.Clock(77)
			var refused *batpak.BatchError
			if _, err := st.AppendBatch(t.Context(), drafts); !errors.As(err, &refused) || refused.Index != n-1 {
				t.Fatalf("AppendBatch = %v, want a *BatchError about draft %d", err, n-1)
			}
			for _, q := range []batpak.Query{{Scope: "s0"}, {Entity: "e1"}, {EntityPrefix: "e1"}} {
				if evs, err := collect(st, q); err != nil || len(evs) > 0 {
					t.Errorf("Read(%+v) = %v, %v, want nothing", q, evs, err)
				}
			}
			drafts[n-1].Expect = batpak.Any()
			receipts, err := st.AppendBatch(t.Context(), drafts)
			if err != nil {
				t.Fatal(err)
			}
			if r := receipts[0]; r.Seq != 2 || r.Clock != 2 || r.Parent != before.Hash {
				t.Errorf("receipt after the refusal = %+v, want sequence 2, clock 2, parent %x", r, before.Hash)
			}
			if evs, err := collect(st, batpak.Query{}); err != nil || len(evs) != n+1 {
				t.Errorf("Read = %d events, %v, want %d", len(evs), err, n+1)
			}
			mustClose(t, st)
			report, err := batpak.Verify(t.Context(), dir, nil)
			if err != nil || len(report.Findings) > 0 {
				t.Errorf("Verify = %+v, %v", report, err)
			}
		})
	}
}
