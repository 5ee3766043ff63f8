package event

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

// IDLen is the length of an [ID] in bytes.
const IDLen = 16

// An ID names one event: a UUID of version 7 (RFC 9562 §5.7). Its 48-bit time and the 16 bits behind it are the
// event's [HLC], so that IDs sort in commit order, also across restarts and clocks set back; 58 bits are random.
// The zero ID names nothing. IDs are comparable.
type ID [IDLen]byte

// NewID returns the ID of an event stamped hlc; random supplies the low 58 bits.
//
//	bits 0–47    Unix milliseconds        (unix_ts_ms)
//	bits 48–51   version 7
//	bits 52–63   counter, high 12 bits    (rand_a, RFC 9562 §6.2 method 1)
//	bits 64–65   variant 2
//	bits 66–69   counter, low 4 bits
//	bits 70–127  random
func NewID(hlc HLC, random uint64) ID {
	ms, counter := hlc.Millis(), uint64(hlc.Counter())
	var id ID
	binary.BigEndian.PutUint64(id[0:8], uint64(ms)<<16|0x7000|counter>>4)
	binary.BigEndian.PutUint64(id[8:16], 0x8000_0000_0000_0000|(counter&0xf)<<58|random&(1<<58-1))
	return id
}

// HLC returns the stamp inside an ID made by [NewID].
func (id ID) HLC() HLC {
	hi, lo := binary.BigEndian.Uint64(id[0:8]), binary.BigEndian.Uint64(id[8:16])
	return HLC(hi&^0xffff | (hi&0xfff)<<4 | lo>>58&0xf)
}

// IsZero reports whether id names nothing.
func (id ID) IsZero() bool { return id == ID{} }

// String returns the 36 characters of RFC 9562 §4.
func (id ID) String() string {
	text, _ := id.MarshalText()
	return string(text)
}

// MarshalText implements [encoding.TextMarshaler] with the form of String. It never fails.
func (id ID) MarshalText() ([]byte, error) {
	b := make([]byte, 36)
	hex.Encode(b[0:8], id[0:4])
	hex.Encode(b[9:13], id[4:6])
	hex.Encode(b[14:18], id[6:8])
	hex.Encode(b[19:23], id[8:10])
	hex.Encode(b[24:36], id[10:16])
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	return b, nil
}

// UnmarshalText implements [encoding.TextUnmarshaler]; it takes what String returns and nothing else.
func (id *ID) UnmarshalText(text []byte) error {
	parsed, err := ParseID(string(text))
	if err != nil {
		return err
	}
	*id = parsed
	return nil
}

// ErrSyntax is the sentinel of text that is not an ID, a kind or a hash.
var ErrSyntax = errors.New("event: bad syntax")

// ParseID is the inverse of [ID.String]: one spelling per ID, lower case with dashes.
//
// Errors: [ErrSyntax].
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return ID{}, fmt.Errorf("%w: ID %q", ErrSyntax, s)
	}
	digits := s[0:8] + s[9:13] + s[14:18] + s[19:23] + s[24:36]
	if _, err := hex.Decode(id[:], []byte(digits)); err != nil || id.String() != s {
		return ID{}, fmt.Errorf("%w: ID %q", ErrSyntax, s)
	}
	return id, nil
}

// An HLC is a hybrid logical clock reading: 48 bits of Unix milliseconds above a 16-bit counter. It increases
// strictly in commit order, whatever the wall clock does. The zero HLC is before every event.
//
// Source: Kulkarni et al., "Logical Physical Clocks", 2014; compressed to 64 bits as its §6 proposes.
type HLC uint64

const (
	hlcCounterBits = 16
	maxHLCMillis   = 1<<48 - 1
)

// HLCAt returns the first reading of the millisecond that holds t. Times before 1970 and after 10889 are clamped.
func HLCAt(t time.Time) HLC {
	return HLC(uint64(min(max(t.UnixMilli(), 0), maxHLCMillis)) << hlcCounterBits)
}

// Millis returns the milliseconds since the Unix epoch.
func (h HLC) Millis() int64 { return int64(h >> hlcCounterBits) }

// Counter returns the position inside the millisecond.
func (h HLC) Counter() uint16 { return uint16(h) }

// Time returns the millisecond of h in UTC.
func (h HLC) Time() time.Time { return time.UnixMilli(h.Millis()).UTC() }

// String returns "time+counter".
func (h HLC) String() string {
	return fmt.Sprintf("%s+%d", h.Time().Format("2006-01-02T15:04:05.000Z"), h.Counter())
}

// maxWall is the latest wall clock that moves an HLC forward, in the year 6429: above it there is room to count on for
// ever, so that one absurd reading cannot use the numbers up.
const maxWall HLC = 1 << 63

// Next returns the reading for an event committed at wall after h: the wall clock where it is ahead, else h and one. A
// wall clock after the year 6429 is taken for that year.
func (h HLC) Next(wall time.Time) HLC { return max(h+1, min(HLCAt(wall), maxWall)) }
