package vfs

import (
	"fmt"
	"io/fs"
	"path"
	"strconv"
)

// An OpKind names one kind of call to the file system.
type OpKind uint8

// The kinds. Those up to OpDirSync change something; [Mem] records them in its trace.
const (
	OpMkdir OpKind = iota + 1
	OpCreate
	OpWrite
	OpTruncate
	OpSync
	OpRename
	OpRemove
	OpDirSync
	OpSetFile // not a call: a test replaced a file, durably; see [Mem.SetFile]

	OpOpenDir
	OpOpenRead
	OpOpenWrite
	OpRead // of a File or a Map
	OpSize
	OpMap
	OpLock
	OpList
	OpStat
	OpClose // of a File, a LockFile, a Map or a Dir

	opKindEnd
)

var opKindNames = [opKindEnd]string{
	OpMkdir:     "mkdir",
	OpCreate:    "create",
	OpWrite:     "write",
	OpTruncate:  "truncate",
	OpSync:      "sync",
	OpRename:    "rename",
	OpRemove:    "remove",
	OpDirSync:   "dirsync",
	OpSetFile:   "setfile",
	OpOpenDir:   "opendir",
	OpOpenRead:  "openread",
	OpOpenWrite: "openwrite",
	OpRead:      "read",
	OpSize:      "size",
	OpMap:       "map",
	OpLock:      "lock",
	OpList:      "list",
	OpStat:      "stat",
	OpClose:     "close",
}

// String returns the name of k, in lower case.
func (k OpKind) String() string {
	if k == 0 || k >= opKindEnd {
		return "OpKind(" + strconv.Itoa(int(k)) + ")"
	}
	return opKindNames[k]
}

// An Op is one mutation in the trace of a [Mem].
type Op struct {
	Index   int // in the trace, from 0
	Kind    OpKind
	Dir     string // path of the directory
	Name    string // of the file, as it was opened; the old name of a rename; "" for a directory
	NewName string // of a rename
	Inode   uint64 // of the file; stays the same across renames
	Off     int64  // of a write, bytes from start of file
	Data    []byte // of a write; not to be changed
	Size    int64  // of a truncate, bytes
	Failed  bool   // a sync that saved nothing and said so
	Lied    bool   // a sync that saved nothing and said nothing

	ext4 bool        // a failed sync that dooms its bytes, see Ext4Rewrite
	mode fs.FileMode // of OpSetFile, type bits
}

// String returns op in one line, without its data.
func (op Op) String() string {
	s := fmt.Sprintf("%d %v %s", op.Index, op.Kind, path.Join(op.Dir, op.Name))
	switch op.Kind {
	case OpWrite:
		s += fmt.Sprintf(" [%d, %d)", op.Off, op.Off+int64(len(op.Data)))
	case OpTruncate:
		s += fmt.Sprintf(" to %d", op.Size)
	case OpRename:
		s += " to " + op.NewName
	}
	if op.Failed {
		s += " (failed)"
	}
	return s
}
