package coldstart

import (
	"bytes"
	"context"
	"testing"

	"batpak/internal/vfs"
	"batpak/segment"
)

// fenced returns a fence frame that is to stand at the end of the log.
func (s *testStore) fenced(number uint64) []byte {
	w := s.st.Writer
	body := segment.AppendFence(nil, &segment.Fence{Op: segment.FenceBegin, Fence: number, Seq: s.seq})
	return w.Seal().AppendFrame(nil, w.End(), segment.TypeFence, segment.FlagGroup, uint32(w.Durable()), body)
}

// TestFooterFromMemoryIsTheFrames makes footer and index blocks of the same segment from memory and from its frames:
// they are the same bytes. Batches and fences stand between the events, and behind the last one.
func TestFooterFromMemoryIsTheFrames(t *testing.T) {
	s := openTest(t, testConfig(vfs.NewMem()))
	for i := range 3 {
		s.append(3)
		s.write(s.group(2, true, 16))
		s.write(s.fenced(uint64(i + 1)))
		s.sync()
		s.st.Folder.Fold()
		h := s.st.Writer.Header()
		tree, ok := s.st.Folder.At(s.seq)
		if !ok {
			t.Fatal("no tree")
		}
		from := s.st.indexer.at
		if from.offset == 0 {
			from = startOf(h)
		}
		until := s.st.Writer.Durable()
		got, end, err := s.st.buildBlock(t.Context(), h, from, until, tree)
		if err != nil {
			t.Fatalf("buildBlock = %v", err)
		}
		got = bytes.Clone(got)
		want, wantEnd, err := s.st.readBlock(t.Context(), h, from, until, tree)
		if err != nil || end != wantEnd || len(want) == 0 || !bytes.Equal(got, want) {
			t.Errorf("block %d from memory ends at %v with %d bytes, from frames at %v with %d, %v", i, end, len(got), wantEnd, len(want), err)
		}
		if _, _, ok := s.st.copyStretch(&s.st.indexer.copier, s.st.indexer.builderFor(h), h, from, s.seq, 0); !ok {
			t.Errorf("block %d is not made from memory", i)
		}
		if err := s.st.IndexBlock(context.Background(), s.st.Writer, s.seq); err != nil || s.st.indexer.at != end {
			t.Errorf("IndexBlock = %v, ends at %v, want %v", err, s.st.indexer.at, end)
		}
	}
	u := s.rotate()
	got, ok := s.st.copyFooter(&u)
	want, err := buildFooter(context.Background(), s.st.Dir, &u)
	if !ok || err != nil || !bytes.Equal(got, want) {
		t.Errorf("footer from memory = %d bytes, %v; from frames %d bytes, %v", len(got), ok, len(want), err)
	}
	s.seal(u)
	s.crash()
}

// TestFooterOfFramesWhereMemoryIsShort seals a segment whose first events are in memory no more.
func TestFooterOfFramesWhereMemoryIsShort(t *testing.T) {
	fs := vfs.NewMem()
	s := openTest(t, testConfig(fs))
	s.append(4)
	s.st.Folder.Fold()
	if err := s.st.IndexBlock(context.Background(), s.st.Writer, s.seq); err != nil {
		t.Fatalf("IndexBlock = %v", err)
	}
	s.close()
	s = openTest(t, testConfig(fs))
	s.append(4)
	u := s.rotate()
	if _, ok := s.st.copyFooter(&u); ok {
		t.Error("a footer was made from half of its events")
	}
	s.seal(u)
	if sums := s.st.Set.Footers(u.Header.Segment); len(sums) != 1 || sums[0].Events != 8 {
		t.Errorf("the footer of 8 events says %+v", sums)
	}
	s.crash()
}
