package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A storeFile is one name in a store's directory.
type storeFile struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
	Role string `json:"role"`
	Loss string `json:"losing_it_costs"`
}

// fileRoles says what the files of a store are for; the first pattern that fits counts.
var fileRoles = []struct{ pattern, role, loss string }{
	{"store.meta", "identity of the store", "open refuses; repair rebuilds it"},
	{".lock", "the writer's lock", "nothing"},
	{"anchor", "names the end of the log", "a cut-off end can go unnoticed"},
	{"*.fbat", "segment: the events", "the events in it"},
	{"index.fbati", "cache: snapshot", "time at the next open"},
	{"index.ckpt", "cache: checkpoint", "time at the next open"},
	{"index.idemp", "idempotency keys of evicted events", "their retries are no longer recognized"},
	{"visibility_ranges.fbv", "hidden ranges", "open refuses until it is rebuilt"},
	{"compaction.pending", "a compaction that is being carried out", "never remove it"},
	{"cursors", "positions of consumers", "redelivery"},
	{"projections", "cache: states of projections", "time when they are next asked"},
	{"*.fbix", "cache: index of a segment so far", "time at the next open"},
	{"*.fbcat", "cache: which segment holds a stream", "time at its first touch"},
	{"*.fbat.quarantine", "segment that recovery took out of the log", "evidence; no event"},
	{"*.quarantine*", "damaged file that a repair has replaced", "evidence; no event"},
	{"*.fbat.compact", "segment that a compaction has written", "while compaction.pending is there: the events in it"},
	{"*.tmp", "left-over of a replacement", "nothing"},
}

// listFiles returns the files in dir by name.
func listFiles(dir string) ([]storeFile, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var files []storeFile
	for _, e := range entries {
		f := storeFile{Name: e.Name(), Role: "not the store's", Loss: "unknown"}
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			f.Size = info.Size()
		}
		for _, r := range fileRoles {
			if ok, _ := filepath.Match(r.pattern, e.Name()); ok {
				f.Role, f.Loss = r.role, r.loss
				break
			}
		}
		files = append(files, f)
	}
	return files, nil
}

// shownSegments is how many segments are listed one by one.
const shownSegments = 8

// fileTable returns the files as a table; many segments are one row.
func fileTable(files []storeFile) *table {
	files = slices.Clone(files)
	var segments []storeFile
	for _, f := range files {
		if strings.HasSuffix(f.Name, ".fbat") {
			segments = append(segments, f)
		}
	}
	if len(segments) > shownSegments {
		middle := segments[1 : len(segments)-1]
		sum := storeFile{Name: fmt.Sprintf("(%s more)", count(len(middle))), Role: middle[0].Role, Loss: "the events in them"}
		for _, f := range middle {
			sum.Size += f.Size
		}
		at := slices.Index(files, middle[0])
		files = slices.DeleteFunc(files, func(f storeFile) bool { return slices.Contains(middle, f) })
		files = slices.Insert(files, at, sum)
	}
	t := new(table)
	t.numbers(1)
	t.row("file", "size", "role", "losing it costs")
	for _, f := range files {
		t.row(f.Name, byteCount(f.Size), f.Role, f.Loss)
	}
	return t
}
