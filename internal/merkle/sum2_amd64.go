//go:build !purego

package merkle

import "batpak/event"

// twoAtOnce says that sum2 works on this machine.
var twoAtOnce = hasSHA()

// hasSHA reports whether the processor has the SHA extensions, and what sum2 needs beside them.
func hasSHA() bool

// sum2 writes the SHA-256 of two messages to out. Each is padded already (FIPS 180-4 §5.1.1), to blocks of 64 bytes.
//
//go:noescape
func sum2(out *[2]event.Hash, a, b *byte, blocks int)
