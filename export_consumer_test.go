package batpak

import (
	"context"

	"batpak/event"
	"batpak/internal/cursors"
)

// DecodePosition returns the position of a record's payload, and the payload of that.
func DecodePosition(payload []byte) (Position, []byte, error) {
	p, err := decodePosition(payload)
	return Position(p), positionDraft("c", cursors.Position(p)).Payload, err
}

// OpenCursors asks for the directory of positions.
func (s *Store) OpenCursors() error {
	_, err := s.cursorDir()
	return err
}

// AppendRecord appends what another version might have written of a consumer.
func (s *Store) AppendRecord(kind event.Kind, name, payload string) error {
	d := recordDraft(consumerEntity(name), kind, nil)
	if kind == KindConsumer {
		d = recordDraft(ConsumersEntity, kind, nil)
		d.Tags = []string{name}
	}
	d.Payload = []byte(payload)
	_, err := s.Append(context.Background(), d)
	return err
}
