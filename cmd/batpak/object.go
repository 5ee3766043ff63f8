package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Why a line is refused, beside what the store itself refuses.
var (
	errSyntax    = errors.New("not a JSON object")
	errUnknown   = errors.New("unknown field")
	errDuplicate = errors.New("field given twice")
	errMissing   = errors.New("field is missing")
	errValue     = errors.New("value does not fit")
	errRedacted  = errors.New("payload was redacted, there is nothing to copy")
	errTooLong   = errors.New("line is too long")
)

// A fieldError says which field of a line is wrong.
type fieldError struct {
	Field string
	Err   error
}

func (e *fieldError) Error() string { return fmt.Sprintf("%s: %v", e.Field, e.Err) }
func (e *fieldError) Unwrap() error { return e.Err }

// eachField calls visit with the fields of a JSON object in their order; value is the text of the value as it stands,
// without the blanks around it, and aliases text. encoding/json alone would take "Entity" for "entity", and the last
// one of two.
//
// Errors: [errSyntax]; *[fieldError] with [errDuplicate] or what visit returned.
func eachField(text []byte, visit func(name string, value []byte) error) error {
	if !json.Valid(text) {
		var whole json.RawMessage
		return fmt.Errorf("%w: %w", errSyntax, json.Unmarshal(text, &whole)) // says where
	}
	b := bytes.TrimLeft(text, blanks)
	if b[0] != '{' {
		return errSyntax
	}
	seen := make([]string, 0, 16) // searched from end to end: objects are small
	for b = after(b, 1); b[0] != '}'; {
		end := valueEnd(b)
		name, err := decodeText(b[:end])
		if err != nil {
			return &fieldError{string(b[:end]), err}
		}
		b = after(b, end)
		b = after(b, 1) // the colon
		end = valueEnd(b)
		if slices.Contains(seen, name) {
			return &fieldError{name, errDuplicate}
		}
		if seen = append(seen, name); len(seen) > maxFields {
			return fmt.Errorf("%w: over %d fields", errValue, maxFields)
		}
		if err := visit(name, b[:end:end]); err != nil {
			return &fieldError{name, err}
		}
		if b = after(b, end); b[0] == ',' {
			b = after(b, 1)
		}
	}
	return nil
}

// maxFields bounds the fields of an object: more than a line or the extensions of an event can have.
const maxFields = 100

const blanks = " \t\r\n"

// after returns what follows the first n bytes of b and the blanks behind them.
func after(b []byte, n int) []byte { return bytes.TrimLeft(b[n:], blanks) }

// valueEnd returns the length of the JSON value at the start of b, which is known to be valid.
func valueEnd(b []byte) int {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			i += stringEnd(b[i:]) - 1
			if depth == 0 {
				return i + 1
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
			if depth < 0 {
				return i // a number or a word, ended by what it stands in
			}
		case ',', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return i
			}
		}
	}
	return len(b)
}

// stringEnd returns the length of the JSON string at the start of b, which is known to be valid.
func stringEnd(b []byte) int {
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(b)
}

// decodeText decodes a JSON string, and refuses what encoding/json would replace: bytes that are not UTF-8 and halves
// of surrogate pairs.
//
// Errors: [errValue].
func decodeText(value []byte) (string, error) {
	var s string
	if len(value) == 0 || value[0] != '"' {
		return "", fmt.Errorf("%w: want a string", errValue)
	}
	if !utf8.Valid(value) {
		return "", fmt.Errorf("%w: not UTF-8", errValue)
	}
	if bytes.IndexByte(value, '\\') < 0 {
		return string(value[1 : len(value)-1]), nil // most are spelled as they are
	}
	if err := json.Unmarshal(value, &s); err != nil {
		return "", fmt.Errorf("%w: %w", errValue, err)
	}
	spelled := bytes.ContainsRune(value, utf8.RuneError) || bytes.Contains(bytes.ToLower(value), []byte(`\ufffd`))
	if !spelled && strings.ContainsRune(s, utf8.RuneError) {
		return "", fmt.Errorf("%w: half of a surrogate pair", errValue)
	}
	return s, nil
}
