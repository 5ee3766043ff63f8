package vfs

import (
	"io"
	"io/fs"
)

// An FS opens directories. It is safe for concurrent use.
type FS interface {
	// OpenDir opens the directory at path. With o.Create it makes the directory and its parents where
	// they are missing; the directory's own name is then durable, or it becomes so before the first
	// file is made in it, where it was there and empty. Without o.Create it writes nothing, and a
	// missing directory is [fs.ErrNotExist].
	OpenDir(path string, o DirOptions) (Dir, error)
}

// DirOptions say how to open a directory.
type DirOptions struct {
	Create   bool        // make the directory and its parents when missing
	DirPerm  fs.FileMode // of the directories made; zero means 0700
	FilePerm fs.FileMode // of the files made by Create and Lock; zero means 0600
}

// withDefaults returns o with every zero permission set.
func (o DirOptions) withDefaults() DirOptions {
	if o.DirPerm == 0 {
		o.DirPerm = 0o700
	}
	if o.FilePerm == 0 {
		o.FilePerm = 0o600
	}
	return o
}

// A Dir is an open directory. It is safe for concurrent use. Every name must pass [CheckName].
//
// Errors: [*UnsafePathError] for a name or a file that is not safe; otherwise errors that carry the path
// and match [fs.ErrNotExist], [fs.ErrExist], [fs.ErrClosed] or an errno of the system.
type Dir interface {
	// Path returns the path of the directory, for messages.
	Path() string

	// Create makes a new, empty file and opens it for reading and writing. The name is durable only
	// after Sync of the Dir. Errors: [fs.ErrExist] when anything has that name.
	Create(name string) (File, error)

	// OpenRead opens an existing file for reading.
	OpenRead(name string) (File, error)

	// OpenWrite opens an existing file for reading and writing. It does not truncate.
	OpenWrite(name string) (File, error)

	// Map maps the whole file, as long as it is now, for reading. The caller closes the Map.
	Map(name string) (*Map, error)

	// Lock opens the file, made when absent, and takes an exclusive advisory lock on it without
	// waiting. The first [LockHintSize] bytes are overwritten with the process ID as a hint for
	// people; bytes from [LockDataOffset] on are the caller's. Neither the file nor its name is
	// synced. Errors: [*LockedError] when another process, or anyone in this one, holds the lock.
	Lock(name string) (LockFile, error)

	// Rename gives the file oldName the name newName, replacing the regular file that had it. It is
	// atomic: after a crash the file has the old name or the new one. It is durable after Sync.
	Rename(oldName, newName string) error

	// Remove removes the name. Open files and maps stay usable. It is durable after Sync.
	Remove(name string) error

	// List returns what is in the directory, sorted by name. Entries of any type are listed.
	List() ([]Entry, error)

	// Names is List without sizes and stamps, but for the names that look picks; nil picks none. It looks at no other
	// file whose type the directory itself tells.
	Names(look func(name string) bool) ([]Entry, error)

	// Stat describes one entry of any type, without following links.
	Stat(name string) (Entry, error)

	// Sync makes every earlier Create, Rename and Remove durable. It is not to be retried when it
	// fails. It does nothing where the system cannot sync a directory.
	Sync() error

	// Close releases the directory. Files, maps and locks opened from it stay open.
	Close() error
}

// A File is an open regular file. Its methods are safe for concurrent use; Close ends all of them, and
// does not sync. Calls after Close fail with [fs.ErrClosed].
type File interface {
	// ReadAt sees every completed WriteAt, synced or not.
	io.ReaderAt

	// WriteAt writes p at off, extending the file when needed. It does not keep p. When it fails,
	// n is the number of bytes that were written: a full disk may leave a prefix of p behind.
	io.WriterAt

	io.Closer

	// Size returns the current size in bytes.
	Size() (int64, error)

	// Truncate sets the size in bytes. A longer file gets zeros.
	Truncate(size int64) error

	// Sync makes all bytes written so far, and the size, durable. After an error it must not be
	// called again: see the package comment.
	Sync() error
}

// A LockFile is a locked file. Close releases the lock and never removes the file. The lock ends with the
// process at the latest.
type LockFile interface {
	File
}

// An Entry describes one name in a directory.
type Entry struct {
	Name string
	Mode fs.FileMode // type bits only; zero for a regular file
	Size int64       // bytes; meaningful for regular files only

	// Stamp tells whether the file is still the one that had this stamp before, untouched: not replaced, written to,
	// cut, or linked to another name. Copying a file makes another one. It does not notice bytes that rot, and while a file
	// is written by [OverwriteAt] not each write.
	Stamp Stamp
}

// A Stamp is what the system keeps of a file's identity and of its last change.
type Stamp struct {
	ID      uint64 // inode, where there is one
	Changed int64  // nanoseconds; last change of content or metadata
}

// The layout of a lock file.
const (
	LockHintSize   = 32 // bytes at the start: the owner's process ID in decimal, newline, spaces
	LockDataOffset = 64 // where the bytes of the lock's owner begin
)
