package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"unicode"
	"unicode/utf8"

	"batpak/coordinate"
)

// A change is what the demo stores as one batch: a commit and the files that it touched, or one file of a tree that
// has no history.
type change struct {
	Key    string  // idempotency key of the batch's first event, and the start of those of the others
	Commit *commit `json:",omitempty"` // nil for a file of a tree
	Files  []file
}

// A commit is the payload of a commit's event. Names and addresses of people are not read.
type commit struct {
	Hash    string   `json:"hash"`
	Subject string   `json:"subject"`
	Time    string   `json:"time"` // RFC 3339, of the committer
	Files   int      `json:"files"`
	Parents []string `json:"parents,omitempty"`
}

// A file is the payload of a file's event.
type file struct {
	Path    string `json:"path"`           // as [plainName] spells it
	From    string `json:"from,omitempty"` // of a rename or copy
	Status  string `json:"status"`         // git's letter: A, M, D, R, C, T; "found" in a tree
	Added   *int   `json:"added,omitempty"`
	Deleted *int   `json:"deleted,omitempty"` // lines; nil for binary files

	Commit   string `json:"commit,omitempty"`
	Size     *int64 `json:"size,omitempty"`     // of a file of a tree
	Modified string `json:"modified,omitempty"` // of a file of a tree, RFC 3339
}

// A source is where the demo's events come from.
type source struct {
	scope   string // name of the repository or folder
	changes []change
	notes   []string // what a reader should know about the input
}

var errNothing = errors.New("nothing to store: neither commits nor files")

// findSource reads the history of the repository at path, or, where there is none, the files below path.
func findSource(ctx context.Context, path string, most int) (*source, error) {
	src, err := readHistory(ctx, path, most)
	if err == nil {
		return src, nil
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	src, treeErr := readTree(ctx, path, most)
	if treeErr != nil {
		return nil, fmt.Errorf("%w; and %w", err, treeErr)
	}
	note := fmt.Sprintf("NO HISTORY: %v. Storing the files below the folder instead, oldest first.", err)
	src.notes = append([]string{note}, src.notes...)
	if len(src.changes) == 0 {
		return nil, fmt.Errorf("%w (%w)", errNothing, err)
	}
	return src, nil
}

// events returns how many events the changes are.
func (s *source) events() (n int) {
	for i := range s.changes {
		n += len(s.changes[i].Files)
		if s.changes[i].Commit != nil {
			n++
		}
	}
	return n
}

// noun is what one change is called.
func (s *source) noun() string {
	if len(s.changes) > 0 && s.changes[0].Commit == nil {
		return "file"
	}
	return "commit"
}

// mostChanged returns the path that comes in most changes, the first one of several.
func (s *source) mostChanged() (path string, times int) {
	seen := make(map[string]int)
	for i := range s.changes {
		for _, f := range s.changes[i].Files {
			seen[f.Path]++
		}
	}
	for i := range s.changes {
		for _, f := range s.changes[i].Files {
			if seen[f.Path] > times {
				path, times = f.Path, seen[f.Path]
			}
		}
	}
	return path, times
}

// plainName spells any bytes so that a coordinate takes them: "%" and what is not UTF-8 or is a control character
// come out as %XX.
func plainName(s string) string {
	var b []byte
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == '%' || r == utf8.RuneError && n == 1 || unicode.IsControl(r) {
			for _, c := range []byte(s[i : i+n]) {
				b = fmt.Appendf(b, "%%%02X", c)
			}
		} else {
			b = append(b, s[i:i+n]...)
		}
		i += n
	}
	return string(b)
}

// entityName returns prefix and name as an entity: cut, with a hash of the whole at its end, where it is too long.
func entityName(prefix, name string) string {
	whole := prefix + name
	if len(whole) <= coordinate.MaxLen {
		return whole
	}
	sum := sha256.Sum256([]byte(whole))
	tail := fmt.Sprintf("~%x", sum[:8])
	cut := coordinate.MaxLen - len(tail)
	for !utf8.RuneStart(whole[cut]) {
		cut--
	}
	return whole[:cut] + tail
}
