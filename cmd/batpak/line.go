package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"batpak"
	"batpak/coordinate"
	"batpak/event"
)

// A line is one line of input: a draft, or why it is none.
type line struct {
	number int      // from 1
	size   int      // bytes
	origin event.ID // the "id" that read printed; zero when there was none
	draft  batpak.Draft
	err    error
}

// A lineParser gathers the fields of one line.
type lineParser struct {
	line
	entity, scope string
	payload       string // the field that gave the payload
}

// lineFields says what is done with every field that a line may have. The package comment is the list for people.
var lineFields = map[string]func(p *lineParser, value []byte) error{
	"entity":         func(p *lineParser, v []byte) error { return setText(&p.entity, v) },
	"scope":          func(p *lineParser, v []byte) error { return setText(&p.scope, v) },
	"kind":           (*lineParser).setKind,
	"payload":        (*lineParser).setPayload,
	"payload_base64": (*lineParser).setBase64,

	"payload_version": func(p *lineParser, v []byte) error { return setNumber(&p.draft.PayloadVersion, v) },
	"lane":            func(p *lineParser, v []byte) error { return setNumber(&p.draft.Lane, v) },
	"depth":           func(p *lineParser, v []byte) error { return setNumber(&p.draft.Depth, v) },
	"fork":            func(p *lineParser, v []byte) error { return setID(&p.draft.Fork, v) },
	"tags":            (*lineParser).setTags,
	"correlation":     func(p *lineParser, v []byte) error { return setID(&p.draft.Correlation, v) },
	"causation":       func(p *lineParser, v []byte) error { return setID(&p.draft.Causation, v) },
	"extensions":      (*lineParser).setExtensions,
	"key":             (*lineParser).setKey,

	"id":       func(p *lineParser, v []byte) error { return setID(&p.origin, v) },
	"redacted": (*lineParser).setRedacted,
	"seq":      ignored, "clock": ignored, "time": ignored, "hlc": ignored, "hash": ignored,
}

func ignored(*lineParser, []byte) error { return nil }

// parseLine returns the line with that number and text. The draft's payload aliases text.
func parseLine(number int, text []byte) line {
	p := lineParser{line: line{number: number, size: len(text)}}
	p.err = p.parse(text)
	return p.line
}

// parse sets the fields of p from text.
//
// Errors: [errSyntax]; *[fieldError] wrapping [errUnknown], [errDuplicate], [errMissing], [errValue], [errRedacted],
// [event.ErrSyntax], [event.ErrKindReserved] or [coordinate.ErrInvalid].
func (p *lineParser) parse(text []byte) error {
	err := eachField(text, func(name string, value []byte) error {
		set, ok := lineFields[name]
		if !ok {
			return errUnknown
		}
		if name != "payload" && string(value) == "null" {
			return nil
		}
		return set(p, value)
	})
	if err != nil {
		return err
	}
	for _, required := range []struct {
		field string
		ok    bool
	}{
		{"entity", p.entity != ""},
		{"scope", p.scope != ""},
		{"kind", p.draft.Kind != 0},
		{"payload or payload_base64", p.payload != ""},
	} {
		if !required.ok {
			return &fieldError{required.field, errMissing}
		}
	}
	p.draft.Coordinate, err = coordinate.New(p.entity, p.scope)
	return err
}

func setText(dst *string, value []byte) error {
	s, err := decodeText(value)
	if err == nil && s == "" {
		err = fmt.Errorf("%w: empty", errValue)
	}
	*dst = s
	return err
}

func setNumber[T uint16 | uint32](dst *T, value []byte) error {
	if err := json.Unmarshal(value, dst); err != nil {
		return fmt.Errorf("%w: want a number from 0 to %d", errValue, ^T(0))
	}
	return nil
}

func setID(dst *event.ID, value []byte) error {
	s, err := decodeText(value)
	if err != nil {
		return err
	}
	*dst, err = event.ParseID(s)
	return err
}

func (p *lineParser) setKind(value []byte) error {
	s, err := decodeText(value)
	if err != nil {
		return err
	}
	k, err := event.ParseKind(s)
	if err != nil {
		return err
	}
	p.draft.Kind, err = event.NewKind(k.Category(), k.Number())
	return err
}

func (p *lineParser) setPayload(value []byte) error {
	if p.payload != "" {
		return fmt.Errorf("%w: beside %s", errDuplicate, p.payload)
	}
	p.payload, p.draft.Payload = "payload", value
	return nil
}

func (p *lineParser) setBase64(value []byte) error {
	if p.payload != "" {
		return fmt.Errorf("%w: beside %s", errDuplicate, p.payload)
	}
	var err error
	p.payload = "payload_base64"
	p.draft.Payload, err = decodeBase64(value)
	return err
}

func decodeBase64(value []byte) ([]byte, error) {
	s, err := decodeText(value)
	if err != nil {
		return nil, err
	}
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errValue, err)
	}
	return b, nil
}

func (p *lineParser) setTags(value []byte) error {
	var tags []json.RawMessage
	if err := json.Unmarshal(value, &tags); err != nil {
		return fmt.Errorf("%w: want an array of strings", errValue)
	}
	for _, raw := range tags {
		tag, err := decodeText(raw)
		if err != nil {
			return err
		}
		p.draft.Tags = append(p.draft.Tags, tag)
	}
	return nil
}

func (p *lineParser) setExtensions(value []byte) error {
	return eachField(value, func(name string, v []byte) error {
		b, err := decodeBase64(v)
		if err != nil {
			return err
		}
		if p.draft.Extensions == nil {
			p.draft.Extensions = make(map[string][]byte)
		}
		p.draft.Extensions[name] = b
		return nil
	})
}

func (p *lineParser) setKey(value []byte) error {
	var key string
	err := setText(&key, value)
	p.draft.IdempotencyKey = []byte(key)
	return err
}

func (p *lineParser) setRedacted(value []byte) error {
	if !bytes.Equal(value, []byte("false")) {
		return errRedacted
	}
	return nil
}
