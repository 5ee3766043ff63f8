package batpak_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"batpak"
	"batpak/coordinate"
	"batpak/event"
	"batpak/segment"
)

// TestBytesFarBehindTheLog: after the death of a process, the zeroes that its system has seen written are not read before
// the store opens. What a failed disk may have left among them ends the segment as soon as it is found.
func TestBytesFarBehindTheLog(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	st, err := batpak.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	d := batpak.Draft{Coordinate: coordinate.MustNew("e", "s"), Kind: event.MustKind(1, 1), Payload: bytes.Repeat([]byte("x"), 64<<10)}
	name := filepath.Join(dir, segment.Name(1))
	var size int64
	booted := func() bool { // the beacon says on which boot of the system
		b, err := os.ReadFile(filepath.Join(dir, ".lock"))
		return err == nil && len(b) == 128 && !bytes.Equal(b[120:], make([]byte, 8))
	}
	for deadline := time.Now().Add(time.Minute); size < st.Stats().Active+512<<10 || !booted(); {
		if _, err := st.Append(t.Context(), d); err != nil || time.Now().After(deadline) {
			t.Fatal(err, "no zeroes were written ahead")
		}
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		size = info.Size()
	}
	events, end := st.Stats().Events, st.Stats().Active
	for _, far := range []bool{false, true} {
		copied := t.TempDir()
		if err := os.CopyFS(copied, os.DirFS(dir)); err != nil { // as the death of the process would leave it
			t.Fatal(err)
		}
		if far {
			f, err := os.OpenFile(filepath.Join(copied, segment.Name(1)), os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt([]byte("left"), end+300<<10); err != nil {
				t.Fatal(err)
			}
			f.Close()
		}
		again, err := batpak.Open(copied, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := again.OpenReport(); got.Verdict != "preallocated" {
			t.Errorf("far %v: verdict %q\n%v", far, got.Verdict, got)
		}
		want := 1
		if far {
			want = 2
		}
		for deadline := time.Now().Add(time.Minute); again.Stats().Segments != want && time.Now().Before(deadline); {
			if _, err := again.Append(t.Context(), d); err != nil {
				t.Fatal(err)
			}
			events++
		}
		if got := again.Stats().Segments; got != want {
			t.Errorf("far %v: %d segments, want %d", far, got, want)
		}
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
		report, err := batpak.Verify(t.Context(), copied, nil)
		if err != nil || !report.Clean() || report.Events != events {
			t.Errorf("far %v: %d events, want %d, %v\n%v", far, report.Events, events, err, report)
		}
		events = st.Stats().Events
	}
}
