package statefile

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"strconv"
	"strings"

	"batpak/internal/vfs"
	"batpak/internal/wire"
)

// DirName is the name of the directory inside the store's.
const DirName = "projections"

// The name of a file is 32 hexadecimal digits of the fingerprint of the projection's name, the schema version in 8 and
// the sequence that the state is of in 16, and the suffix:
//
//	0f5c…21-00000002-000000000000f4a1.fbps
const (
	suffix    = ".fbps"
	stemLen   = 32
	versionAt = stemLen + 1
	seqAt     = versionAt + 8 + 1
	nameLen   = seqAt + 16 + len(suffix)
)

// A Found is a file that, by its name, holds a state of a projection.
type Found struct {
	File    string
	Version uint32
	At      uint64
}

// stem begins the names of the files of a projection.
func stem(name string) string {
	sum := Fingerprint("name", name)
	return hex.EncodeToString(sum[:stemLen/2])
}

// FileName returns the name of the file of a state.
func FileName(name string, version uint32, at uint64) string {
	return fmt.Sprintf("%s-%08x-%016x%s", stem(name), version, at, suffix)
}

// parse is the inverse of [FileName], as far as that can be inverted.
func parse(file string) (stem string, f Found, ok bool) {
	if len(file) != nameLen || file[stemLen] != '-' || file[seqAt-1] != '-' || !strings.HasSuffix(file, suffix) {
		return "", Found{}, false
	}
	version, err := strconv.ParseUint(file[versionAt:seqAt-1], 16, 32)
	if err != nil {
		return "", Found{}, false
	}
	at, err := strconv.ParseUint(file[seqAt:seqAt+16], 16, 64)
	if err != nil || strings.ToLower(file) != file {
		return "", Found{}, false
	}
	return file[:stemLen], Found{File: file, Version: uint32(version), At: at}, true
}

// List returns the files of the projection in dir, ascending by version and sequence.
//
// Errors: *[vfs.UnsafePathError] when something that is not a regular file has one of the names; I/O errors.
func List(dir vfs.Dir, name string) ([]Found, error) {
	entries, err := dir.Names(nil)
	if err != nil {
		return nil, fmt.Errorf("list states: %w", err)
	}
	var found []Found
	want := stem(name)
	for _, e := range entries {
		if s, f, ok := parse(e.Name); ok && s == want {
			if !e.Mode.IsRegular() {
				return nil, &vfs.UnsafePathError{Name: e.Name, Reason: "not a regular file"}
			}
			found = append(found, f)
		}
	}
	return found, nil // Names are sorted, and numbers in them have one width
}

// Read returns the state of k in f, if that takes no more than most bytes.
//
// Errors: *[FileError], as [Decode], or with [ErrLimit]; [fs.ErrNotExist]; I/O errors.
func Read(dir vfs.Dir, f Found, k *Key, most int64) (State, error) {
	src, err := dir.OpenRead(f.File)
	if err != nil {
		return State{}, fmt.Errorf("open state: %w", err)
	}
	defer src.Close()
	b, err := readAll(src, f.File, most)
	if err != nil {
		return State{}, err
	}
	s, err := decode(f.File, b, k)
	if err == nil && int64(len(s.Data)) > most {
		return State{}, flaw(f.File, 0, "size", ErrLimit)
	}
	if err == nil && (s.At != f.At || k.Version != f.Version) {
		err = flaw(f.File, offAt, "name of the file", ErrDamaged)
	}
	return s, err
}

// readAll returns the bytes of src, if its start says that there are that many, and if they may be that many.
func readAll(src vfs.File, file string, most int64) ([]byte, error) {
	size, err := src.Size()
	if err != nil {
		return nil, fmt.Errorf("read state: %w", err)
	}
	var head [offSum]byte
	switch {
	case size < headerLen:
		return nil, flaw(file, 0, "too short", ErrDamaged)
	case size > limit(most) || int64(int(size)) != size:
		return nil, flaw(file, 0, "size", ErrLimit)
	}
	if n, err := src.ReadAt(head[:], 0); n < len(head) {
		return nil, fmt.Errorf("read state: %w", err)
	}
	if string(head[:len(magic)]) != magic || binary.LittleEndian.Uint64(head[offLength:]) != uint64(size) {
		return nil, flaw(file, offLength, "length", ErrDamaged)
	}
	b := make([]byte, size)
	if n, err := src.ReadAt(b, 0); n < len(b) {
		return nil, fmt.Errorf("read state: %w", err)
	}
	return b, nil
}

// limit returns how large a file may be whose state takes most bytes.
func limit(most int64) int64 { return min(most, math.MaxInt64-mostWithout) + mostWithout }

// Future looks whether a file is from the future, without reading all of it. Whether it holds otherwise is not looked at.
//
// Errors: *[FileError] with [ErrFuture]; I/O errors.
func Future(dir vfs.Dir, f Found) error {
	src, err := dir.OpenRead(f.File)
	if err != nil {
		return fmt.Errorf("open state: %w", err)
	}
	defer src.Close()
	var head [headerLen]byte
	if n, err := src.ReadAt(head[:offStore], 0); n < offStore {
		if size, sizeErr := src.Size(); sizeErr == nil && size < offStore {
			return nil // damaged, which whoever reads it will say
		}
		return fmt.Errorf("read state: %w", err)
	}
	le := binary.LittleEndian
	if string(head[:len(magic)]) != magic || le.Uint16(head[offVersion:]) <= version && le.Uint16(head[offVersion+2:]) == 0 {
		return nil
	}
	// It says so. Only a checksum that holds tells that from a bit that has flipped.
	return confirmFuture(src, f.File)
}

// confirmFuture reads the whole file and returns the error that it is from the future, or nil when its checksum does not
// hold.
func confirmFuture(src vfs.File, file string) error {
	size, err := src.Size()
	if err != nil {
		return fmt.Errorf("read state: %w", err)
	}
	if _, sound, err := checksum(src, size); err != nil || !sound {
		return err
	}
	return flaw(file, offVersion, "version", ErrFuture)
}

// checksum reads all size bytes of src, block by block, and reports whether its checksum holds. head is the first block.
func checksum(src vfs.File, size int64) (head []byte, sound bool, err error) {
	buf := make([]byte, min(size, 256<<10))
	have, want := uint32(0), uint32(0)
	for off := int64(0); off < size; {
		n, err := src.ReadAt(buf[:min(int64(len(buf)), size-off)], off)
		if int64(n) < min(int64(len(buf)), size-off) {
			return nil, false, fmt.Errorf("read state: %w", err)
		}
		b := buf[:n]
		if off == 0 {
			want = binary.LittleEndian.Uint32(b[offSum:])
			have = sum(b)
			head = append(head, b[:min(n, mostWithout)]...)
		} else {
			have = wire.Sum(have, b)
		}
		off += int64(n)
	}
	return head, have == want, nil
}

// Check reads a whole file and says what is wrong with it by itself: whether it fits a projection, or the log, is not
// looked at. It takes little memory, whatever the size of the state.
//
// Errors: *[FileError] with [ErrDamaged], [ErrFuture] or [ErrForeign]; *[vfs.UnsafePathError]; [fs.ErrNotExist]; I/O errors.
func Check(dir vfs.Dir, store [16]byte, f Found) error {
	src, err := dir.OpenRead(f.File)
	if err != nil {
		return fmt.Errorf("open state: %w", err)
	}
	defer src.Close()
	size, err := src.Size()
	if err != nil {
		return fmt.Errorf("read state: %w", err)
	}
	if size < headerLen {
		return flaw(f.File, 0, "too short", ErrDamaged)
	}
	head, sound, err := checksum(src, size)
	le := binary.LittleEndian
	switch {
	case err != nil:
		return err
	case string(head[:len(magic)]) != magic:
		return flaw(f.File, 0, "magic", ErrDamaged)
	case !sound:
		return flaw(f.File, offSum, "checksum", ErrDamaged)
	case le.Uint16(head[offVersion:]) > version || le.Uint16(head[offVersion+2:]) != 0:
		return flaw(f.File, offVersion, "version", ErrFuture)
	case le.Uint16(head[offVersion:]) == 0:
		return flaw(f.File, offVersion, "version", ErrDamaged)
	case le.Uint64(head[offLength:]) != uint64(size):
		return flaw(f.File, offLength, "length", ErrDamaged)
	}
	k, s, err := decodeFields(f.File, &wire.Reader{B: head[offStore:]})
	switch {
	case err != nil:
		return err
	case k.Store != store:
		return flaw(f.File, offStore, "store", ErrForeign)
	case FileName(k.Name, k.Version, s.At) != f.File:
		return flaw(f.File, offAt, "name of the file", ErrDamaged)
	}
	return nil
}

// All returns the files of all projections in dir, by name, also those that are no regular files.
//
// Errors: I/O errors.
func All(dir vfs.Dir) (found []Found, err error) {
	entries, err := dir.Names(nil)
	if err != nil {
		return nil, fmt.Errorf("list states: %w", err)
	}
	for _, e := range entries {
		if _, f, ok := parse(e.Name); ok {
			found = append(found, f)
		}
	}
	return found, nil
}

// Write makes the file of a state. When the error is nil it is durable; after a crash or an error it is there as a
// whole or not at all.
//
// Errors: *[FileError] with [ErrLimit]; I/O errors.
func Write(dir vfs.Dir, k *Key, s *State, most int64) (Found, error) {
	f := Found{File: FileName(k.Name, k.Version, s.At), Version: k.Version, At: s.At}
	if int64(len(s.Data)) > most {
		return f, flaw(f.File, 0, "size", ErrLimit)
	}
	return f, vfs.WriteFileAtomic(dir, f.File, Append(nil, k, s))
}

// Thin returns the files to remove so that keep of them stay: the newest, and of the older ones those that lie, seen from
// it, at distances that grow, so that a state of long ago is never far from one that is kept. found ascends, and is of one
// version; it is used up.
func Thin(found []Found, keep int) (remove []Found) {
	for keep = max(keep, 1); len(found) > keep; {
		newest := found[len(found)-1].At
		victim, least := 0, math.Inf(1)
		for i := range found[:len(found)-1] {
			before := uint64(0)
			if i > 0 {
				before = found[i-1].At
			}
			// What is lost: how much farther it is to the state before, against how old that is.
			gap := float64(found[i+1].At-before) / float64(newest-before)
			if gap < least {
				victim, least = i, gap
			}
		}
		remove = append(remove, found[victim])
		found = slices.Delete(found, victim, victim+1)
	}
	return remove
}

// Remove removes files; those that are gone already are passed over.
//
// Errors: I/O errors, joined.
func Remove(dir vfs.Dir, files []Found) error {
	var errs []error
	for _, f := range files {
		if err := dir.Remove(f.File); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Sweep removes what crashed calls of [Write] have left. Nobody may be writing.
//
// Errors: I/O errors, joined.
func Sweep(dir vfs.Dir) error {
	entries, err := dir.Names(nil)
	if err != nil {
		return fmt.Errorf("list states: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if _, _, ours := parse(strings.TrimSuffix(e.Name, ".tmp")); ours && vfs.IsTemp(e.Name) && e.Mode.IsRegular() {
			errs = append(errs, dir.Remove(e.Name))
		}
	}
	return errors.Join(errs...)
}
