// Package archtest holds no code: its tests keep the shape of the module. What a package may import, how long a
// function may be, what a name may say, and that a normal build has nothing of the fault injector in it.
//
//	go test ./internal/archtest
package archtest
