package cursors

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"strings"

	"batpak/internal/vfs"
)

// DirName is the name of the directory in that of the store.
const DirName = "cursors"

// suffix ends the names of the files.
const suffix = ".cursor"

// stemLen is how many bytes of a name's hash name its file: nobody finds two names that share them.
const stemLen = 16

// FileName returns the name of the file of a consumer, in the directory. It is a hash of the consumer's: whatever people
// call it is a file name on every system, and leads nowhere.
func FileName(name string) string {
	sum := sha256.Sum256([]byte("batpak.cursor.v1\n" + name))
	return hex.EncodeToString(sum[:stemLen]) + suffix
}

// isFileName reports whether a file of that name may be one of ours.
func isFileName(file string) bool {
	stem, ok := strings.CutSuffix(file, suffix)
	if !ok || len(stem) != 2*stemLen || strings.ToLower(stem) != stem {
		return false
	}
	_, err := hex.DecodeString(stem)
	return err == nil
}

// Read returns what the file of a consumer of the given store says.
//
// Errors: *[FileError]; *vfs.UnsafePathError; I/O errors.
func Read(dir vfs.Dir, store [16]byte, name string) (File, error) {
	f, err := readFile(dir, store, FileName(name))
	if err == nil && f.Name != name {
		err = &FileError{File: inStore(FileName(name)), Offset: headerLen, Reason: "of another consumer", Err: ErrDamaged}
	}
	if err != nil {
		return File{}, err
	}
	return f, nil
}

// inStore returns the name of a file as seen from the store's directory.
func inStore(file string) string { return DirName + "/" + file }

// readFile decodes the file of that name.
func readFile(dir vfs.Dir, store [16]byte, file string) (File, error) {
	b, err := readAll(dir, file)
	var f File
	if err == nil {
		f, err = DecodeFile(b, store)
	}
	if e, ok := err.(*FileError); ok {
		e.File = inStore(file)
	}
	return f, err
}

// readAll returns the bytes of a file.
func readAll(dir vfs.Dir, file string) ([]byte, error) {
	f, err := dir.OpenRead(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, flaw(0, "no such file", ErrAbsent)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", inStore(file), err)
	}
	if size > maxFile {
		return nil, flaw(0, "too long", ErrDamaged)
	}
	b := make([]byte, size)
	if n, err := f.ReadAt(b, 0); n < len(b) {
		return nil, fmt.Errorf("read %s: %w", inStore(file), err)
	}
	return b, nil
}

// Write replaces the file of a consumer. When the error is nil it is durable; after a crash it says this, or what it
// said before. Writes for the same consumer must not overlap.
//
// Errors: *vfs.UnsafePathError; I/O errors.
func Write(dir vfs.Dir, store [16]byte, f *File) error {
	return vfs.WriteFileAtomic(dir, FileName(f.Name), AppendFile(nil, store, f))
}

// All yields what the files in the directory say, in the order of their names there; other files are passed over. A
// *[FileError] is about one file: the next one follows.
//
// Errors: *[FileError], also around a *vfs.UnsafePathError; I/O errors.
func All(dir vfs.Dir, store [16]byte) iter.Seq2[File, error] {
	return func(yield func(File, error) bool) {
		entries, err := dir.Names(nil)
		if err != nil {
			yield(File{}, err)
			return
		}
		for _, e := range entries {
			if !isFileName(e.Name) {
				continue
			}
			f, err := readFile(dir, store, e.Name)
			if err == nil && FileName(f.Name) != e.Name {
				err = &FileError{File: inStore(e.Name), Offset: headerLen, Reason: "of another consumer", Err: ErrDamaged}
			}
			switch {
			case errors.Is(err, ErrAbsent):
				continue // removed meanwhile
			case errors.Is(err, vfs.ErrUnsafePath):
				err = &FileError{File: inStore(e.Name), Reason: "not a regular file", Err: err}
			}
			if !yield(f, err) {
				return
			}
		}
	}
}

// Sweep removes what crashed replacements have left. Nobody may write meanwhile.
//
// Errors: I/O errors.
func Sweep(dir vfs.Dir) error {
	entries, err := dir.Names(nil)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if vfs.IsTemp(e.Name) && isFileName(strings.TrimSuffix(e.Name, tempSuffix)) && e.Mode.IsRegular() {
			if err := dir.Remove(e.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// tempSuffix is what [vfs.WriteFileAtomic] ends the names of files with that it has not renamed yet.
const tempSuffix = ".tmp"
