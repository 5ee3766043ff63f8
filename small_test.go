package batpak_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"batpak"
	"batpak/coldstart"
	"batpak/internal/vfs"
	"batpak/internal/wire"
	"batpak/segment"
)

// Checks of one thing each. They return what is wrong, so that the planted bugs can be held against them too.

func TestVerifyFindsHeaderFlips(t *testing.T)   { noError(t, verifyFindsHeaderFlips()) }
func TestOpenIsBounded(t *testing.T)            { noError(t, openIsBounded()) }
func TestForgedLengthIsRefused(t *testing.T)    { noError(t, forgedLengthIsRefused()) }
func TestZeroesAreNoFrames(t *testing.T)        { noError(t, zeroesAreNoFrames()) }
func TestFooterOfAnotherHistory(t *testing.T)   { noError(t, footerOfAnotherHistory()) }
func TestFillLeavesSealedAlone(t *testing.T)    { noError(t, fillLeavesSealedAlone()) }
func TestBatchesAppearWhole(t *testing.T)       { noError(t, batchesAppearWhole()) }
func TestClocksMayJump(t *testing.T)            { noError(t, clocksMayJump()) }
func TestLockFileStays(t *testing.T)            { noError(t, lockFileStays()) }
func TestFilesArePrivate(t *testing.T)          { noError(t, filesArePrivate()) }
func TestLinksAreRefused(t *testing.T)          { noError(t, linksAreRefused()) }
func TestShrunkFileIsAnError(t *testing.T)      { noError(t, shrunkFileIsAnError()) }
func TestSnapshotOfAnotherHistory(t *testing.T) { noError(t, snapshotOfAnotherHistory()) }
func TestSnapshotAheadOfLog(t *testing.T)       { noError(t, snapshotAheadOfLog()) }
func TestStrangersStay(t *testing.T)            { noError(t, strangersStay()) }

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

// writtenRig returns a rig whose store was written to by do and then closed, or killed.
func writtenRig(o batpak.Options, kill bool, do func(*rig) error) (*rig, error) {
	r := newRig(o)
	if err := r.open(); err != nil {
		return r, err
	}
	if err := do(r); err != nil {
		return r, err
	}
	if r.st == nil {
		return r, nil
	}
	r.settle()
	if kill {
		r.kill()
		return r, nil
	}
	return r, r.close()
}

// appends returns what appends n plain events.
func appends(n int) func(*rig) error {
	return func(r *rig) error {
		for range n {
			if _, err := r.append(r.draft(streamA, 50)); err != nil {
				return err
			}
		}
		return nil
	}
}

// activeOf returns name, bytes and header of the newest segment.
func activeOf(m *vfs.Mem) (name string, b []byte, h segment.Header, err error) {
	for n, data := range segmentsOf(m.Files()) {
		if n > name {
			name, b = n, data
		}
	}
	id, _ := segment.ParseName(name)
	h, err = segment.DecodeHeader(b, id)
	return name, b, h, err
}

// verifyFindsHeaderFlips checks that a verification sees every flipped bit of a frame's header.
func verifyFindsHeaderFlips() error {
	r, err := writtenRig(batpak.Options{}, false, appends(3))
	if err != nil {
		return err
	}
	name, b, h, err := activeOf(r.mem)
	if err != nil {
		return err
	}
	for bit := range segment.FrameHeaderLen * 8 {
		m := r.mem.Clone()
		bad := bytes.Clone(b)
		bad[h.Len()+int64(bit/8)] ^= 1 << (bit % 8)
		m.SetFile(name, bad)
		o := r.opts
		o.SetFS(m)
		report, err := batpak.Verify(context.Background(), vfs.MemDir, &o)
		if err != nil {
			return err
		}
		if report.Clean() {
			return fmt.Errorf("verify does not see bit %d of a frame's header", bit)
		}
	}
	return nil
}

// openIsBounded checks that a flipped length costs no memory.
func openIsBounded() error {
	r, err := writtenRig(batpak.Options{}, false, appends(3))
	if err != nil {
		return err
	}
	name, b, h, err := activeOf(r.mem)
	if err != nil {
		return err
	}
	b[h.Len()+3] ^= 1 << 4 // 256 MiB more
	r.mem.SetFile(name, b)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := r.open(); !typedRefusal(err) {
		return fmt.Errorf("open with a flipped length: %v", err)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 64<<20 {
		return fmt.Errorf("open with a flipped length allocated %d bytes", n)
	}
	return nil
}

// forgedLengthIsRefused checks that a length near 2^32 under a sound checksum ends in no panic: whoever wrote it, it is
// behind the end of the log, and cut.
func forgedLengthIsRefused() error {
	r, err := writtenRig(batpak.Options{}, true, appends(3))
	if err != nil {
		return err
	}
	name, b, h, err := activeOf(r.mem)
	if err != nil {
		return err
	}
	le := binary.LittleEndian
	frame := make([]byte, segment.FrameHeaderLen, 64)
	le.PutUint32(frame, 0xFFFF_FFF0)
	frame[4] = byte(segment.TypeEvent)
	sum := wire.Sum(wire.Sum(0, h.Salt[:])^uint32(len(b)), frame[:12])
	le.PutUint32(frame[12:], sum)
	r.mem.SetFile(name, append(b, frame[:cap(frame)]...))
	want := r.history()
	l := &life{opts: r.opts, mem: r.mem}
	_, err = l.live(claim{want: want, least: len(want), most: len(want)})
	return err
}

// zeroesAreNoFrames checks that zeroes written ahead do not count as frames.
func zeroesAreNoFrames() error {
	r, err := writtenRig(batpak.Options{FillAhead: 2 << 10}, true, appends(3))
	if err != nil {
		return err
	}
	l := &life{opts: r.opts, mem: r.mem}
	st, err := l.open()
	if err != nil {
		return err
	}
	defer st.Close()
	if rep := st.OpenReport(); rep.Frames != 3 {
		return fmt.Errorf("%d frames of 3 events:\n%v", rep.Frames, rep)
	}
	return nil
}

// footerOfAnotherHistory puts the sealed segment of one history into the place of another's: both began alike, so that
// only what the next header says tells them apart.
func footerOfAnotherHistory() error {
	r, err := writtenRig(batpak.Options{}, false, appends(3))
	if err != nil {
		return err
	}
	other := newRig(r.opts)
	other.mem = r.mem.Clone()
	for _, branch := range []*rig{r, other} {
		if err := branch.open(); err != nil {
			return err
		}
		d := branch.draft(streamB, 100)
		d.Payload = fmt.Appendf(d.Payload, "%p", branch)
		if _, err := branch.append(d); err != nil {
			return err
		}
		if err := errors.Join(stepRotate(branch), stepRotate(branch), branch.close()); err != nil {
			return err
		}
	}
	first := segment.Name(1)
	r.mem.SetFile(first, other.mem.Files()[first])
	if err := r.open(); err != nil {
		if typedRefusal(err) {
			return nil
		}
		return err
	}
	defer r.kill()
	h := r.history()
	c := claim{want: h, most: len(h)}
	if _, _, err := c.holds(r.st); err != nil && !typedReadError(err) {
		return fmt.Errorf("with the segment of another history: %w", err)
	}
	return nil
}

// snapshotOfAnotherHistory puts the snapshot of one branch into the directory of another one whose sealed segments look
// the same from outside: numbers, sizes and stamps. Only the header behind them tells.
func snapshotOfAnotherHistory() error {
	r, err := writtenRig(batpak.Options{}, false, appends(3))
	if err != nil {
		return err
	}
	other := newRig(r.opts)
	other.mem = r.mem.Clone()
	for i, branch := range []*rig{r, other} {
		if err := branch.open(); err != nil {
			return err
		}
		d := branch.draft(streamB, 100)
		d.Payload = fmt.Appendf(nil, "branch %d", i)
		if _, err := branch.append(d); err != nil {
			return err
		}
		branch.serial = 10
		if err := errors.Join(stepRotate(branch), stepRotate(branch), stepRotate(branch), branch.close()); err != nil {
			return err
		}
	}
	foreign, ours := other.mem.Files(), r.mem.Files()
	m := vfs.NewMemFrom(foreign)
	for name, b := range ours {
		if _, ok := segment.ParseName(name); !ok {
			m.SetFile(name, b)
			continue
		}
		if len(b) != len(foreign[name]) {
			return fmt.Errorf("%s has %d bytes in one branch and %d in the other", name, len(b), len(foreign[name]))
		}
		m.Rot(name, b)
	}
	m.SetFile("index.fbati", foreign["index.fbati"])
	r.mem = m
	if err := r.open(); err != nil {
		return err
	}
	defer r.kill()
	h := r.history()
	c := claim{want: h, least: len(h), most: len(h)}
	if _, _, err := c.holds(r.st); err != nil {
		return err
	}
	if rep := r.st.OpenReport(); rep.Rung != coldstart.RungFooters {
		return fmt.Errorf("opened by %v:\n%v", rep.Rung, rep)
	}
	return nil
}

// snapshotAheadOfLog puts the images of a later day into a directory that was restored from a copy: nothing that they say
// of the later day counts.
func snapshotAheadOfLog() error {
	r, err := writtenRig(batpak.Options{}, false, func(r *rig) error {
		return errors.Join(appends(3)(r), stepRotate(r), stepRotate(r))
	})
	if err != nil {
		return err
	}
	copied, h := r.mem.Files(), r.history()
	if err := r.open(); err != nil {
		return err
	}
	if err := errors.Join(stepRotate(r), stepRotate(r), stepRotate(r), r.close()); err != nil {
		return err
	}
	later := r.mem.Files()
	for _, image := range []string{"index.fbati", "index.ckpt"} {
		l := &life{opts: r.opts, mem: vfs.NewMemFrom(copied), compare: true}
		l.mem.SetFile(image, later[image])
		if _, err := l.live(claim{want: h, least: len(h), most: len(h)}); err != nil {
			return fmt.Errorf("%s: %w", image, err)
		}
	}
	return nil
}

// fillLeavesSealedAlone holds up a fill until its segment is sealed: the zeroes must not land on the footer.
func fillLeavesSealedAlone() error {
	r := newRig(batpak.Options{FillAhead: 1 << 10})
	held, release := make(chan struct{}), make(chan struct{})
	var armed atomic.Bool
	r.intercept = func(c vfs.Call) vfs.Decision {
		if c.Kind == vfs.OpOpenWrite && c.Name == segment.Name(1) && armed.CompareAndSwap(true, false) {
			close(held)
			<-release
		}
		return vfs.Decision{}
	}
	if err := r.open(); err != nil {
		return err
	}
	defer r.kill()
	armed.Store(true)
	if err := appends(1)(r); err != nil {
		return err
	}
	<-held
	if err := errors.Join(second(r.append(r.draft(streamA, 1700))), second(r.append(r.draft(streamA, 1700))), second(r.append(r.draft(streamA, 1700)))); err != nil {
		return err
	}
	r.st.WaitSealed()
	close(release)
	r.settle()
	h := r.history()
	c := claim{want: h, least: len(h), most: len(h)}
	if _, _, err := c.holds(r.st); err != nil {
		return err
	}
	if err := stepReopen(r); err != nil {
		return err
	}
	if rep := r.st.OpenReport(); rep.Scanned > 0 {
		return fmt.Errorf("a footer is gone:\n%v", rep)
	}
	_, _, err := c.holds(r.st)
	return err
}

// batchesAppearWhole checks that readers never see a part of a batch.
func batchesAppearWhole() error {
	const size = 500
	r := newRig(batpak.Options{SegmentSize: 64 << 20, Sync: batpak.SyncNever})
	if err := r.open(); err != nil {
		return err
	}
	defer r.kill()
	stop, seen := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			got, err := collect(r.st, batpak.Query{Reverse: true, Limit: 1})
			if err == nil && len(got) == 1 && got[0].Seq%size != 0 {
				err = fmt.Errorf("readers see %d events of batches of %d", got[0].Seq, size)
			}
			if err != nil {
				seen <- err
				return
			}
			select {
			case <-stop:
				seen <- nil
				return
			default:
			}
		}
	}()
	batch := make([]batpak.Draft, size)
	for i := range batch {
		batch[i] = r.draft(streamA, 0)
	}
	var err error
	for range 400 { // the reader has to look at the right moment
		if _, err = r.st.AppendBatch(context.Background(), batch); err != nil || len(seen) > 0 {
			break
		}
	}
	close(stop)
	return errors.Join(err, <-seen)
}

// clocksMayJump appends while the clock stands, jumps ahead and goes back.
func clocksMayJump() error {
	r := newRig(batpak.Options{})
	at := []int64{testEpoch, testEpoch, testEpoch + 86_400_000, testEpoch - 86_400_000, testEpoch - 86_400_000, 0, testEpoch}
	n := 0
	r.opts.Clock = func() time.Time { n++; return time.UnixMilli(at[n%len(at)]) }
	if err := r.open(); err != nil {
		return err
	}
	for range 3 * len(at) {
		if _, err := r.append(r.draft(streamA, 0)); err != nil {
			return err
		}
	}
	if err := chained(r.history()); err != nil {
		return err
	}
	r.kill()
	h := r.history()
	l := &life{opts: r.opts, mem: r.mem}
	_, err := l.live(claim{want: h, least: len(h), most: len(h)})
	return err
}

// lockFileStays checks that Close does not remove what the next writer locks: two could hold a lock each.
func lockFileStays() error {
	r, err := writtenRig(batpak.Options{}, false, appends(1))
	if err != nil {
		return err
	}
	if _, ok := r.mem.Files()[".lock"]; !ok {
		return errors.New("Close has removed the lock file")
	}
	return nil
}

// inTempDir calls do with a real directory that holds a store of several segments.
func inTempDir(do func(dir string, o *batpak.Options) error) (err error) {
	parent, err := os.MkdirTemp("", "batpak-test-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(parent)) }()
	dir := filepath.Join(parent, "store")
	o := &batpak.Options{SegmentSize: smallSegment, FillAhead: -1}
	st, err := batpak.Open(dir, o)
	if err != nil {
		return err
	}
	r := newRig(batpak.Options{})
	for range 4 {
		if _, err := st.Append(context.Background(), r.draft(streamA, 1500)); err != nil {
			return errors.Join(err, st.Close())
		}
	}
	if err := st.Close(); err != nil {
		return err
	}
	return do(dir, o)
}

// filesArePrivate checks permissions of everything a store makes.
func filesArePrivate() error {
	return inTempDir(func(dir string, _ *batpak.Options) error {
		return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := e.Info()
			if err != nil {
				return err
			}
			want := fs.FileMode(0o600)
			if e.IsDir() {
				want = 0o700
			}
			if runtime.GOOS != "windows" && info.Mode().Perm() != want {
				return fmt.Errorf("%s has mode %v, want %v", e.Name(), info.Mode().Perm(), want)
			}
			return nil
		})
	})
}

// linksAreRefused checks that a symbolic link in the place of a segment is not followed.
func linksAreRefused() error {
	return inTempDir(func(dir string, o *batpak.Options) error {
		name := filepath.Join(dir, segment.Name(1))
		outside := filepath.Join(filepath.Dir(dir), "outside")
		if err := errors.Join(os.Rename(name, outside), os.Symlink(outside, name)); err != nil {
			return err
		}
		st, err := batpak.Open(dir, o)
		var unsafe *vfs.UnsafePathError
		if err == nil {
			err = st.Close()
			return errors.Join(errors.New("a link was followed"), err)
		}
		if !errors.As(err, &unsafe) {
			return fmt.Errorf("link in place of a segment: %w, want *vfs.UnsafePathError", err)
		}
		return nil
	})
}

// shrinkEnv names the directory for the process that shrunkFileIsAnError starts.
const shrinkEnv = "BATPAK_TEST_SHRINK"

// shrunkFileIsAnError checks that a file that becomes shorter under its map is an error of the read, in a process of
// its own, since otherwise it is the end of the process.
func shrunkFileIsAnError() error {
	if runtime.GOOS != "linux" {
		return nil
	}
	return inTempDir(func(dir string, _ *batpak.Options) error {
		cmd := exec.Command(os.Args[0], "-test.run=^TestShrunkFileChild$", "-test.v")
		cmd.Env = append(os.Environ(), shrinkEnv+"="+dir)
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "PASS") {
			return fmt.Errorf("the process that read a shrunk file: %w: %s", err, clip(out))
		}
		return nil
	})
}

// TestShrunkFileChild is the process of shrunkFileIsAnError.
func TestShrunkFileChild(t *testing.T) {
	dir := os.Getenv(shrinkEnv)
	if dir == "" {
		t.Skip("NOT TESTED by itself: TestShrunkFileIsAnError runs it as a process")
	}
	childPlants(t)
	st, err := batpak.Open(dir, &batpak.Options{SegmentSize: smallSegment, FillAhead: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if _, err := collect(st, batpak.Query{}); err != nil { // each segment is mapped when it is first read
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, segment.Name(1)), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := collect(st, batpak.Query{Entity: streamA.Entity()}); err == nil {
		t.Error("a read of a file that is gone has no error")
	}
	if ev, err := st.EventAt(context.Background(), 4); err != nil || ev.Seq != 4 {
		t.Errorf("event of another segment: %v", err)
	}
}

// strangersStay checks that files which are not ours are left alone.
func strangersStay() error {
	r, err := writtenRig(batpak.Options{}, false, appends(1))
	if err != nil {
		return err
	}
	for _, name := range []string{"notes.tmp", "README", "0000000001.fbat.bak"} {
		r.mem.SetFile(name, []byte("mine"))
	}
	if err := errors.Join(r.open(), r.close()); err != nil {
		return err
	}
	files := r.mem.Files()
	for _, name := range []string{"notes.tmp", "README", "0000000001.fbat.bak"} {
		if string(files[name]) != "mine" {
			return fmt.Errorf("%s is gone", name)
		}
	}
	return nil
}
