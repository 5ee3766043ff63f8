package event

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// A Kind tags what an event means: a 4-bit category above a 12-bit number. Categories 0x0 and 0xD are the store's
// own; an append that names one of them is refused.
type Kind uint16

// Categories that belong to the store.
const (
	CategorySystem = 0x0 // the store's own bookkeeping
	CategoryEffect = 0xD // outcomes that the store records, such as denials
)

const (
	maxCategory = 1<<4 - 1
	maxNumber   = 1<<12 - 1
)

// The reserved kinds that this version appends.
const (
	KindConsumer = Kind(CategorySystem<<12 | 1) // where a consumer begins, or goes on elsewhere
	KindPosition = Kind(CategorySystem<<12 | 2) // how far a consumer is, with what came of it
	KindDenial   = Kind(CategoryEffect<<12 | 1) // the record of an append that a gate denied
	KindParked   = Kind(CategoryEffect<<12 | 2) // an event that a consumer could not handle, and what became of it
)

// Errors of [NewKind].
var (
	ErrKindRange    = errors.New("event: kind out of range")
	ErrKindReserved = errors.New("event: kind is reserved for the store")
)

// NewKind returns the kind of a category in [1, 15] and a number in [0, 4095].
//
// Errors: [ErrKindRange]; [ErrKindReserved] for categories 0x0 and 0xD.
func NewKind(category, number int) (Kind, error) {
	if category < 0 || category > maxCategory || number < 0 || number > maxNumber {
		return 0, fmt.Errorf("%w: %#x:%d", ErrKindRange, category, number)
	}
	k := Kind(category<<12 | number)
	if k.Reserved() {
		return 0, fmt.Errorf("%w: %v", ErrKindReserved, k)
	}
	return k, nil
}

// MustKind is [NewKind] for constants; it panics where NewKind returns an error.
func MustKind(category, number int) Kind {
	k, err := NewKind(category, number)
	if err != nil {
		panic(err)
	}
	return k
}

// Category returns the high 4 bits.
func (k Kind) Category() int { return int(k >> 12) }

// Number returns the low 12 bits.
func (k Kind) Number() int { return int(k & maxNumber) }

// Reserved reports whether only the store may append k.
func (k Kind) Reserved() bool {
	return k.Category() == CategorySystem || k.Category() == CategoryEffect
}

// Unknown reports whether k is reserved and not one that this version appends.
func (k Kind) Unknown() bool {
	switch k {
	case KindConsumer, KindPosition, KindDenial, KindParked:
		return false
	}
	return k.Reserved()
}

// String returns "category:number", the category as one hexadecimal digit: "1:7".
func (k Kind) String() string { return fmt.Sprintf("%x:%d", k.Category(), k.Number()) }

// MarshalText implements [encoding.TextMarshaler] with the form of String. It never fails.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler]. Errors: [ErrSyntax].
func (k *Kind) UnmarshalText(text []byte) error {
	parsed, err := ParseKind(string(text))
	if err != nil {
		return err
	}
	*k = parsed
	return nil
}

// ParseKind is the inverse of [Kind.String]; reserved kinds parse too, so that a query can name them.
//
// Errors: [ErrSyntax].
func ParseKind(s string) (Kind, error) {
	category, number, ok := strings.Cut(s, ":")
	c, err1 := strconv.ParseUint(category, 16, 4)
	n, err2 := strconv.ParseUint(number, 10, 12)
	k := Kind(c<<12 | n)
	if !ok || err1 != nil || err2 != nil || k.String() != s {
		return 0, fmt.Errorf("%w: kind %q, want category:number such as 1:7", ErrSyntax, s)
	}
	return k, nil
}
