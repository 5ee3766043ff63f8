package vfs

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// An image is what a disk holds. It is immutable once built: contents and maps are shared with others.
type image struct {
	dirs  map[string]map[string]uint64 // by directory, then name: the inode
	nodes map[uint64]nodeImage         // what the names lead to; others may remain
	next  uint64                       // highest inode in use
}

type nodeImage struct {
	mode    fs.FileMode // type bits
	content content     // shared
}

func newImage() *image {
	return &image{dirs: map[string]map[string]uint64{}, nodes: map[uint64]nodeImage{}}
}

// mkdirAll makes dir and its parents. It is for images being built.
func (img *image) mkdirAll(dir string) {
	for ; img.dirs[dir] == nil; dir = path.Dir(dir) {
		img.dirs[dir] = map[string]uint64{}
	}
}

// put places a file. It is for images being built.
func (img *image) put(full string, mode fs.FileMode, c content) {
	dir := path.Dir(full)
	img.mkdirAll(dir)
	img.next++
	img.nodes[img.next] = nodeImage{mode, c}
	img.dirs[dir][path.Base(full)] = img.next
}

// each calls fn for every entry, sorted by directory and name.
func (img *image) each(fn func(dir, name string, n nodeImage) error) error {
	for _, dir := range slices.Sorted(maps.Keys(img.dirs)) {
		entries := img.dirs[dir]
		for _, name := range slices.Sorted(maps.Keys(entries)) {
			if err := fn(dir, name, img.nodes[entries[name]]); err != nil {
				return err
			}
		}
	}
	return nil
}

// memKey returns the name under which [Mem.Files] lists a file.
func memKey(dir, name string) string {
	full := path.Join(dir, name)
	return strings.TrimPrefix(full, MemDir+"/")
}

func (img *image) files() map[string][]byte {
	files := map[string][]byte{}
	_ = img.each(func(dir, name string, n nodeImage) error {
		if n.mode == 0 {
			files[memKey(dir, name)] = n.content.bytes()
		}
		return nil
	})
	return files
}

// hash returns a hash of every directory, name, type, size and byte.
func (img *image) hash() [sha256.Size]byte {
	h := sha256.New()
	for _, dir := range slices.Sorted(maps.Keys(img.dirs)) {
		hashString(h, 'd', dir)
		entries := img.dirs[dir]
		for _, name := range slices.Sorted(maps.Keys(entries)) {
			n := img.nodes[entries[name]]
			hashString(h, 'f', name)
			var head [12]byte
			binary.BigEndian.PutUint32(head[:], uint32(n.mode))
			binary.BigEndian.PutUint64(head[4:], uint64(n.content.size))
			h.Write(head[:])
			for _, b := range n.content.blocks {
				h.Write(b.hash()[:])
			}
		}
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// hashString writes a tag, the length of s, and s.
func hashString(h hash.Hash, tag byte, s string) {
	var buf [64]byte
	head := binary.BigEndian.AppendUint32(append(buf[:0], tag), uint32(len(s)))
	h.Write(append(head, s...))
}

// writeTo writes the regular files into the real directory root, which must exist: those of MemDir right
// into it, all others below it by their path.
func (img *image) writeTo(root string) error {
	for dir := range img.dirs {
		if sub, ok := strings.CutPrefix(dir, MemDir+"/"); ok {
			if err := os.MkdirAll(filepath.Join(root, filepath.FromSlash(sub)), 0o700); err != nil {
				return err
			}
		}
	}
	return img.each(func(dir, name string, n nodeImage) error {
		if n.mode != 0 {
			return nil
		}
		full := filepath.Join(root, filepath.FromSlash(memKey(dir, name)))
		if err := os.MkdirAll(filepath.Dir(full), 0o700); err != nil {
			return err
		}
		return os.WriteFile(full, n.content.bytes(), 0o600)
	})
}
