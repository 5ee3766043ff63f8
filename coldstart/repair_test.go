package coldstart

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"batpak/internal/vfs"
	"batpak/segment"
)

func repair(t testing.TB, fsys vfs.FS, write bool) *RepairReport {
	t.Helper()
	r, err := Repair(context.Background(), RepairConfig{FS: fsys, Dir: vfs.MemDir, Write: write})
	if err != nil {
		t.Fatalf("Repair = %v\n%v", err, r)
	}
	return r
}

// A wound is a damage that a repair mends.
type wound struct {
	name   string
	damage func(*dirEdit)
	refuse error    // what Open returns before the repair; nil when it steps down
	want   []string // actions: what is done to which file
	kept   []string // names that the damaged files are kept under
	doubt  bool     // it takes away what proves that the end of the log is durable
}

var wounds = []wound{
	{name: "meta missing", damage: func(d *dirEdit) { d.remove(metaName) }, refuse: ErrAbsent, want: []string{"rebuild store.meta"}},
	{name: "meta rotten", damage: func(d *dirEdit) { d.flip(metaName, 30, 1) }, refuse: ErrDamaged,
		want: []string{"rebuild store.meta"}, kept: []string{"store.meta.quarantine"}},
	{name: "meta empty, and one set aside before", damage: func(d *dirEdit) {
		d.set(metaName, nil)
		d.set("store.meta.quarantine", []byte("first"))
	}, refuse: ErrDamaged, want: []string{"rebuild store.meta"}, kept: []string{"store.meta.quarantine", "store.meta.quarantine2"}},
	{name: "meta too long", damage: func(d *dirEdit) { d.set(metaName, make([]byte, 2*maxArtifact)) }, refuse: ErrDamaged,
		want: []string{"rebuild store.meta"}, kept: []string{"store.meta.quarantine"}},
	{name: "both slots of the anchor", damage: func(d *dirEdit) {
		d.flip(anchorName, 20, 1)
		d.flip(anchorName, anchorStride+20, 1)
	}, want: []string{"rebuild anchor"}, kept: []string{"anchor.quarantine"}},
	{name: "anchor empty", damage: func(d *dirEdit) { d.set(anchorName, nil) }, want: []string{"rebuild anchor"}, kept: []string{"anchor.quarantine"}},
	{name: "anchor and lock file", damage: func(d *dirEdit) {
		d.set(anchorName, nil)
		d.remove(lockName)
	}, want: []string{"rebuild anchor"}, kept: []string{"anchor.quarantine"}, doubt: true},
	{name: "footer cut off", damage: func(d *dirEdit) { d.cut(segment.Name(1), 600) }, want: []string{"rebuild 0000000001.fbat"}},
	{name: "footer gone", damage: func(d *dirEdit) { d.set(segment.Name(2), d.file(2)[:d.end(2)]) }, want: []string{"rebuild 0000000002.fbat"}},
	{name: "footer zeroed", damage: func(d *dirEdit) {
		end, n := d.end(2), len(d.file(2))
		d.set(segment.Name(2), append(d.file(2)[:end:end], make([]byte, n-end)...))
	}, want: []string{"rebuild 0000000002.fbat"}},
	{name: "first page of a footer", damage: func(d *dirEdit) { d.flip(segment.Name(1), d.end(1)+9, 1) },
		want: []string{"rebuild 0000000001.fbat"}},
	{name: "trailer of a footer", damage: func(d *dirEdit) { d.flip(segment.Name(1), len(d.file(1))-9, 1) }, want: []string{"rebuild 0000000001.fbat"}},
	{name: "sound footer of fewer events", damage: func(d *dirEdit) { d.shortFooter(1) }, want: []string{"rebuild 0000000001.fbat"}},
	{name: "sound footer of another segment", damage: func(d *dirEdit) {
		d.append(segment.Name(2), d.file(1)[d.end(1):])
	}, want: []string{"rebuild 0000000002.fbat"}},
	{name: "everything", damage: everythingRotten, refuse: ErrDamaged,
		want: []string{"rebuild store.meta", "rebuild 0000000001.fbat", "rebuild 0000000002.fbat", "rebuild anchor"},
		kept: []string{"anchor.quarantine", "store.meta.quarantine"}},
	{name: "left-overs of a repair that crashed", damage: func(d *dirEdit) {
		everythingRotten(d)
		for _, name := range []string{metaName, segment.Name(1), "store.meta.quarantine", "anchor.quarantine", anchorName} {
			d.set(name+tempSuffix, []byte("left-over"))
		}
	}, refuse: ErrDamaged,
		want: []string{"rebuild store.meta", "rebuild 0000000001.fbat", "rebuild 0000000002.fbat", "rebuild anchor"},
		kept: []string{"anchor.quarantine", "store.meta.quarantine"}},
}

func everythingRotten(d *dirEdit) {
	d.flip(metaName, 3, 1)
	d.set(anchorName, []byte("?"))
	d.flip(segment.Name(1), d.end(1)+9, 1)
	d.cut(segment.Name(2), 1)
}

func actions(r *RepairReport) (all []string, done int) {
	for _, a := range r.Actions {
		all = append(all, a.Do+" "+a.File)
		if a.Done {
			done++
		}
	}
	return all, done
}

func keptFiles(fsys *vfs.Mem) (kept []string) {
	for name := range fsys.Files() {
		if strings.Contains(name, quarantineSuffix) {
			kept = append(kept, name)
		}
	}
	slices.Sort(kept)
	return kept
}

// TestRepair damages each artifact: Open refuses or steps down, a dry run changes nothing, a repair does what the dry run
// has said, and Open then finds nothing to step down from, and every event.
func TestRepair(t *testing.T) {
	for _, clean := range []bool{true, false} {
		for _, w := range wounds {
			t.Run(fmt.Sprintf("%s, closed cleanly %v", w.name, clean), func(t *testing.T) {
				maker := unclean
				if clean {
					maker = base
				}
				fsys, want := maker(w.damage)(t)
				w.try(t, fsys, want)
			})
		}
	}
}

func (w *wound) try(t *testing.T, fsys *vfs.Mem, want model) {
	_, report, err := reopen(fsys, true)
	if w.refuse != nil && !errors.Is(err, w.refuse) || w.refuse == nil && (err != nil || downs(&report) == 0) {
		t.Fatalf("Open = %v, want %v\n%v", err, w.refuse, report)
	}
	before := fsys.Files()
	dry := repair(t, fsys, false)
	if !sameFiles(withoutLock(before), withoutLock(fsys.Files())) {
		t.Error("a dry run changed the directory")
	}
	planned, done := actions(dry)
	if !slices.Equal(planned, w.want) || done > 0 || dry.Complete() || !dry.DryRun || len(dry.Findings) > 0 {
		t.Fatalf("dry run: %v, want %v\n%v", planned, w.want, dry)
	}
	wet := repair(t, fsys, true)
	if did, done := actions(wet); !slices.Equal(did, planned) || done != len(planned) || !wet.Complete() || wet.DryRun {
		t.Fatalf("repair: %v, want %v\n%v", did, planned, wet)
	}
	if kept := keptFiles(fsys); !slices.Equal(kept, w.kept) {
		t.Errorf("kept %v, want %v", kept, w.kept)
	}
	again := repair(t, fsys, true)
	if len(again.Actions) > 0 || !again.Complete() {
		t.Errorf("a second repair found something to do:\n%v", again)
	}
	if v := mustVerify(t, fsys); !v.Clean() {
		t.Errorf("after the repair:\n%v", v)
	}
	for _, readOnly := range []bool{true, false} {
		got, report, err := reopen(fsys, readOnly)
		if readOnly && w.doubt && want.contains(got) == "" {
			continue // the end is there, but nothing proves that it is durable
		}
		if err != nil || !maps.Equal(got, want) || downs(&report) > 0 || report.Scanned > 0 {
			t.Errorf("after the repair, read-only %v: %d events, want %d, %v\n%v", readOnly, len(got), len(want), err, report)
		}
	}
}

// TestRepairCopiesFrames: a rebuilt segment is the old one, byte for byte.
func TestRepairCopiesFrames(t *testing.T) {
	fsys, _ := base(nil)(t)
	before := fsys.Files()
	everythingRotten(&dirEdit{fsys})
	repair(t, fsys, true)
	for name, b := range fsys.Files() {
		if _, ok := segment.ParseName(name); ok && !bytes.Equal(b, before[name]) {
			t.Errorf("%s is not what it was before it was damaged", name)
		}
	}
	was, err := decodeMeta(before[metaName])
	is, err2 := decodeMeta(fsys.Files()[metaName])
	if err := errors.Join(err, err2); err != nil || is.Store != was.Store || is.Created < was.Created {
		t.Errorf("identity %+v, want %+v with the first segment's time, %v", is, was, err)
	}
}

// TestRepairNothing: what needs no repair is left alone, a crash's left-overs among it.
func TestRepairNothing(t *testing.T) {
	for _, d := range damages {
		if d.err != nil {
			continue
		}
		fsys, _ := d.make(t)
		before := withoutLock(fsys.Files())
		r := repair(t, fsys, true)
		if len(r.Findings) > 0 {
			t.Errorf("%s, %s: findings in a store that opens\n%v", d.row, d.name, r)
		}
		if len(r.Actions) == 0 && !sameFiles(before, withoutLock(fsys.Files())) {
			t.Errorf("%s, %s: a repair with nothing to do changed the directory", d.row, d.name)
		}
	}
}

// TestRepairKeepsLog: whatever else is damaged, no frame is touched, Open says after the repair what it said before,
// and what it said is among the findings.
func TestRepairKeepsLog(t *testing.T) {
	for _, d := range damages {
		if d.err == nil || strings.HasPrefix(d.name, "meta ") && d.err != ErrFuture {
			continue
		}
		fsys, _ := d.make(t)
		before := withoutLock(fsys.Files())
		r := repair(t, fsys, true)
		if r.Complete() || len(r.Findings) == 0 {
			t.Errorf("%s, %s: no findings\n%v", d.row, d.name, r)
		}
		after := withoutLock(fsys.Files())
		for name, was := range before {
			if now, ok := after[name]; !ok || !bytes.Equal(was, now) && !onlyFooter(r, name) {
				t.Errorf("%s, %s: %s has changed\n%v", d.row, d.name, name, r)
			}
		}
		if _, _, err := reopen(fsys, false); !errors.Is(err, d.err) {
			t.Errorf("%s, %s: Open = %v after the repair, want %v", d.row, d.name, err, d.err)
		}
	}
}

// onlyFooter reports whether a repair has replaced the footer in the file called name.
func onlyFooter(r *RepairReport, name string) bool {
	return slices.ContainsFunc(r.Actions, func(a RepairAction) bool { return a.File == name && strings.Contains(a.How, "footer") })
}

// TestRepairDamagedFooterBesideDamagedFrames mends the one and reports the other.
func TestRepairDamagedFooterBesideDamagedFrames(t *testing.T) {
	fsys, _ := base(func(d *dirEdit) {
		d.flip(segment.Name(1), d.firstFrame(1)+30, 1)
		d.cut(segment.Name(2), 1)
		d.set(anchorName, nil)
	})(t)
	r := repair(t, fsys, true)
	if did, done := actions(r); !slices.Equal(did, []string{"rebuild 0000000002.fbat"}) || done != 1 {
		t.Errorf("actions %v\n%v", did, r)
	}
	if len(r.Findings) != 2 || r.Findings[0].Segment != 1 || r.Findings[0].FirstSeq != 1 || r.Findings[0].LastSeq != 5 ||
		r.Findings[0].Offset == 0 || r.Findings[1].File != anchorName {
		t.Errorf("findings %v", r.Findings)
	}
}

// TestRepairTwoStores: headers that do not agree on whose store this is.
func TestRepairTwoStores(t *testing.T) {
	other := vfs.NewMem()
	cfg := testConfig(other)
	cfg.Random(make([]byte, 99))
	s := openTest(t, cfg)
	s.append(2)
	s.crash()
	fsys, _ := base(func(d *dirEdit) {
		everythingRotten(d)
		var h segment.Header
		h, _ = segment.DecodeHeader(other.Files()[segment.Name(1)], 1)
		h.Segment, h.Previous = 4, 3
		d.set(segment.Name(4), segment.AppendHeader(nil, &h))
	})(t)
	before := withoutLock(fsys.Files())
	r := repair(t, fsys, true)
	if len(r.Actions) > 0 || len(r.Findings) == 0 || !strings.Contains(r.String(), "whose directory") {
		t.Errorf("Repair of two stores in one directory:\n%v", r)
	}
	if !sameFiles(before, withoutLock(fsys.Files())) {
		t.Error("the directory has changed")
	}
	for _, damage := range []func(*dirEdit){
		func(d *dirEdit) { // no header holds
			for id := range uint64(3) {
				d.flip(segment.Name(id+1), 70, 1)
			}
		},
		func(d *dirEdit) { d.remove(segment.Name(1), segment.Name(2), segment.Name(3)) },
	} {
		fsys, _ := base(func(d *dirEdit) { damage(d); d.remove(metaName) })(t)
		if r := repair(t, fsys, true); len(r.Actions) > 0 || len(r.Findings) == 0 {
			t.Errorf("Repair without a header that holds:\n%v", r)
		}
	}
}

// TestRepairCannot: no store, a locked one, an ended context, an I/O error.
func TestRepairCannot(t *testing.T) {
	ctx := context.Background()
	empty := vfs.NewMemFrom(map[string][]byte{"notes.txt": nil})
	if _, err := Repair(ctx, RepairConfig{FS: empty, Dir: vfs.MemDir, Write: true}); !errors.Is(err, ErrNoStore) {
		t.Errorf("Repair of no store = %v, want %v", err, ErrNoStore)
	}
	if len(empty.Files()) != 1 {
		t.Errorf("Repair of no store left %v", names(empty.Files()))
	}
	fsys := vfs.NewMem()
	s, _ := threeSegments(t, fsys)
	for _, write := range []bool{true, false} {
		if _, err := Repair(ctx, RepairConfig{FS: fsys, Dir: vfs.MemDir, Write: write}); !errors.Is(err, vfs.ErrLocked) {
			t.Errorf("Repair beside a writer = %v, want %v", err, vfs.ErrLocked)
		}
	}
	s.crash()
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := Repair(ended, RepairConfig{FS: fsys, Dir: vfs.MemDir}); !errors.Is(err, context.Canceled) {
		t.Errorf("Repair in an ended context = %v, want %v", err, context.Canceled)
	}
	if _, _, err := reopen(fsys, false); err != nil {
		t.Errorf("Open afterwards = %v: the lock is held?", err)
	}
}

// TestRepairKeepsRelaxed: a relaxed writer may have shown sequences that a power loss then took. An open after a repair
// gives up as many of them as one without it.
func TestRepairKeepsRelaxed(t *testing.T) {
	for _, w := range wounds {
		fsys := vfs.NewMem()
		cfg := testConfig(fsys)
		cfg.Relaxed = true
		s := openTest(t, cfg)
		for range 2 {
			s.append(4)
			s.seal(s.rotate())
		}
		s.append(3)
		s.crash()
		w.damage(&dirEdit{fsys})
		next := func(fsys *vfs.Mem) uint64 {
			cfg := testConfig(fsys)
			st, err := Open(context.Background(), cfg)
			if err != nil {
				t.Fatalf("%s: Open = %v", w.name, err)
			}
			defer st.Close()
			return st.NextSeq
		}
		mended := fsys.Clone()
		repair(t, mended, true)
		if w.refuse != nil {
			repair(t, fsys, true)
			fsys.SetFile(anchorName, []byte("?"))
		}
		if got, want := next(mended), next(fsys); got < want {
			t.Errorf("%s: the next sequence is %d after the repair, %d without it", w.name, got, want)
		}
	}
}

// fakeSides stand in for codecs: a file holds when it says so.
var fakeSides = []sideFile{
	{name: "index.fbati", remedy: remedyRemove, check: fakeCheck},
	{name: "0000000003.fbix", remedy: remedyRemove, check: fakeCheck},
	{name: "visibility_ranges.fbv", remedy: remedyRebuild, check: fakeCheck, rebuild: func(_ context.Context, o *opener) error {
		return vfs.WriteFileAtomic(o.dir, "visibility_ranges.fbv", []byte("holds"))
	}},
	{name: "index.idemp", remedy: remedyForget, check: fakeCheck},
}

func fakeCheck(o *opener, name string) error {
	b, err := readArtifact(o.dir, name, maxArtifact)
	switch {
	case err != nil:
		return err
	case string(b) == "newer":
		return ErrFuture
	case string(b) == "old":
		return ErrStale
	case string(b) != "holds":
		return fmt.Errorf("%w: %s", ErrDamaged, name)
	}
	return nil
}

func TestRepairSides(t *testing.T) {
	ctx := context.Background()
	fill := func(content string) func(*dirEdit) {
		return func(d *dirEdit) {
			for _, s := range fakeSides {
				d.set(s.name, []byte(content))
			}
		}
	}
	for _, tt := range []struct {
		content  string
		drop     bool
		more     func(*dirEdit)
		want     []string
		findings int
	}{
		{content: "holds"},
		{content: "old"},
		{content: "newer", findings: 4},
		{content: "rotten", findings: 1, want: []string{"remove 0000000003.fbix", "remove index.fbati", "rebuild visibility_ranges.fbv"}},
		{content: "rotten", drop: true,
			want: []string{"remove 0000000003.fbix", "remove index.fbati", "set aside index.idemp", "rebuild visibility_ranges.fbv"}},
		// Fences of a damaged log are not known.
		{content: "rotten", findings: 3, more: func(d *dirEdit) { d.flip(segment.Name(1), d.firstFrame(1)+30, 1) },
			want: []string{"remove 0000000003.fbix", "remove index.fbati"}},
		{content: "newer", findings: 5, more: func(d *dirEdit) { d.flip(segment.Name(1), d.end(1)+9, 1) }},
	} {
		fsys, want := base(fill(tt.content))(t)
		if tt.more != nil {
			tt.more(&dirEdit{fsys})
		}
		before := withoutLock(fsys.Files())
		r, err := repairWith(ctx, RepairConfig{FS: fsys, Dir: vfs.MemDir, Write: true, DropIdemp: tt.drop}, fakeSides)
		if err != nil {
			t.Fatal(err)
		}
		if did, done := actions(r); !slices.Equal(did, tt.want) || done != len(tt.want) || len(r.Findings) != tt.findings {
			t.Errorf("%s: %v, %d findings; want %v, %d\n%v", tt.content, did, len(r.Findings), tt.want, tt.findings, r)
		}
		for name, was := range before {
			now, there := fsys.Files()[name]
			aside := fsys.Files()[name+quarantineSuffix]
			cache := strings.HasPrefix(name, "index.f") || strings.HasSuffix(name, blockSuffix)
			if !bytes.Equal(was, now) && !bytes.Equal(was, aside) && !cache {
				t.Errorf("%s: nothing of %s is left, there %v", tt.content, name, there)
			}
		}
		for _, name := range []string{"visibility_ranges.fbv", "index.idemp"} {
			fsys.DeleteFile(name) // Open knows the real ones
		}
		if got, _, err := reopen(fsys, false); tt.more == nil && (err != nil || !maps.Equal(got, want)) {
			t.Errorf("%s: %d events afterwards, want %d, %v", tt.content, len(got), len(want), err)
		}
	}
	fsys, _ := base(fill("rotten"))(t)
	if r := repair(t, fsys, true); len(r.Actions) != 3 || len(r.Findings) != 1 {
		t.Errorf("with the real checks:\n%v", r)
	}
}

func TestRepairReportText(t *testing.T) {
	fsys, _ := base(everythingRotten)(t)
	text := repair(t, fsys, false).String()
	for _, want := range []string{"result       dry run, 4 to do\n", "would        rebuild store.meta: from the headers of 3 segments, which agree (identity of the store: "} {
		if !strings.Contains(text, want) {
			t.Errorf("dry run:\n%s\nwant %q in it", text, want)
		}
	}
	r := repair(t, fsys, true)
	for _, want := range []string{"result       4 of 4 done\n", "did          rebuild anchor: ", "the old file is anchor.quarantine\n"} {
		if !strings.Contains(r.String(), want) {
			t.Errorf("repair:\n%v\nwant %q in it", r, want)
		}
	}
	b, err := json.Marshal(r)
	var got struct {
		Complete bool
		Actions  []struct {
			File, Do, How, Why, Aside string
			Done                      bool
		}
	}
	if err := errors.Join(err, json.Unmarshal(b, &got)); err != nil || !got.Complete || len(got.Actions) != 4 || got.Actions[0].Aside == "" {
		t.Errorf("JSON %v: %s", err, b)
	}
}

func TestQuarantineNames(t *testing.T) {
	for _, base := range []string{metaName, segment.Name(7), "index.idemp"} {
		for n := 1; n < 12; n++ {
			name := quarantineName(base, n)
			if got, ok := quarantineBase(name); !ok || got != base {
				t.Errorf("quarantineBase(%q) = %q, %v", name, got, ok)
			}
			if _, kind := classify(name); kind != nameQuarantined {
				t.Errorf("classify(%q) = %v", name, kind)
			}
			if _, kind := classify(name + tempSuffix); kind != nameLeftover {
				t.Errorf("classify(%q) = %v", name+tempSuffix, kind)
			}
		}
	}
	for _, name := range []string{"store.meta.quarantine1", "store.meta.quarantine02", "store.meta.quarantinex", "notes.quarantine", ".quarantine"} {
		if _, kind := classify(name); kind != nameStranger {
			t.Errorf("classify(%q) = %v, want a stranger", name, kind)
		}
	}
}
