package coldstart

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"batpak/event"
	"batpak/internal/vfs"
	"batpak/segment"
)

// somePending is a record that says something in each field.
func somePending() *pendingRecord {
	return &pendingRecord{
		state: stateCommitted, store: [16]byte{1, 2}, generation: 3,
		sources: []pendingFile{
			{segment: 4, end: 500, salt: [16]byte{6}, headerSum: 7, firstSeq: 8, lastSeq: 9, treeSize: 9, root: event.Hash{10}},
			{segment: 5, end: 600, salt: [16]byte{7}, headerSum: 8, firstSeq: 10, lastSeq: 12, treeSize: 12, root: event.Hash{11}},
		},
		results: []pendingFile{
			{segment: 5, end: 900, salt: [16]byte{8}, headerSum: 9, content: 10, firstSeq: 8, lastSeq: 12, treeSize: 12, root: event.Hash{11}},
		},
	}
}

// goldenPending is the encoding of somePending, format 1.
const goldenPending = `
42415450414b4350580100007aaff2b601000000020000000102000000000000000000000000000003000000000000000200000001000000
0400000000000000f40100000000000006000000000000000000000000000000070000000000000008000000000000000900000000000000
09000000000000000a0000000000000000000000000000000000000000000000000000000000000005000000000000005802000000000000
0700000000000000000000000000000008000000000000000a000000000000000c000000000000000c000000000000000b00000000000000
0000000000000000000000000000000000000000000000000500000000000000840300000000000008000000000000000000000000000000
090000000a00000008000000000000000c000000000000000c000000000000000b0000000000000000000000000000000000000000000000
0000000000000000`

func TestPendingGolden(t *testing.T) {
	got := hex.EncodeToString(appendPending(nil, somePending()))
	if want := strings.ReplaceAll(goldenPending, "\n", ""); got != want {
		t.Errorf("appendPending = %s, want %s", got, want)
	}
}

func TestPendingRoundTrip(t *testing.T) {
	for name, edit := range map[string]func(p *pendingRecord){
		"committed":      func(*pendingRecord) {},
		"placed":         func(p *pendingRecord) { p.state = statePlaced },
		"prepared":       func(p *pendingRecord) { p.state, p.results = statePrepared, nil },
		"without result": func(p *pendingRecord) { p.results = nil },
		"largest": func(p *pendingRecord) {
			p.sources, p.results = nil, nil
			for i := range uint64(maxSources) {
				f := pendingFile{segment: i + 1, end: 200, firstSeq: i + 1, lastSeq: i + 1, treeSize: i + 1}
				binary.LittleEndian.PutUint64(f.salt[:], i+1)
				p.sources = append(p.sources, f)
				f.salt[15] = 1
				p.results = append(p.results, f)
			}
		},
	} {
		p := somePending()
		edit(p)
		b := appendPending(nil, p)
		got, err := decodePending(b)
		if err != nil || !bytes.Equal(appendPending(nil, &got), b) || len(b) > maxArtifact {
			t.Errorf("%s: decodePending = %+v, %v", name, got, err)
		}
	}
}

// TestPendingContradicts decodes records whose checksum holds and that cannot be true.
func TestPendingContradicts(t *testing.T) {
	for name, edit := range map[string]func(p *pendingRecord){
		"state 0":                    func(p *pendingRecord) { p.state = 0 },
		"state 4":                    func(p *pendingRecord) { p.state = 4 },
		"no store":                   func(p *pendingRecord) { p.store = [16]byte{} },
		"no generation":              func(p *pendingRecord) { p.generation = 0 },
		"no source":                  func(p *pendingRecord) { p.sources, p.results = nil, nil },
		"prepared with a result":     func(p *pendingRecord) { p.state = statePrepared },
		"sources in disorder":        func(p *pendingRecord) { slices.Reverse(p.sources) },
		"a source twice":             func(p *pendingRecord) { p.sources[1] = p.sources[0] },
		"overlapping sources":        func(p *pendingRecord) { p.sources[1].firstSeq = 9 },
		"a tree that shrinks":        func(p *pendingRecord) { p.sources[1].treeSize = 8 },
		"sequences that go back":     func(p *pendingRecord) { p.sources[1].lastSeq = 8 },
		"a result under a new name":  func(p *pendingRecord) { p.results[0].segment = 6 },
		"a salt twice":               func(p *pendingRecord) { p.results[0].salt = p.sources[0].salt },
		"a result with more events":  func(p *pendingRecord) { p.results[0].lastSeq = 13 },
		"a result with older events": func(p *pendingRecord) { p.results[0].firstSeq = 7 },
		"content of a source":        func(p *pendingRecord) { p.sources[0].content = 1 },
		"no end":                     func(p *pendingRecord) { p.results[0].end = 0 },
		"an end before the start":    func(p *pendingRecord) { p.results[0].end = -1 },
		"a number without a name":    func(p *pendingRecord) { p.sources[1].segment = segment.MaxID + 1 },
	} {
		p := somePending()
		edit(p)
		if _, err := decodePending(appendPending(nil, p)); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: decodePending = %v, want ErrDamaged", name, err)
		}
	}
}

// signed returns b with a checksum that holds.
func signed(b []byte) []byte {
	binary.LittleEndian.PutUint32(b[sumAt:], artifactSum(b))
	return b
}

// TestPendingRefused opens directories whose record cannot be acted on: a typed error, and nothing is changed.
func TestPendingRefused(t *testing.T) {
	for step := stepPrepared; step <= stepPlaced; step++ {
		m, _ := reworks[1].stopped(t, step)
		good := m.Files()[pendingName]
		edited := func(at int, v byte) []byte { b := slices.Clone(good); b[at] = v; return b }
		for name, tt := range map[string]struct {
			b    []byte
			want error
		}{
			"newer version":   {signed(edited(16, 2)), ErrFuture},
			"unknown flag":    {signed(edited(18, 1)), ErrFuture},
			"version 0":       {signed(edited(16, 0)), ErrDamaged},
			"another store":   {signed(edited(24, good[24]^1)), ErrForeign},
			"length too long": {signed(edited(8, good[8]+1)), ErrDamaged},
			"too large":       {make([]byte, maxArtifact+1), ErrDamaged},
			"longer":          {append(slices.Clone(good), 0), ErrDamaged},
		} {
			m.SetFile(pendingName, tt.b)
			refused(t, m, name, tt.want)
		}
		every := sample(7)
		for i := step; i < 8*len(good); i += every {
			m.SetFile(pendingName, edited(i/8, good[i/8]^1<<(i%8)))
			refused(t, m, "a bit flipped", ErrDamaged)
		}
		for n := range good {
			m.SetFile(pendingName, good[:n])
			refused(t, m, "cut", ErrDamaged)
		}
	}
}

// refused opens m as a reader and as a writer.
func refused(t *testing.T, m *vfs.Mem, name string, want error) {
	t.Helper()
	before := withoutLock(m.Files())
	for _, readOnly := range []bool{true, false} {
		_, _, err := reopen(m, readOnly)
		pending, future := (*PendingError)(nil), (*FutureError)(nil)
		typed := errors.As(err, &pending) && pending.File == pendingName || errors.As(err, &future) && future.File == pendingName
		if !errors.Is(err, want) || !typed {
			t.Fatalf("%s, read-only %v: Open = %v, want %v", name, readOnly, err, want)
		}
	}
	if !sameFiles(before, withoutLock(m.Files())) {
		t.Fatalf("%s: a refusal has changed the directory", name)
	}
}

// TestPendingFilesWrong has a sound record and files that no crash leaves: a refusal that names the file.
func TestPendingFilesWrong(t *testing.T) {
	swap := func(a, b string) func(*vfs.Mem) {
		return func(m *vfs.Mem) {
			files := m.Files()
			m.SetFile(a, files[b])
			m.SetFile(b, files[a])
		}
	}
	remove := func(name string) func(*vfs.Mem) { return func(m *vfs.Mem) { m.DeleteFile(name) } }
	flip := func(name string, at int) func(*vfs.Mem) {
		return func(m *vfs.Mem) {
			b := m.Files()[name]
			b[at] ^= 4
			m.SetFile(name, b)
		}
	}
	cut := func(name string) func(*vfs.Mem) {
		return func(m *vfs.Mem) { b := m.Files()[name]; m.SetFile(name, b[:len(b)-1]) }
	}
	one, two, three := segment.Name(1), segment.Name(2), segment.Name(3)
	for _, tt := range []struct {
		name string
		step int
		edit func(*vfs.Mem)
		file string // that the refusal names
	}{
		{"a result is missing", stepCommitted, remove(resultName(2)), resultName(2)},
		{"the other result is missing", stepCommitted, remove(resultName(3)), resultName(3)},
		{"a source that stays is missing", stepCommitted, remove(one), one},
		{"a source that is replaced is missing", stepCommitted, remove(two), two},
		{"a result and its source are missing", stepCommitted, func(m *vfs.Mem) { remove(two)(m); remove(resultName(2))(m) }, two},
		{"a source is empty", stepCommitted, func(m *vfs.Mem) { m.SetFile(one, nil) }, one},
		{"a source is another segment", stepCommitted, swap(one, three), three},
		{"results are swapped", stepCommitted, swap(resultName(2), resultName(3)), resultName(2)},
		{"a result's header is damaged", stepCommitted, flip(resultName(3), 50), resultName(3)},
		{"a result is cut", stepCommitted, cut(resultName(2)), resultName(2)},
		{"a placed result is missing", stepPlaced, remove(three), three},
		{"a placed result is damaged", stepPlaced, flip(two, 50), two},
		{"a stranger has a source's name", stepPlaced, func(m *vfs.Mem) { m.SetFile(one, []byte("?")) }, one},
	} {
		m, _ := reworks[1].stopped(t, tt.step)
		tt.edit(m)
		before := withoutLock(m.Files())
		for _, readOnly := range []bool{true, false} {
			_, _, err := reopen(m, readOnly)
			if e := (*CorruptError)(nil); !errors.As(err, &e) || e.File != tt.file {
				t.Errorf("%s, read-only %v: Open = %v, want *CorruptError about %s", tt.name, readOnly, err, tt.file)
			}
		}
		if !sameFiles(before, withoutLock(m.Files())) {
			t.Errorf("%s: a refusal has changed the directory", tt.name)
		}
	}
	// A reader finds it when it reads the frame; a writer before it removes what could replace it.
	m, _ := reworks[1].stopped(t, stepCommitted)
	b := m.Files()[resultName(2)]
	flip(resultName(2), len(b)-1)(m)
	before := withoutLock(m.Files())
	if _, _, err := reopen(m, false); !errors.Is(err, ErrCorrupt) || !sameFiles(before, withoutLock(m.Files())) {
		t.Errorf("damaged frame in a result: Open = %v", err)
	}
}

// TestPendingAlone has a record in a directory that lost everything else: no new store begins there.
func TestPendingAlone(t *testing.T) {
	full, _ := reworks[0].stopped(t, stepCommitted)
	m := vfs.NewMemFrom(map[string][]byte{pendingName: full.Files()[pendingName]})
	for _, readOnly := range []bool{true, false} {
		if _, _, err := reopen(m, readOnly); !errors.Is(err, ErrAbsent) {
			t.Errorf("read-only %v: Open = %v, want *MetaError", readOnly, err)
		}
	}
}

// TestVerifyPending verifies a directory as it will be, without waiting for the writer.
func TestVerifyPending(t *testing.T) {
	for step := stepPrepared; step <= stepFinished; step++ {
		m, want := reworks[1].stopped(t, step)
		report, err := Verify(context.Background(), VerifyConfig{FS: m, Dir: vfs.MemDir})
		if err != nil || !report.Clean() || report.Events != uint64(len(want)) {
			t.Errorf("step %d: %v, %v", step, report, err)
		}
		if step == stepFinished {
			continue
		}
		m.SetFile(pendingName, nil)
		report, err = Verify(context.Background(), VerifyConfig{FS: m, Dir: vfs.MemDir})
		if err != nil || report.Clean() || report.Findings[0].File != pendingName {
			t.Errorf("step %d, damaged: %v, %v", step, report, err)
		}
	}
}

// FuzzPending decodes anything, and encodes again what decodes.
func FuzzPending(f *testing.F) {
	f.Add(appendPending(nil, somePending())[sumAt+4:])
	f.Add(appendPending(nil, &pendingRecord{state: statePrepared, store: [16]byte{1}, generation: 1, sources: somePending().sources})[sumAt+4:])
	f.Fuzz(func(t *testing.T, rest []byte) {
		// Magic, length and checksum are put in front: a fuzzer would not find them.
		b := binary.LittleEndian.AppendUint32([]byte(pendingMagic), uint32(sumAt+4+len(rest)))
		b = signed(append(append(b, 0, 0, 0, 0), rest...))
		p, err := decodePending(b)
		if err == nil {
			if got := appendPending(nil, &p); !bytes.Equal(got, b) {
				t.Errorf("appendPending = %x, want %x", got, b)
			}
		} else if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrFuture) {
			t.Errorf("decodePending = %v", err)
		}
		if _, err := decodePending(rest); err == nil && len(rest) == 0 {
			t.Error("nothing decodes")
		}
	})
}

// TestContextEndsResolve gives up a recovery; the next open does it.
func TestContextEndsResolve(t *testing.T) {
	m, want := reworks[1].stopped(t, stepCommitted)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Open(ctx, testConfig(m)); !errors.Is(err, context.Canceled) {
		t.Errorf("Open = %v", err)
	}
	got, _, err := reopen(m, false)
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("%d events, want %d, %v", len(got), len(want), err)
	}
}
