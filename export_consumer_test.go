package batpak

import "batpak/internal/cursors"

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
