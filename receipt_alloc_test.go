package batpak_test

import (
	"testing"

	"batpak"
	"batpak/coordinate"
)

// A receipt costs an append no allocation, and one where the event has fields that few have.
func TestAppendAllocations(t *testing.T) {
	if racing {
		t.Skip("NOT TESTED under the race detector: allocations of appends: it allocates")
	}
	plain := batpak.Draft{Coordinate: coordinate.MustNew("order:1", "eu"), Kind: kindOne, Payload: []byte("payload")}
	tagged := plain
	tagged.Tags, tagged.Correlation = []string{"urgent"}, otherEventID
	for _, tt := range []struct {
		name  string
		draft batpak.Draft
		most  float64
	}{{"plain", plain, 1}, {"tags", tagged, 2}} {
		st, err := batpak.Open(t.TempDir(), &batpak.Options{Sync: batpak.SyncNever})
		if err != nil {
			t.Fatal(err)
		}
		got := testing.AllocsPerRun(2000, func() {
			if _, err := st.Append(t.Context(), tt.draft); err != nil {
				t.Error(err)
			}
		})
		if got > tt.most {
			t.Errorf("%s: %v allocations, want at most %v", tt.name, got, tt.most)
		}
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
