//go:build !race

package batpak_test

// racing: the race detector watches, and everything takes ten times as long.
const racing = false
