//go:build !purego

package merkle

import (
	"crypto/fips140"

	"batpak/event"
)

// twoAtOnce says that sum2 works on this machine, and may be used: where FIPS 140-3 is asked for, only the library's own
// SHA-256 is.
var twoAtOnce = hasSHA() && !fips140.Enabled()

// hasSHA reports whether the processor has the SHA extensions, and what sum2 needs beside them.
func hasSHA() bool

// sum2 writes the SHA-256 of two messages to out. Each is padded already (FIPS 180-4 §5.1.1), to blocks of 64 bytes.
//
//go:noescape
func sum2(out *[2]event.Hash, a, b *byte, blocks int)
