package coldstart

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"batpak/internal/vfs"
	"batpak/segment"
)

// TestRepairFailingCalls fails every call of a repair, once: what it reports as done is done, the store is whole or can
// be repaired, and no event is lost.
func TestRepairFailingCalls(t *testing.T) {
	fsys, want := base(everythingRotten)(t)
	counted := vfs.Inject(fsys.Clone(), func(vfs.Call) vfs.Decision { return vfs.Decision{} })
	repair(t, counted, true)
	for n := 1; n <= counted.Count(); n++ {
		m := fsys.Clone()
		faulty := vfs.Inject(m, vfs.FailAt(n, vfs.Decision{Err: errDisk}))
		r, err := Repair(context.Background(), RepairConfig{FS: faulty, Dir: vfs.MemDir, Write: true})
		if err == nil && !r.Complete() {
			t.Errorf("call %d fails: no error, and\n%v", n, r)
		}
		if why := mended(m, want); why != "" {
			t.Errorf("call %d fails (%v): %s", n, err, why)
		}
	}
	t.Logf("%d calls", counted.Count())
}

var errDisk = errors.New("disk on fire")

// mended repairs what was left in the middle of a repair, and says what is wrong after that, or "".
func mended(m *vfs.Mem, want model) string {
	if got, _, err := reopen(m.Clone(), true); err == nil && !maps.Equal(got, want) {
		return fmt.Sprintf("opens before the second repair, with %d events, want %d", len(got), len(want))
	}
	r, err := Repair(context.Background(), RepairConfig{FS: m, Dir: vfs.MemDir, Write: true, DropIdemp: true})
	if err != nil || !r.Complete() {
		return fmt.Sprintf("second Repair = %v\n%v", err, r)
	}
	for _, readOnly := range []bool{true, false} {
		got, report, err := reopen(m, readOnly)
		if err != nil || !maps.Equal(got, want) || downs(&report) > 0 {
			return fmt.Sprintf("after the second repair: %d events, want %d, %v\n%v", len(got), len(want), err, report)
		}
	}
	return ""
}

// TestCrashInsideRepair crashes a repair of everything at once after each of its operations, in every state that a
// disk may be left in.
func TestCrashInsideRepair(t *testing.T) {
	for _, d := range []struct {
		name   string
		damage func(*dirEdit)
		sides  []sideFile
	}{
		{"meta, footers, anchor", everythingRotten, sideFiles},
		{"files beside the log", func(d *dirEdit) {
			for _, s := range fakeSides {
				d.set(s.name, []byte("rotten"))
			}
		}, sideFiles},
		{"a cache", func(d *dirEdit) { d.set("index.fbati", []byte("rotten")) }, sideFiles},
		{"keys", func(d *dirEdit) { d.set("index.idemp", []byte("rotten")) }, sideFiles},
	} {
		fsys, want := base(d.damage)(t)
		start := vfs.NewMemFrom(fsys.Files())
		cfg := RepairConfig{FS: start, Dir: vfs.MemDir, Write: true, DropIdemp: true}
		if r, err := repairWith(context.Background(), cfg, d.sides); err != nil || !r.Complete() {
			t.Fatalf("Repair = %v\n%v", err, r)
		}
		o := vfs.StateOptions{Workload: "repair", Seed: 9, Random: 4, Seen: map[[sha256.Size]byte]bool{}}
		states := 0
		for ops := 0; ops <= start.OpCount(); ops++ {
			if ops == start.OpCount() {
				o.Seen = nil // more is asked of what is left of all of it
			}
			for state := range start.CrashStates(ops, o) {
				states++
				m := state.FS()
				if why := keptDamaged(fsys.Files(), m.Files()); why != "" {
					t.Fatalf("%s: %s", state.Name, why)
				}
				if ops == start.OpCount() {
					cfg := RepairConfig{FS: m.Clone(), Dir: vfs.MemDir}
					if r, err := repairWith(context.Background(), cfg, d.sides); err != nil || !r.Complete() {
						t.Fatalf("%s: what was done is not durable: %v\n%v", state.Name, err, r)
					}
				}
				if why := mended(m, want); why != "" {
					t.Fatalf("%s: %s", state.Name, why)
				}
				cfg.FS = m
				if r, err := repairWith(context.Background(), cfg, d.sides); err != nil || !r.Complete() {
					t.Fatalf("%s: last Repair = %v\n%v", state.Name, err, r)
				}
			}
		}
		t.Logf("%s: %d operations, %d states", d.name, start.OpCount(), states)
	}
}

// keptDamaged says which file of those that were damaged is gone, in the middle of a repair, or has been replaced
// without a copy of it being kept, or "".
func keptDamaged(before, now map[string][]byte) string {
	for name, was := range before {
		_, isSegment := segment.ParseName(name)
		is, there := now[name]
		aside := now[name+quarantineSuffix]
		switch {
		case isSegment || name == lockName || strings.HasPrefix(name, "index.f") || strings.HasSuffix(name, blockSuffix):
		case !there && name != "index.idemp":
			return name + " is not there at all"
		case !bytes.Equal(is, was) && !bytes.Equal(aside, was):
			return "nothing is left of the damaged " + name
		}
	}
	return ""
}

// TestRepairEveryByte flips a bit of every byte of a store that was closed, and of one that was not: either the repair
// is complete and every event is there as it was, or the damaged file is as it was and Open does not give a wrong answer.
func TestRepairEveryByte(t *testing.T) {
	t.Parallel()
	for _, clean := range []bool{true, false} {
		files := verifiedStore(t, clean)
		want, _, err := reopen(vfs.NewMemFrom(files), false)
		if err != nil {
			t.Fatal(err)
		}
		tried, mended := 0, 0
		for name, b := range files {
			for at := 0; at < len(b); at += sample(5) {
				bad := clone(files)
				bad[name][at] ^= 1 << (at % 8)
				m := vfs.NewMemFrom(bad)
				r := repair(t, m, true)
				got, report, err := reopen(m, false)
				tried++
				if len(r.Actions) > 0 {
					mended++
				}
				switch {
				case r.Complete() && (err != nil || !maps.Equal(got, want)):
					t.Errorf("%s byte %d: repaired, and then %d events of %d, %v\n%v%v", name, at, len(got), len(want), err, r, report)
				case !r.Complete() && !bytes.Equal(m.Files()[name], bad[name]):
					t.Errorf("%s byte %d: changed, though beyond repair\n%v", name, at, r)
				case !r.Complete() && err == nil && !maps.Equal(got, want):
					t.Errorf("%s byte %d: opens with %d events of %d\n%v", name, at, len(got), len(want), r)
				}
			}
		}
		t.Logf("closed cleanly %v: %d bytes, %d of them repaired", clean, tried, mended)
	}
}
