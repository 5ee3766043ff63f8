package batpak_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"batpak"
	"batpak/coldstart"
	"batpak/internal/vfs"
	"batpak/segment"
)

// storeFiles returns the files of a closed store of several segments.
func storeFiles(t testing.TB) map[string][]byte {
	t.Helper()
	mem := vfs.NewMem()
	o := batpak.Options{SegmentSize: 4 << 10}
	o.SetFS(mem)
	st := openAt(t, vfs.MemDir, &o)
	fillStore(t, st, 100)
	mustClose(t, st)
	files := mem.Files()
	if len(files) < 6 {
		t.Fatalf("files %v, want several segments", slices.Sorted(maps.Keys(files)))
	}
	return files
}

// storeOnDisk returns a directory that holds files.
func storeOnDisk(t testing.TB, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// wantRefused opens files for writing and for reading; both must fail as want says, and change nothing.
func wantRefused(t *testing.T, files map[string][]byte, want verdict) {
	t.Helper()
	for _, readOnly := range []bool{false, true} {
		mem := vfs.NewMemFrom(files)
		o := batpak.Options{ReadOnly: readOnly}
		o.SetFS(mem)
		st, err := batpak.Open(vfs.MemDir, &o)
		if err == nil {
			t.Errorf("read-only %v: opened", readOnly)
			mustClose(t, st)
			continue
		}
		if bad := want(err); bad != nil {
			t.Errorf("read-only %v: %v", readOnly, bad)
		}
		got := mem.Files()
		delete(got, ".lock") // the lock itself: its holder's process ID
		was := maps.Clone(files)
		delete(was, ".lock")
		if err := sameFiles(got, was); err != nil {
			t.Errorf("read-only %v: a refusal changed something: %v", readOnly, err)
		}
	}
}

// resum puts the checksum of an artifact or header of n bytes where all of them keep it.
func resum(b []byte, n int) {
	table := crc32.MakeTable(crc32.Castagnoli)
	sum := crc32.Update(crc32.Update(0, table, b[:12]), table, b[16:n])
	binary.LittleEndian.PutUint32(b[12:], sum)
}

// TestNewerVersion: a store, a segment or an anchor that a newer version wrote is refused as such, not as damage.
func TestNewerVersion(t *testing.T) {
	files := storeFiles(t)
	newest := slices.Max(slices.Collect(maps.Keys(segmentsOf(maps.Clone(files)))))
	header := func(b []byte) int { return int(binary.LittleEndian.Uint32(b[8:])) }
	slot := func([]byte) int { return 128 }
	whole := func(b []byte) int { return len(b) }
	for _, tt := range []struct {
		name, file string
		at         int
		value      byte
		covered    func([]byte) int // bytes under the checksum
	}{
		{"version of store.meta", "store.meta", 16, 2, whole},
		{"flag of store.meta", "store.meta", 18, 2, whole},
		{"version of the first segment", segment.Name(1), 16, 2, header},
		{"version of the newest segment", newest, 16, 2, header},
		{"hash algorithm of a segment", segment.Name(2), 18, 2, header},
		{"flag of a segment", segment.Name(2), 19, 0x80, header},
		{"version of the anchor", "anchor", 8, 2, slot},
		{"flag of the anchor", "anchor", 10, 0x80, slot},
	} {
		t.Run(tt.name, func(t *testing.T) {
			changed := maps.Clone(files)
			b := slices.Clone(files[tt.file])
			changed[tt.file] = b
			start := 0
			if tt.file == "anchor" && b[0] == 0 {
				start = 512 // the other slot is the one in use
			}
			b[start+tt.at] = tt.value
			resum(b[start:], tt.covered(b))
			wantRefused(t, changed, func(err error) error {
				if !errors.Is(err, coldstart.ErrFuture) || !typedRefusal(err) || errors.Is(err, coldstart.ErrCorrupt) {
					return fmt.Errorf("error %v, want %v", err, coldstart.ErrFuture)
				}
				return nil
			})
		})
	}
}

// TestMisplacedFiles: segments that are not where they were written, and a store without its identity.
func TestMisplacedFiles(t *testing.T) {
	files, other := storeFiles(t), storeFiles(t)
	highest := len(segmentsOf(maps.Clone(files)))
	at := func(id int) string { return segment.Name(uint64(id)) }
	for _, tt := range []struct {
		name   string
		change func(map[string][]byte)
		want   verdict
	}{
		{"a middle segment of another store", func(f map[string][]byte) { f[at(2)] = other[at(2)] }, is(coldstart.ErrCorrupt)},
		{"the first segment of another store", func(f map[string][]byte) { f[at(1)] = other[at(1)] }, is(coldstart.ErrCorrupt)},
		{"the newest segment of another store", func(f map[string][]byte) { f[at(highest)] = other[at(highest)] }, is(coldstart.ErrCorrupt)},
		{"one more segment of another store", func(f map[string][]byte) { f[at(highest+1)] = other[at(2)] }, is(coldstart.ErrCorrupt)},
		{"two segments swapped", func(f map[string][]byte) { f[at(2)], f[at(3)] = f[at(3)], f[at(2)] }, is(coldstart.ErrCorrupt)},
		{"a segment renamed to the end", func(f map[string][]byte) { f[at(99)] = f[at(2)]; delete(f, at(2)) }, is(coldstart.ErrCorrupt)},
		{"a segment copied to the end", func(f map[string][]byte) { f[at(highest+1)] = f[at(2)] }, is(coldstart.ErrCorrupt)},
		{"the newest segment renamed", func(f map[string][]byte) { f[at(highest+1)] = f[at(highest)]; delete(f, at(highest)) }, is(coldstart.ErrCorrupt)},
		{"the newest segment removed", func(f map[string][]byte) { delete(f, at(highest)) }, is(coldstart.ErrTailMissing)},
		{"a middle segment removed", func(f map[string][]byte) { delete(f, at(2)) }, is(coldstart.ErrCorrupt)},
		{"store.meta of another store", func(f map[string][]byte) { f["store.meta"] = other["store.meta"] }, is(coldstart.ErrCorrupt)},
		{"store.meta removed", func(f map[string][]byte) { delete(f, "store.meta") },
			all(is(coldstart.ErrAbsent), as(func(e *coldstart.MetaError) bool { return e.File == "store.meta" }))},
		{"store.meta empty", func(f map[string][]byte) { f["store.meta"] = nil }, is(coldstart.ErrDamaged)},
		{"store.meta overwritten", func(f map[string][]byte) { f["store.meta"] = []byte(strings.Repeat("x", 4096)) }, is(coldstart.ErrDamaged)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			changed := maps.Clone(files)
			tt.change(changed)
			wantRefused(t, changed, func(err error) error {
				if !typedRefusal(err) {
					return fmt.Errorf("error %v is none of those that Open names", err)
				}
				return tt.want(err)
			})
		})
	}
	wantWhole(t, vfs.NewMemFrom(files), 100)
}

// wantWhole opens a store for writing, wants n events of fillStore, and appends another.
func wantWhole(t *testing.T, on vfs.FS, n int) {
	t.Helper()
	o := batpak.Options{}
	o.SetFS(on)
	st := openAt(t, vfs.MemDir, &o)
	got, err := collect(st, batpak.Query{})
	if err != nil || len(got) != n || string(got[n-1].Payload) != fmt.Sprintf("event %d", n-1) {
		t.Errorf("%d events, error %v; want %d", len(got), err, n)
	}
	if _, err := st.Append(t.Context(), plain("after")); err != nil {
		t.Error(err)
	}
	mustClose(t, st)
}

func TestReadOnlyStoreRefusesWrites(t *testing.T) {
	dir := storeOnDisk(t, storeFiles(t))
	before := dirState(t, dir)
	st := openAt(t, dir, &batpak.Options{ReadOnly: true})
	writes, reads := callsOfAStore(t.Context(), st)
	for name, err := range writes {
		if !errors.Is(err, batpak.ErrReadOnly) {
			t.Errorf("%s on a read-only store: %v", name, err)
		}
	}
	for name, err := range reads {
		if err != nil && !(name == "Event" && errors.Is(err, batpak.ErrNotFound)) {
			t.Errorf("%s on a read-only store: %v", name, err)
		}
	}
	mustClose(t, st)
	sameState(t, dirState(t, dir), before)
}

func TestReadOnlyWithoutStore(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "missing")
	_, err := batpak.Open(missing, &batpak.Options{ReadOnly: true})
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing directory: %v", err)
	}
	for _, content := range []string{"", "notes.txt"} {
		if content != "" {
			if err := os.WriteFile(filepath.Join(dir, content), []byte("mine"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		before := dirState(t, dir)
		_, err := batpak.Open(dir, &batpak.Options{ReadOnly: true})
		if !errors.Is(err, coldstart.ErrNoStore) {
			t.Errorf("directory with %q: %v, want %v", content, err, coldstart.ErrNoStore)
		}
		sameState(t, dirState(t, dir), before)
	}
}

func TestDirectoryIsAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{path, filepath.Join(path, "below")} {
		for _, readOnly := range []bool{false, true} {
			_, err := batpak.Open(dir, &batpak.Options{ReadOnly: readOnly})
			if bad := as(func(e *fs.PathError) bool { return errors.Is(e, syscall.ENOTDIR) })(err); bad != nil {
				t.Error(bad)
			}
		}
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "mine" {
		t.Errorf("the file holds %q, %v", b, err)
	}
}

// otherProcess names the directory that this test binary, run once more, is to open.
const otherProcess = "BATPAK_TEST_OTHER_PROCESS"

// TestSecondWriter: a second writer learns at once who the first one is, in the same process and in another one.
func TestSecondWriter(t *testing.T) {
	if dir := os.Getenv(otherProcess); dir != "" {
		var locked *vfs.LockedError
		_, err := batpak.Open(dir, nil)
		if errors.As(err, &locked) {
			fmt.Printf("locked by %d;", locked.PID)
		} else {
			fmt.Printf("error %v;", err)
		}
		st, err := batpak.Open(dir, &batpak.Options{ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		got, err := collect(st, batpak.Query{})
		fmt.Printf("%d events, %v;", len(got), err)
		mustClose(t, st)
		return
	}
	dir := t.TempDir()
	st := openAt(t, dir, nil)
	fillStore(t, st, 3)
	_, err := batpak.Open(dir, nil)
	if bad := all(is(vfs.ErrLocked), as(func(e *vfs.LockedError) bool { return e.PID == os.Getpid() }))(err); bad != nil {
		t.Error(bad)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSecondWriter$")
	cmd.Env = append(os.Environ(), otherProcess+"="+dir)
	out, err := cmd.CombinedOutput()
	if want := fmt.Sprintf("locked by %d;3 events, <nil>;", os.Getpid()); err != nil || !strings.HasPrefix(string(out), want) {
		t.Errorf("the other process says %q, %v; want %q", out, err, want)
	}
	if _, err := st.Append(t.Context(), plain("the first one goes on")); err != nil {
		t.Error(err)
	}
	mustClose(t, st)
	mustClose(t, openAt(t, dir, nil))
}

// faults returns a file system of which the given calls fail with err.
func faults(on vfs.FS, err error, kinds ...vfs.OpKind) vfs.FS {
	return vfs.Inject(on, func(c vfs.Call) vfs.Decision {
		if slices.Contains(kinds, c.Kind) {
			return vfs.Decision{Err: err, Half: true}
		}
		return vfs.Decision{}
	})
}

// TestUnreadableAsRootByInjectedEACCES: permission bits do not bind root, so the file system says what it would say
// to others.
func TestUnreadableAsRootByInjectedEACCES(t *testing.T) {
	files := storeFiles(t)
	for _, kind := range []vfs.OpKind{vfs.OpOpenDir, vfs.OpList, vfs.OpOpenRead, vfs.OpRead} {
		for _, readOnly := range []bool{false, true} {
			mem := vfs.NewMemFrom(files)
			o := batpak.Options{ReadOnly: readOnly}
			o.SetFS(faults(mem, syscall.EACCES, kind))
			_, err := batpak.Open(vfs.MemDir, &o)
			if bad := all(is(fs.ErrPermission), as(func(e *fs.PathError) bool { return e.Path != "" }))(err); bad != nil {
				t.Errorf("%v, read-only %v: %v", kind, readOnly, bad)
			}
			if typedRefusal(err) {
				t.Errorf("%v, read-only %v: %v, but there is no damage", kind, readOnly, err)
			}
			if err := sameFiles(segmentsOf(mem.Files()), segmentsOf(maps.Clone(files))); err != nil {
				t.Error(err)
			}
			wantWhole(t, mem, 100)
		}
	}
}

// TestReadOnlyMedia: a writer is told, a reader works.
func TestReadOnlyMedia(t *testing.T) {
	files := storeFiles(t)
	mem := vfs.NewMemFrom(files)
	media := faults(mem, syscall.EROFS, vfs.OpMkdir, vfs.OpCreate, vfs.OpWrite, vfs.OpTruncate, vfs.OpSync, vfs.OpRename,
		vfs.OpRemove, vfs.OpDirSync, vfs.OpOpenWrite, vfs.OpLock)
	o := batpak.Options{}
	o.SetFS(media)
	if _, err := batpak.Open(vfs.MemDir, &o); !errors.Is(err, syscall.EROFS) {
		t.Errorf("writer: %v, want %v", err, syscall.EROFS)
	}
	o.ReadOnly = true
	st := openAt(t, vfs.MemDir, &o)
	if got, err := collect(st, batpak.Query{}); err != nil || len(got) != 100 {
		t.Errorf("reader: %d events, %v", len(got), err)
	}
	mustClose(t, st)
	wantWhole(t, mem, 100)
}

func TestDiskFullAtOpen(t *testing.T) {
	full := []vfs.OpKind{vfs.OpMkdir, vfs.OpCreate, vfs.OpWrite}
	mem := vfs.NewMem()
	o := batpak.Options{}
	o.SetFS(faults(mem, syscall.ENOSPC, full...))
	if _, err := batpak.Open(vfs.MemDir, &o); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("new store: %v, want %v", err, syscall.ENOSPC)
	}
	o.SetFS(mem)
	st := openAt(t, vfs.MemDir, &o)
	fillStore(t, st, 100)
	mustClose(t, st)

	o.SetFS(faults(mem, syscall.ENOSPC, full...))
	st = openAt(t, vfs.MemDir, &o) // a clean store needs no room to be read
	_, err := st.Append(t.Context(), plain("no room"))
	if bad := all(is(batpak.ErrNotLanded, syscall.ENOSPC), as(func(e *batpak.WriteError) bool { return !e.MayLand }))(err); bad != nil {
		t.Error(bad)
	}
	wantFound(t, st, plain("event 99"), true)
	mustClose(t, st)
	wantWhole(t, mem, 100)
}
