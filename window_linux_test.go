package batpak_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"batpak"
	"batpak/segment"
)

// mappedForWriting returns which files below dir the process has mapped for writing.
func mappedForWriting(t *testing.T, dir string) (names []string) {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(maps)) {
		if _, name, found := strings.Cut(strings.TrimSpace(line), dir+"/"); found && strings.Contains(line, "rw-s") {
			names = append(names, name)
		}
	}
	return names
}

// TestRelaxedWritesAreMapped holds a real directory against the modes: small appends that nobody waits to see synced go
// through a window of the newest segment, over rotations and reopens; readers beside see each of them; and a store that is
// closed, or waits for each sync, has none.
func TestRelaxedWritesAreMapped(t *testing.T) {
	for _, tt := range []struct {
		name   string
		opts   batpak.Options
		mapped bool
	}{
		{"never", batpak.Options{Sync: batpak.SyncNever}, true},
		{"never, filled ahead", batpak.Options{Sync: batpak.SyncNever, FillAhead: 4 << 20}, true},
		{"never, without zeroes", batpak.Options{Sync: batpak.SyncNever, FillAhead: -1}, false},
		{"interval", batpak.Options{Sync: batpak.SyncInterval, SyncEvery: time.Hour}, true},
		{"always", batpak.Options{}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "store")
			tt.opts.SegmentSize = 1 << 20
			m := &mapping{dir: dir, opts: tt.opts, mapped: tt.mapped}
			for range 2 {
				m.open(t)
				m.fill(t)
				mustClose(t, m.st)
				if names := mappedForWriting(t, dir); len(names) > 0 {
					t.Errorf("a closed store has mapped %q", names)
				}
			}
			if m.found != tt.mapped && m.tells(t) {
				t.Errorf("a segment was mapped for writing: %v, want %v", m.found, tt.mapped)
			}
		})
	}
}

// A mapping is a store that is written to, and what was seen of its windows.
type mapping struct {
	dir      string
	opts     batpak.Options
	mapped   bool // wanted
	found    bool
	appended uint64

	st *batpak.Store
}

func (m *mapping) open(t *testing.T) { m.st = openAt(t, m.dir, &m.opts) }

// fill appends over several segments, and on until a window was seen that is wanted. A reader follows.
func (m *mapping) fill(t *testing.T) {
	t.Helper()
	r := openAt(t, m.dir, &batpak.Options{ReadOnly: true})
	defer mustClose(t, r)
	events := sized(2500, 8000, 20_000)
	if m.opts.Sync == batpak.SyncAlways {
		events = 500
	}
	drafts := benchDrafts(100)
	deadline := time.Now().Add(time.Minute)
	found := false
	for i := 0; i < events || m.mapped && !found && time.Now().Before(deadline) && m.tells(t); i++ {
		rcpt, err := m.st.Append(t.Context(), drafts[i%len(drafts)])
		if err != nil {
			t.Fatal(err)
		}
		m.appended = rcpt.Seq
		if i%100 != 0 {
			continue
		}
		names := mappedForWriting(t, m.dir)
		newest := segment.Name(uint64(m.st.Stats().Segments))
		if len(names) > 1 || len(names) == 1 && names[0] != newest {
			t.Fatalf("the store has mapped %q, the newest segment is %s", names, newest)
		}
		found = found || len(names) > 0
		if _, err := r.Refresh(t.Context()); err != nil || r.Visible() != rcpt.Seq {
			t.Fatalf("Refresh = %v; a reader sees up to %d, want %d", err, r.Visible(), rcpt.Seq)
		}
	}
	m.found = m.found || found
	for _, st := range []*batpak.Store{m.st, r} {
		if _, err := r.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, err := collect(st, batpak.Query{}); err != nil || uint64(len(got)) != m.appended {
			t.Fatalf("%d events are there, %v, want %d", len(got), err, m.appended)
		}
	}
	if report, err := batpak.Verify(t.Context(), m.dir, nil); err != nil {
		t.Errorf("Verify beside the writer = %v, %v", report, err)
	}
}

// tells reports whether files are mapped for writing on the file system of the store, for which see package vfs.
func (m *mapping) tells(t *testing.T) bool {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(m.dir, &st); err != nil {
		t.Fatal(err)
	}
	return st.Type == unix.EXT4_SUPER_MAGIC || st.Type == unix.TMPFS_MAGIC
}
