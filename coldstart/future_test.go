package coldstart

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"batpak/hidden"
	"batpak/idemp"
	"batpak/index"
	"batpak/internal/vfs"
	"batpak/internal/wire"
	"batpak/segment"
)

// A newerFile is a file of a store, and how a later version would leave it: with a version that this one does not
// know, and checksums that hold.
type newerFile struct {
	what, name string
	from       string                                       // file that it is made of; "" means name
	raise      func(b []byte)                               // changes the version and nothing else
	resum      func(b []byte, id uint64, of segment.Header) // makes the checksums hold
}

// in returns the bytes [from, to) of b; a negative place counts from the end.
func in(b []byte, from, to int) []byte {
	if from < 0 {
		from += len(b)
	}
	if to <= 0 {
		to += len(b)
	}
	return b[from:to]
}

// sumsAt returns a resum for a checksum at offset at of the bytes [from, to), all of which it covers; of says that it
// begins with the identity of the segment.
func sumsAt(at, from, to int, of bool) func([]byte, uint64, segment.Header) {
	return func(b []byte, id uint64, h segment.Header) {
		b = in(b, from, to)
		if at < 0 {
			at += len(b)
		}
		seed := uint32(0)
		if of {
			seed = wire.SumUint64(wire.Sum(0, h.Store[:]), id)
		}
		binary.LittleEndian.PutUint32(b[at:], wire.Sum(wire.Sum(seed, b[:at]), b[at+4:]))
	}
}

func raise(at int) func([]byte) { return func(b []byte) { in(b, at, 0)[0]++ } }

// footerSum makes the checksum of a trailer hold, whose length stands in its tail.
func footerSum(b []byte, id uint64, h segment.Header) {
	n := int(binary.LittleEndian.Uint32(in(b, -16, 0)))
	sumsAt(-4, -n, 0, true)(b, id, h)
}

var newerFiles = []newerFile{
	{what: "snapshot", name: snapshotName, raise: raise(8), resum: sumsAt(offImageSum, 0, 0, false)},
	{what: "flag of the snapshot", name: snapshotName, raise: raise(11), resum: sumsAt(offImageSum, 0, 0, false)},
	{what: "checkpoint", name: checkpointName, raise: raise(8), resum: sumsAt(offCheckpointSum, 0, 0, false)},
	{what: "catalog of a few segments", name: index.CatalogName(5, 8), raise: raise(-12), resum: sumsAt(-4, -100, 0, false)},
	{what: "flag of a catalog", name: index.CatalogName(1, 4), raise: raise(-10), resum: sumsAt(-4, -100, 0, false)},
	{what: "catalog over nothing that is there", name: index.CatalogName(70, 80), from: index.CatalogName(1, 4),
		raise: raise(-12), resum: sumsAt(-4, -100, 0, false)},
	{what: "oldest footer", name: segment.Name(1), raise: raise(-12), resum: footerSum},
	{what: "newest footer", name: segment.Name(9), raise: raise(-12), resum: footerSum},
	{what: "index blocks", name: segment.BlockName(10), raise: raise(8), resum: sumsAt(12, 0, segment.BlockHeaderLen, true)},
	{what: "index block of a sealed segment", name: segment.BlockName(2), from: segment.BlockName(10),
		raise: raise(8), resum: sumsAt(12, 0, segment.BlockHeaderLen, true)},
	{what: "hidden ranges", name: hidden.FileName, raise: raise(16), resum: sumsAt(12, 0, 0, false)},
	{what: "evicted keys", name: idemp.FileName, raise: raise(16), resum: sumsAt(12, 0, 4096, false)},
	{what: "anchor", name: anchorName, raise: raise(8), resum: sumsAt(12, 0, anchorLen, false)},
	{what: "identity", name: metaName, raise: raise(16), resum: sumsAt(12, 0, 0, false)},
	{what: "header of the oldest segment", name: segment.Name(1), raise: raise(16), resum: headerSum},
	{what: "header of the newest segment", name: segment.Name(10), raise: raise(16), resum: headerSum},
	{what: "record of a compaction", name: pendingName, raise: raise(16), resum: sumsAt(12, 0, 0, false)},
	{what: "beacon", name: lockName, raise: raise(vfs.LockDataOffset + 8), resum: sumsAt(12, vfs.LockDataOffset, vfs.LockDataOffset+beaconLen, false)},
	{what: "flag of the beacon", name: lockName, raise: raise(vfs.LockDataOffset + 11), resum: sumsAt(12, vfs.LockDataOffset, vfs.LockDataOffset+beaconLen, false)},
}

func headerSum(b []byte, id uint64, h segment.Header) {
	sumsAt(12, 0, int(h.Len()), false)(b, id, h)
}

// everyArtifact returns a store with one file of each kind: nine sealed segments, the tenth is written to.
func everyArtifact(t *testing.T) (*vfs.Mem, model) {
	t.Helper()
	m := vfs.NewMem()
	s := openTest(t, testConfig(m))
	s.addSealed(9, true)
	s.append(5)
	s.st.Folder.Fold()
	if err := s.st.IndexBlock(context.Background(), s.st.Writer, s.seq); err != nil {
		t.Fatal(err)
	}
	s.append(2)
	if err := s.st.WriteImages(); err != nil {
		t.Fatal(err)
	}
	if err := s.st.WriteHidden(hidden.File{Covers: s.seq}); err != nil {
		t.Fatal(err)
	}
	if err := idemp.Write(s.st.Dir, idemp.Update{Store: s.st.StoreID, Fresh: sampleKeys()}); err != nil {
		t.Fatal(err)
	}
	m.SetFile(pendingName, appendPending(nil, &pendingRecord{state: statePrepared, store: s.st.StoreID, generation: 1}))
	pending := m.Files()[pendingName]
	m.DeleteFile(pendingName)
	events := s.events
	s.close()
	// Where the anchor's slot in use is the second one the first is made to say the same: tests look at the first.
	b := m.Files()[anchorName]
	if b[0] == 0 {
		copy(b, b[anchorStride:anchorStride+anchorLen])
		clear(b[anchorStride:])
		m.SetFile(anchorName, b)
	}
	m.SetFile("pending", pending)
	return m, events
}

// downTo returns a Config that opens m by the given rung, and no other.
func downTo(m *vfs.Mem, rung Rung, readOnly bool) Config {
	cfg := testConfig(m)
	cfg.ReadOnly, cfg.NoSnapshot, cfg.NoCheckpoint = readOnly, rung > RungSnapshot, rung > RungCheckpoint
	if rung < RungFrames {
		return cfg
	}
	for id := uint64(1); id < 10; id++ {
		b := m.Files()[segment.Name(id)]
		b[len(b)-20] ^= 1 // of the trailer
		m.SetFile(segment.Name(id), b)
	}
	return cfg
}

// TestFutureOfEveryArtifact: whatever the rung, and whether it needs the file or not, a file that only a newer version
// can read is refused, typed and by name, and nothing is touched. What only looks like one, since its checksum does not
// hold, is damage.
func TestFutureOfEveryArtifact(t *testing.T) {
	base, events := everyArtifact(t)
	pending := base.Files()["pending"]
	base.DeleteFile("pending")
	for _, rung := range []Rung{RungSnapshot, RungCheckpoint, RungFooters, RungFrames} {
		for _, readOnly := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v, read-only %v", rung, readOnly), func(t *testing.T) {
				m := base.Clone()
				cfg := downTo(m, rung, readOnly)
				st, err := Open(context.Background(), cfg)
				if err != nil {
					t.Fatal(err)
				}
				if got, err := readAll(st); err != nil || len(got) != len(events) || st.Report.Rung != rung {
					t.Fatalf("%d events of %d by %v, %v", len(got), len(events), st.Report.Rung, err)
				}
				if err := st.Close(); err != nil {
					t.Fatal(err)
				}
				for _, f := range newerFiles {
					m := base.Clone()
					cfg := downTo(m, rung, readOnly)
					if f.name == pendingName {
						m.SetFile(pendingName, pending)
					}
					f.mustBeRefused(t, m, cfg)
				}
			})
		}
	}
}

// mustBeRefused puts the newer file in the place of the one that is there.
func (f *newerFile) mustBeRefused(t *testing.T, m *vfs.Mem, cfg Config) {
	t.Helper()
	from := f.from
	if from == "" {
		from = f.name
	}
	b := bytes.Clone(m.Files()[from])
	id, kind := classify(f.name)
	var h segment.Header
	var err error
	if kind != nameSegment {
		id = 10
	}
	if h, err = segment.DecodeHeader(m.Files()[segment.Name(id)], id); err != nil {
		t.Fatal(err)
	}
	if kind == nameBlocks {
		id, _ = parseBlockName(f.name)
	}
	f.raise(b)
	m.SetFile(f.name, b)
	if isFuture(m.Clone(), cfg, f.name) == nil {
		t.Errorf("%s: damaged, and believed to be of a newer version", f.what)
	}
	f.resum(b, id, h)
	m.SetFile(f.name, b)
	before := m.Files()
	if err := isFuture(m, cfg, f.name); err != nil {
		t.Errorf("%s: %v", f.what, err)
	}
	after := m.Files()
	if !cfg.ReadOnly { // the lock says who holds it
		copy(before[lockName][:vfs.LockHintSize], after[lockName])
	}
	if !sameFiles(before, after) {
		t.Errorf("%s: a refusal changed %v into %v", f.what, names(before), names(after))
	}
}

// isFuture opens m, and says how that does not end in a refusal of the newer file name.
func isFuture(m *vfs.Mem, cfg Config, name string) error {
	cfg.FS = m
	st, err := Open(context.Background(), cfg)
	if err == nil {
		return fmt.Errorf("opens: %v", errors.Join(errors.New(st.Report.Rung.String()), st.Close()))
	}
	var future *FutureError
	var identity *MetaError
	named := errors.As(err, &future) && future.File == name || errors.As(err, &identity) && identity.File == name
	if !errors.Is(err, ErrFuture) || !named || errors.Is(err, ErrCorrupt) {
		return err
	}
	return nil
}
