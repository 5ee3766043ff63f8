package main

import (
	"fmt"
	"strconv"
	"strings"

	"batpak"
	"batpak/event"
)

// A byteSize is a flag that takes "67108864", "64MiB" or "64M".
type byteSize int64

func (b *byteSize) String() string {
	if *b == 0 {
		return ""
	}
	return byteCount(int64(*b))
}

// Set implements [flag.Value].
func (b *byteSize) Set(s string) error {
	digits := strings.TrimRight(s, "KMGiB")
	shift, ok := map[string]int{"": 0, "B": 0, "K": 10, "KiB": 10, "M": 20, "MiB": 20, "G": 30, "GiB": 30}[s[len(digits):]]
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || !ok || n < 0 || n > 1<<62>>shift {
		return fmt.Errorf("want bytes such as 1048576, 512KiB, 64MiB")
	}
	*b = byteSize(n << shift)
	return nil
}

// A syncMode is a flag that takes the name of a [batpak.SyncMode].
type syncMode batpak.SyncMode

var syncModes = []string{batpak.SyncAlways: "always", batpak.SyncInterval: "interval", batpak.SyncNever: "never"}

func (m *syncMode) String() string { return syncModes[*m] }

// Set implements [flag.Value].
func (m *syncMode) Set(s string) error {
	for mode, name := range syncModes {
		if s == name {
			*m = syncMode(mode)
			return nil
		}
	}
	return fmt.Errorf("want always, interval or never")
}

// A kindList is a flag that can be given many times.
type kindList []event.Kind

func (l *kindList) String() string { return fmt.Sprint([]event.Kind(*l)) }

// Set implements [flag.Value].
func (l *kindList) Set(s string) error {
	k, err := event.ParseKind(s)
	if err != nil {
		return err
	}
	*l = append(*l, k)
	return nil
}

// A textList is a flag that can be given many times.
type textList []string

func (l *textList) String() string { return strings.Join(*l, ",") }

// Set implements [flag.Value].
func (l *textList) Set(s string) error {
	*l = append(*l, s)
	return nil
}

// A lane is a flag of a number that may be absent.
type lane struct{ number *uint32 }

func (l *lane) String() string {
	if l.number == nil {
		return ""
	}
	return strconv.FormatUint(uint64(*l.number), 10)
}

// Set implements [flag.Value].
func (l *lane) Set(s string) error {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return fmt.Errorf("want 0 to 4294967295")
	}
	v := uint32(n)
	l.number = &v
	return nil
}

// A sequence is a flag of a sequence that may be absent.
type sequence struct {
	number uint64
	set    bool
}

func (s *sequence) String() string {
	if !s.set {
		return ""
	}
	return strconv.FormatUint(s.number, 10)
}

// Set implements [flag.Value].
func (s *sequence) Set(text string) error {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return fmt.Errorf("want a sequence such as 1042")
	}
	s.number, s.set = n, true
	return nil
}

// given returns the sequence, if there is one.
func (s *sequence) given() []uint64 {
	if !s.set {
		return nil
	}
	return []uint64{s.number}
}
