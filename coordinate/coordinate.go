// Package coordinate says where an event belongs.
//
// A [Coordinate] is an entity (the stream: clock, hash chain and conditions belong to it) and a scope (a label
// beside it, such as a tenant or a bounded context). Both are 1 to [MaxLen] bytes of valid UTF-8 without control
// characters. Anything else is allowed, "/" and ".." included: no name ever becomes a path. A Coordinate is made
// by [New] only, so one in hand is valid.
//
// A [Region] is a set of coordinates, as queries name them.
package coordinate

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxLen is the longest entity, scope or tag in bytes.
const MaxLen = 1024

// ErrInvalid is the sentinel of every [Error].
var ErrInvalid = errors.New("coordinate: invalid")

// An Error says which part of an address is not valid and why.
type Error struct {
	Field  string // "entity", "scope", "tag" or what else has the form of a name
	Reason string // short and constant: "empty", "too long", "not UTF-8", "control character"
	Offset int    // of the first bad byte; 0 when the whole field is meant
	Len    int    // bytes of the field
}

func (e *Error) Error() string {
	return fmt.Sprintf("coordinate: %s: %s (%d bytes, offset %d)", e.Field, e.Reason, e.Len, e.Offset)
}

// Unwrap returns [ErrInvalid].
func (e *Error) Unwrap() error { return ErrInvalid }

// A Coordinate is the valid address of an event. The zero Coordinate addresses nothing and is refused by every
// append. Coordinates are comparable and safe for concurrent use.
type Coordinate struct {
	entity, scope string
}

// New returns the coordinate of entity and scope.
//
// Errors: *[Error] naming the first field that is not valid.
func New(entity, scope string) (Coordinate, error) {
	if err := Check("entity", entity); err != nil {
		return Coordinate{}, err
	}
	if err := Check("scope", scope); err != nil {
		return Coordinate{}, err
	}
	return Coordinate{entity, scope}, nil
}

// MustNew is [New] for constants; it panics where New returns an error.
func MustNew(entity, scope string) Coordinate {
	c, err := New(entity, scope)
	if err != nil {
		panic(err)
	}
	return c
}

// Stored returns the coordinate of two names that New accepted before they were written: it is for decoders of
// checksummed bytes, which would otherwise validate every name once more on each read.
func Stored(entity, scope string) Coordinate { return Coordinate{entity, scope} }

// Entity returns the stream's name; empty only for the zero Coordinate.
func (c Coordinate) Entity() string { return c.entity }

// Scope returns the label beside the stream; empty only for the zero Coordinate.
func (c Coordinate) Scope() string { return c.scope }

// IsZero reports whether c is the zero Coordinate.
func (c Coordinate) IsZero() bool { return c.entity == "" }

// String returns "entity@scope", for people; names may hold "@", so it cannot be parsed back.
func (c Coordinate) String() string { return c.entity + "@" + c.scope }

// Check reports whether s may be a name; field is what the error calls it.
//
// Errors: *[Error].
func Check(field, s string) error {
	if reason, offset := fault(s); reason != "" {
		return &Error{Field: field, Reason: reason, Offset: offset, Len: len(s)}
	}
	return nil
}

// fault returns why s may not be a name and where, or "".
func fault(s string) (reason string, offset int) {
	if s == "" {
		return "empty", 0
	}
	if len(s) > MaxLen {
		return "too long", MaxLen
	}
	for i := 0; i < len(s); {
		b := s[i]
		if b < utf8.RuneSelf {
			if b < 0x20 || b == 0x7f {
				return "control character", i
			}
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			return "not UTF-8", i
		}
		if unicode.IsControl(r) {
			return "control character", i
		}
		i += n
	}
	return "", 0
}

// A Region is the set of coordinates that agree with every field set. The zero Region holds all of them.
type Region struct {
	Entity       string // exact entity; empty means any
	EntityPrefix string // plain bytes at the start of the entity; empty means any
	Scope        string // exact scope; empty means any
}

// Contains reports whether c lies in r.
func (r Region) Contains(c Coordinate) bool {
	return (r.Entity == "" || r.Entity == c.entity) &&
		strings.HasPrefix(c.entity, r.EntityPrefix) &&
		(r.Scope == "" || r.Scope == c.scope)
}
