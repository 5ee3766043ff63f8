package batpak_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"

	"batpak"
	"batpak/coldstart"
	"batpak/event"
	"batpak/internal/statefile"
	"batpak/internal/vfs"
	"batpak/internal/wire"
)

// stateFiles returns the files of stored states, oldest first, by their paths.
func stateFiles(m *vfs.Mem) (files []string) {
	for name := range m.Files() {
		if strings.HasPrefix(name, statefile.DirName+"/") {
			files = append(files, name)
		}
	}
	slices.Sort(files)
	return files
}

// storedStates is a closed store of 40 events whose projection has stored states at some of them.
func storedStates(t testing.TB, q batpak.Query, at ...int) *vfs.Mem {
	t.Helper()
	m := vfs.NewMem()
	st := foldStore(t, m, batpak.Options{})
	p := project(t, st, foldingDef("stored", q))
	done := 0
	for _, n := range at {
		put(t, st, n-done)
		done = n
		if err := errors.Join(p.CatchUp(t.Context()), p.Snapshot(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
	p.Close()
	put(t, st, 40-done)
	if files := stateFiles(m); len(files) != len(at) {
		t.Fatalf("%d states are stored, want %d", len(files), len(at))
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	return m
}

// foundIs reports whether p has a finding that is want, and is no other one.
func foundIs(p *batpak.Projection[folding], want error) bool {
	for _, f := range p.Status().Findings {
		if errors.Is(f, want) {
			return true
		}
	}
	return false
}

// TestProjectionStatesThatDoNotHold: a stored state that is damaged, or not of this store, history, version or query, is
// never served: the answer is that of the events, and the finding has a type of its own.
func TestProjectionStatesThatDoNotHold(t *testing.T) {
	q := batpak.Query{EntityPrefix: "e"}
	seal := func(b []byte) []byte {
		binary.LittleEndian.PutUint32(b[16:], wire.Sum(wire.Sum(0, b[:16]), b[20:]))
		return b
	}
	other := storedStates(t, q, 20)
	for _, tt := range []struct {
		name   string
		change func(b []byte) []byte // of the newest file
		def    func(*batpak.ProjectionDef[folding])
		want   error // nil: the state is used
	}{
		{"intact", nil, nil, nil},
		{"cut", func(b []byte) []byte { return b[:len(b)/2] }, nil, coldstart.ErrDamaged},
		{"empty", func([]byte) []byte { return nil }, nil, coldstart.ErrDamaged},
		{"state is no JSON", func(b []byte) []byte { b[len(b)-1] = 'x'; return seal(b) }, nil, coldstart.ErrDamaged},
		{"other store", func([]byte) []byte { return other.Files()[stateFiles(other)[0]] }, nil, coldstart.ErrForeign},
		{"other event", func(b []byte) []byte { b[96] ^= 1; return seal(b) }, nil, coldstart.ErrStale},
		{"fewer events", func(b []byte) []byte { b[128]--; b[136]--; return seal(b) }, nil, coldstart.ErrStale},
		{"other query", nil, func(d *batpak.ProjectionDef[folding]) { d.Query.Tags = []string{"t1"} }, coldstart.ErrStale},
		{"other codec", nil, func(d *batpak.ProjectionDef[folding]) {
			d.Codec = batpak.CodecOf("json2", batpak.JSON().Marshal, batpak.JSON().Unmarshal)
		}, coldstart.ErrStale},
		{"other version", nil, func(d *batpak.ProjectionDef[folding]) { d.Version = 2 }, coldstart.ErrStale},
		{"larger than allowed", nil, func(d *batpak.ProjectionDef[folding]) { d.SnapshotLimit = 1 }, statefile.ErrLimit},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := storedStates(t, q, 20)
			files := stateFiles(m)
			newest := files[len(files)-1]
			if tt.change != nil {
				m.SetFile(newest, tt.change(bytes.Clone(m.Files()[newest])))
			}
			st := foldStore(t, m, batpak.Options{})
			def := foldingDef("stored", q)
			if tt.def != nil {
				tt.def(&def)
			}
			p := project(t, st, def)
			if s := p.Status(); tt.want == nil && (len(s.Findings) > 0 || s.At == 0) || tt.want != nil && !foundIs(p, tt.want) {
				t.Errorf("at %d with %v, want %v", s.At, s.Findings, tt.want)
			}
			upToDate(t, st, p, def.Query)
			if err := p.Snapshot(t.Context()); err != nil && def.SnapshotLimit == 0 {
				t.Fatal(err)
			}
			p.Close()
			if def.SnapshotLimit != 0 {
				return
			}
			again := project(t, st, def) // what was wrong is gone
			if s := again.Status(); s.At != st.Visible() {
				t.Errorf("afterwards it begins at %d with %v", s.At, s.Findings)
			}
		})
	}
}

// TestProjectionStateOfTheFuture: a newer version's state is refused, and left alone.
func TestProjectionStateOfTheFuture(t *testing.T) {
	m := storedStates(t, batpak.Query{}, 10, 20)
	oldest := stateFiles(m)[0]
	b := bytes.Clone(m.Files()[oldest])
	b[20] = 2
	binary.LittleEndian.PutUint32(b[16:], wire.Sum(wire.Sum(0, b[:16]), b[20:]))
	m.SetFile(oldest, b)
	st := foldStore(t, m, batpak.Options{})
	var future *coldstart.FutureError
	if _, err := batpak.NewProjection(st, foldingDef("stored", batpak.Query{})); !errors.As(err, &future) || future.File != path.Base(oldest) {
		t.Errorf("NewProjection = %v, want *coldstart.FutureError for %s", err, oldest)
	}
	if !bytes.Equal(m.Files()[oldest], b) || len(st.Projections()) != 0 {
		t.Error("the file was changed, or the projection is open")
	}
}

// TestProjectionEveryFlip: whatever bit of a stored state flips, wherever it is cut, the answer is that of the events.
func TestProjectionEveryFlip(t *testing.T) {
	m := storedStates(t, batpak.Query{}, 20, 40)
	files := stateFiles(m)
	newest := files[len(files)-1]
	whole := m.Files()[newest]
	st := foldStore(t, m, batpak.Options{})
	want := naive(t, st, batpak.Query{}, st.Visible())
	check := func(what string, b []byte) {
		m.SetFile(newest, b)
		def := foldingDef("stored", batpak.Query{})
		def.SnapshotLimit = int64(len(whole)) + 1
		p := project(t, st, def)
		if got, _, err := p.State(t.Context()); err != nil || !sameFolding(got, want) || len(p.Status().Findings) == 0 {
			t.Fatalf("%s: %+v, %v with %v", what, got, err, p.Status().Findings)
		}
		p.Close()
	}
	step := thinned(37, 7, 1)
	for bit := 0; bit < 8*len(whole); bit += step {
		b := bytes.Clone(whole)
		b[bit/8] ^= 1 << (bit % 8)
		check(fmt.Sprintf("bit %d", bit), b)
	}
	for n := 0; n < len(whole); n += step {
		check(fmt.Sprintf("cut at %d", n), whole[:n])
	}
}

// TestProjectionStateFiles: special files in place of states are refused; a directory that cannot be read, or written,
// costs time only.
func TestProjectionStateFiles(t *testing.T) {
	m := storedStates(t, batpak.Query{}, 20)
	newest := stateFiles(m)[0]
	m.DeleteFile(newest)
	m.SetSpecial(newest, fs.ModeSymlink)
	st := foldStore(t, m, batpak.Options{})
	if _, err := batpak.NewProjection(st, foldingDef("stored", batpak.Query{})); !errors.As(err, new(*vfs.UnsafePathError)) {
		t.Errorf("a link: %v, want *vfs.UnsafePathError", err)
	}
	st.Close()
	m.DeleteFile(newest)
	broken := errors.New("device on fire")
	faulty := vfs.Inject(m, func(c vfs.Call) vfs.Decision {
		if strings.HasSuffix(c.Dir, statefile.DirName) && c.Kind != vfs.OpOpenDir {
			return vfs.Decision{Err: broken}
		}
		return vfs.Decision{}
	})
	o := batpak.Options{SegmentSize: smallSegment, FillAhead: -1}
	o.SetFS(faulty)
	st, err := batpak.Open(vfs.MemDir, &o)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	p := project(t, st, foldingDef("stored", batpak.Query{}))
	upToDate(t, st, p, batpak.Query{})
	var found *batpak.ProjectionFinding
	if err := p.Snapshot(t.Context()); !errors.As(err, &found) || !errors.Is(err, broken) {
		t.Errorf("Snapshot = %v, want a *ProjectionFinding with the cause", err)
	}
	putTo(t, st, "e1", 1)
	upToDate(t, st, p, batpak.Query{})
	if !foundIs(p, broken) {
		t.Errorf("Findings = %v", p.Status().Findings)
	}
}

// TestProjectionDirectoryIsKnown: verify, repair and opens know the directory, and leave it.
func TestProjectionDirectoryIsKnown(t *testing.T) {
	m := storedStates(t, batpak.Query{}, 20)
	m.SetFile(stateFiles(m)[0]+".tmp", []byte("left over"))
	o := batpak.RepairOptions{}
	o.SetFS(m)
	if _, err := batpak.Repair(t.Context(), vfs.MemDir, &o); err != nil {
		t.Fatal(err)
	}
	vo := batpak.Options{}
	vo.SetFS(m)
	if rep, err := batpak.Verify(t.Context(), vfs.MemDir, &vo); err != nil || !rep.Clean() {
		t.Errorf("Verify = %+v, %v", rep, err)
	}
	st := foldStore(t, m, batpak.Options{})
	if unknown := st.OpenReport().Unknown; len(unknown) > 0 {
		t.Errorf("unknown: %v", unknown)
	}
	p := project(t, st, foldingDef("stored", batpak.Query{}))
	if files := stateFiles(m); len(files) != 1 || p.Status().At != 20 {
		t.Errorf("files %v, begun at %d", files, p.Status().At)
	}
	m = vfs.NewMem()
	foldStore(t, m, batpak.Options{}).Close()
	m.SetSpecial(statefile.DirName, fs.ModeSymlink)
	vo.SetFS(m)
	if _, err := batpak.Open(vfs.MemDir, &vo); !errors.As(err, new(*vfs.UnsafePathError)) {
		t.Errorf("Open with a link in place of the directory = %v, want *vfs.UnsafePathError", err)
	}
}

// TestReadWeakness11_EvictedEvents: when events are evicted from the log, neither a live state nor a stored one goes on
// telling of them, and the position does not go back.
func TestReadWeakness11_EvictedEvents(t *testing.T) {
	m := vfs.NewMem()
	st := foldStore(t, m, batpak.Options{})
	put(t, st, 100)
	st.WaitSealed()
	p := project(t, st, foldingDef("evicted", batpak.Query{}))
	upToDate(t, st, p, batpak.Query{})
	if err := p.Snapshot(t.Context()); err != nil {
		t.Fatal(err)
	}
	st.Evict(2)
	at := p.Status().At
	if n := naive(t, st, batpak.Query{}, at).N; n == 100 || n == 0 {
		t.Fatalf("%d of 100 events are left", n)
	}
	if err := p.CatchUp(t.Context()); err != nil || p.Status().At < at {
		t.Fatalf("CatchUp = %v at %d", err, p.Status().At)
	}
	upToDate(t, st, p, batpak.Query{})
	if !foundIs(p, coldstart.ErrStale) {
		t.Errorf("Findings = %v", p.Status().Findings)
	}
	if got, err := p.At(t.Context(), 90); err != nil || !sameFolding(got, naive(t, st, batpak.Query{}, 90)) {
		t.Errorf("At = %+v, %v", got, err)
	}
	p.Close()
	again := project(t, st, foldingDef("evicted", batpak.Query{}))
	upToDate(t, st, again, batpak.Query{})
}

// TestProjectionFingerprint: every field of a query that is not about the reading tells one query from another, and how
// a list is written does not.
func TestProjectionFingerprint(t *testing.T) {
	lane := uint32(0)
	id := event.ID{1}
	kind := event.MustKind(1, 1)
	queries := []batpak.Query{
		{}, {Entity: "a"}, {Entities: []string{"a"}}, {EntityPrefix: "a"}, {EntityPrefixes: []string{"a"}}, {Scope: "a"},
		{Kinds: []event.Kind{kind}}, {Categories: []int{0}}, {Categories: []int{1}}, {Tags: []string{"a"}}, {Lane: &lane},
		{Correlation: id}, {Causation: id}, {FromHLC: 1}, {ToHLC: 1}, {System: true}, {After: 1}, {Before: 1},
	}
	seen := map[string]int{}
	for i, q := range queries {
		s := fmt.Sprintf("%q", q.Parts())
		if j, again := seen[s]; again {
			t.Errorf("queries %d and %d are told by %s", i, j, s)
		}
		seen[s] = i
	}
	selecting := reflect.TypeFor[batpak.Query]().NumField() - len([]string{"Limit", "Reverse", "Borrow"}) // those are refused
	if selecting != len(queries)-2 {
		t.Errorf("a Query has %d fields that select, the test sets %d: parts may lack one", selecting, len(queries)-2)
	}
	a, b := batpak.Query{Tags: []string{"b", "a", "b"}}, batpak.Query{Tags: []string{"a", "b"}}
	if !slices.Equal(a.Parts(), b.Parts()) {
		t.Errorf("%q and %q", a.Parts(), b.Parts())
	}
}

// TestProjectionModel: random appends, fences, batches, crashes, and stored states that are kept, deleted or damaged:
// the state is always what a naive fold of the same events is.
func TestProjectionModel(t *testing.T) {
	for range sized(6, 30, 300) {
		seed := rand.Uint64()
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { foldModel(t, seed) })
	}
}

func foldModel(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 1))
	r := newRig(batpak.Options{Sync: []batpak.SyncMode{batpak.SyncAlways, batpak.SyncNever}[rng.IntN(2)]})
	q := []batpak.Query{{}, {Entity: "e3"}, {Tags: []string{"t1"}}, {Scope: "s1", Categories: []int{1}}}[rng.IntN(4)]
	var p *batpak.Projection[folding]
	begin := func() {
		if err := r.open(); err != nil {
			t.Fatal(err)
		}
		def := foldingDef("model", q)
		def.SnapshotEvery, def.KeepSnapshots = uint64(1+rng.IntN(40)), 1+rng.IntN(4)
		p = project(t, r.st, def)
		if p.Status().At > r.st.Visible() {
			t.Fatalf("at %d behind the visible end, %d", p.Status().At, r.st.Visible())
		}
	}
	begin()
	for range 60 {
		foldStep(t, rng, r, p, q)
		switch rng.IntN(12) {
		case 0:
			r.kill()
			if rng.IntN(2) == 0 { // the machine loses power, too
				states := slices.Collect(r.mem.CrashStates(r.mem.OpCount(), vfs.StateOptions{Workload: "model", Random: 2}))
				r.mem = states[rng.IntN(len(states))].FS()
			}
			spoil(rng, r.mem)
			begin()
		case 1:
			if err := r.st.Close(); err != nil {
				t.Fatal(err)
			}
			spoil(rng, r.mem)
			begin()
		}
	}
	upToDate(t, r.st, p, q)
	if err := r.st.Close(); err != nil {
		t.Fatal(err)
	}
}

// foldStep appends something, or asks p for something.
func foldStep(t *testing.T, rng *rand.Rand, r *rig, p *batpak.Projection[folding], q batpak.Query) {
	ctx := context.Background()
	switch rng.IntN(7) {
	case 0, 1:
		put(t, r.st, 1+rng.IntN(12))
	case 2:
		f, err := r.st.Fence(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Append(ctx, r.draft(streamA, 10)); err != nil {
			t.Fatal(err)
		}
		put(t, r.st, rng.IntN(3))
		upToDate(t, r.st, p, q)
		if rng.IntN(2) == 0 {
			err = f.Commit(ctx)
		} else {
			err = f.Cancel(ctx)
		}
		if err != nil {
			t.Fatal(err)
		}
	case 3:
		if _, err := r.st.AppendBatch(ctx, []batpak.Draft{r.draft(streamA, 5), r.draft(streamB, 5)}); err != nil {
			t.Fatal(err)
		}
	case 4:
		upToDate(t, r.st, p, q)
	case 5:
		if err := errors.Join(p.CatchUp(ctx), p.Snapshot(ctx)); err != nil {
			t.Fatal(err)
		}
	case 6:
		seq := rng.Uint64N(r.st.Visible() + 1)
		if got, err := p.At(ctx, seq); err != nil || !sameFolding(got, naive(t, r.st, q, seq)) {
			t.Fatalf("At(%d) = %+v, %v", seq, got, err)
		}
	}
}

// spoil deletes stored states, or damages them, or leaves them.
func spoil(rng *rand.Rand, m *vfs.Mem) {
	for _, name := range stateFiles(m) {
		b := bytes.Clone(m.Files()[name])
		switch rng.IntN(4) {
		case 0:
			m.DeleteFile(name)
		case 1:
			if len(b) > 0 {
				b[rng.IntN(len(b))] ^= 1 << rng.IntN(8)
			}
			m.SetFile(name, b)
		}
	}
}
