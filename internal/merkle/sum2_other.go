//go:build !amd64 || purego

package merkle

import "batpak/event"

// twoAtOnce says that sum2 works on this machine.
const twoAtOnce = false

func sum2(*[2]event.Hash, *byte, *byte, int) { panic("merkle: sum2 without the SHA extensions") }
