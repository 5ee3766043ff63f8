package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"unicode/utf8"

	"batpak/event"
)

// appendEvent appends ev as one JSON line. It does not go through encoding/json as a whole, which would re-format the
// payload.
func appendEvent(b []byte, ev *event.Event) []byte {
	b = append(b, `{"seq":`...)
	b = strconv.AppendUint(b, ev.Seq, 10)
	b = appendField(b, "id", ev.ID.String())
	b = appendField(b, "entity", ev.Coordinate.Entity())
	b = appendField(b, "scope", ev.Coordinate.Scope())
	b = appendField(b, "kind", ev.Kind.String())
	b = appendNumber(b, "clock", ev.Clock)
	b = appendOptional(b, ev)
	b = appendField(b, "time", ev.HLC.Time().Format("2006-01-02T15:04:05.000Z"))
	b = appendField(b, "hlc", fmt.Sprintf("%016x", uint64(ev.HLC)))
	b = appendField(b, "hash", hex.EncodeToString(ev.Hash[:]))
	b = appendPayload(b, ev.Payload)
	return append(b, '}', '\n')
}

// appendOptional appends the fields that are left out when they are not set.
func appendOptional(b []byte, ev *event.Event) []byte {
	if ev.Lane != 0 {
		b = appendNumber(b, "lane", uint64(ev.Lane))
	}
	if ev.Depth != 0 {
		b = appendNumber(b, "depth", uint64(ev.Depth))
	}
	for _, link := range []struct {
		name string
		id   event.ID
	}{{"fork", ev.Fork}, {"correlation", ev.Correlation}, {"causation", ev.Causation}} {
		if !link.id.IsZero() {
			b = appendField(b, link.name, link.id.String())
		}
	}
	if ev.PayloadVersion != 0 {
		b = appendNumber(b, "payload_version", uint64(ev.PayloadVersion))
	}
	if ev.Redacted {
		b = append(b, `,"redacted":true`...)
	}
	return appendExtensions(appendTags(b, ev.Tags), ev.Extensions)
}

func appendTags(b []byte, tags []string) []byte {
	if len(tags) == 0 {
		return b
	}
	b = append(b, `,"tags":`...)
	before := byte('[')
	for _, tag := range tags {
		b = appendText(append(b, before), tag)
		before = ','
	}
	return append(b, ']')
}

func appendExtensions(b []byte, extensions map[string][]byte) []byte {
	if len(extensions) == 0 {
		return b
	}
	b = append(b, `,"extensions":`...)
	before := byte('{')
	for _, key := range slices.Sorted(maps.Keys(extensions)) {
		b = appendText(append(b, before), key)
		b = append(b, ':', '"')
		b = base64.StdEncoding.AppendEncode(b, extensions[key])
		b = append(b, '"')
		before = ','
	}
	return append(b, '}')
}

// appendPayload appends the payload as the JSON that it is, where ingest would store the same bytes again.
func appendPayload(b, payload []byte) []byte {
	if plainJSON(payload) {
		b = append(b, `,"payload":`...)
		return append(b, payload...)
	}
	b = append(b, `,"payload_base64":"`...)
	b = base64.StdEncoding.AppendEncode(b, payload)
	return append(b, '"')
}

// plainJSON reports whether payload is JSON that can stand in a line as it is: UTF-8, with no line break in it and no
// blanks around it.
func plainJSON(payload []byte) bool {
	return len(payload) > 0 &&
		!bytes.ContainsAny(payload, "\n\r") &&
		len(bytes.Trim(payload, blanks)) == len(payload) &&
		utf8.Valid(payload) &&
		json.Valid(payload)
}

func appendField(b []byte, name, value string) []byte {
	b = append(b, ',', '"')
	b = append(b, name...)
	b = append(b, '"', ':')
	return appendText(b, value)
}

func appendNumber(b []byte, name string, value uint64) []byte {
	b = append(b, ',', '"')
	b = append(b, name...)
	b = append(b, '"', ':')
	return strconv.AppendUint(b, value, 10)
}

// appendText appends s as a JSON string. Names in a store are valid UTF-8 without control characters, but extension
// keys may be any bytes: those that are not UTF-8 come out as U+FFFD.
func appendText(b []byte, s string) []byte {
	b = append(b, '"')
	from := 0
	for i := 0; i < len(s); {
		if c := s[i]; c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			b = append(append(b, s[from:i]...), `\ufffd`...)
		case r == '"' || r == '\\':
			b = append(append(b, s[from:i]...), '\\', byte(r))
		case r < ' ' || r == '\u2028' || r == '\u2029':
			b = append(b, s[from:i]...)
			b = fmt.Appendf(b, `\u%04x`, r)
		default:
			i += n
			continue
		}
		i += n
		from = i
	}
	b = append(b, s[from:]...)
	return append(b, '"')
}
