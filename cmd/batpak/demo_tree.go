package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// maxVisited bounds the names that [readTree] looks at.
const maxVisited = 100_000

// readTree returns up to most files below path, oldest first. Folders and files whose names begin with a dot are left
// out, and so is everything that is not a regular file.
func readTree(ctx context.Context, path string, most int) (*source, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	type found struct {
		path string
		info fs.FileInfo
	}
	var (
		files   []found
		visited int
	)
	err = fs.WalkDir(os.DirFS(path), ".", func(name string, entry fs.DirEntry, err error) error {
		if visited++; visited > maxVisited || ctx.Err() != nil {
			return fs.SkipAll
		}
		switch {
		case err != nil && name == ".":
			return err
		case err != nil: // not ours to read
			return nil
		case name != "." && strings.HasPrefix(entry.Name(), ".") && entry.IsDir():
			return fs.SkipDir
		case !entry.Type().IsRegular() || strings.HasPrefix(entry.Name(), "."):
			return nil
		}
		if info, err := entry.Info(); err == nil {
			files = append(files, found{name, info})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(files, func(a, b found) int {
		if c := a.info.ModTime().Compare(b.info.ModTime()); c != 0 {
			return c
		}
		return strings.Compare(a.path, b.path)
	})
	src := &source{scope: scopeName(absolute)}
	if visited > maxVisited {
		src.notes = append(src.notes, fmt.Sprintf("Looking for files stopped after %s names.", count(maxVisited)))
	}
	if len(files) > most {
		src.notes = append(src.notes, fmt.Sprintf("Only the newest %s: -max-commits takes more.", plural(most, "file")))
		files = files[len(files)-most:]
	}
	for _, f := range files {
		size, modified := f.info.Size(), f.info.ModTime().UTC().Format(time.RFC3339Nano)
		src.changes = append(src.changes, change{
			Key:   fmt.Sprintf("tree %x", sha256.Sum256([]byte(f.path))),
			Files: []file{{Path: plainName(f.path), Status: "found", Size: &size, Modified: modified}},
		})
	}
	return src, nil
}
