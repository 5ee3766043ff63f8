//go:build planted

package batpak

// Abandon ends what s does in the background. It is for a store that a planted bug has made panic: it does not close.
func (s *Store) Abandon() {
	s.background.cancel()
	s.background.wg.Wait()
}
