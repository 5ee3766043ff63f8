package vfs

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"batpak/internal/planted"
)

// tempSuffix ends the names of files that [WriteFileAtomic] has not renamed yet.
const tempSuffix = ".tmp"

// IsTemp reports whether name is one that [WriteFileAtomic] writes to before it renames. Such a file is a
// left-over of a crash when no one is writing, and may be removed if it is regular.
func IsTemp(name string) bool {
	return len(name) > len(tempSuffix) && strings.HasSuffix(name, tempSuffix)
}

// WriteFileAtomic replaces the file name by one that holds data, or makes it.
//
// When the error is nil the new content is durable under that name. After a crash or an error, the name
// has the old content or the new, never a mixture. An error leaves the temporary file behind; the next
// call replaces it by a new file. Calls for the same name must not overlap. It and [ReplaceFile] are the
// only helpers of the store that commit by renaming.
func WriteFileAtomic(d Dir, name string, data []byte) error {
	return ReplaceFile(d, name, func(f File) error {
		_, err := f.WriteAt(data, 0)
		return err
	})
}

// ReplaceFile is [WriteFileAtomic] for content that is too large to hold at once: write writes it to the
// new, empty file, and neither syncs nor closes that. An error of write is one of ReplaceFile.
func ReplaceFile(d Dir, name string, write func(File) error) error {
	if err := replaceFile(d, name, write); err != nil {
		return fmt.Errorf("replace %s: %w", name, err)
	}
	return nil
}

func replaceFile(d Dir, name string, write func(File) error) error {
	temp := name + tempSuffix
	if err := CheckName(temp); err != nil {
		return err
	}
	if err := d.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err // Remove refuses everything but a regular file
	}
	if err := writeNewFile(d, temp, write); err != nil {
		return err
	}
	if err := d.Rename(temp, name); err != nil {
		return err
	}
	if planted.On(planted.NoDirSyncAtCreate) {
		return nil
	}
	return d.Sync()
}

// writeNewFile makes the file name holding what write writes, and syncs it.
func writeNewFile(d Dir, name string, write func(File) error) error {
	f, err := d.Create(name)
	if err != nil {
		return err
	}
	if err = write(f); err == nil && !planted.On(planted.RenameBeforeSync) {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
