// The benchmark is a module of its own, so that the stores it compares with never enter the library's go.mod.
module batpak/bench

go 1.26.0

require (
	batpak v0.0.0
	go.etcd.io/bbolt v1.5.0 // peer: the key-value file that Go services embed
	golang.org/x/sync v0.24.0 // errgroup: floors use both cores, as the store does
	golang.org/x/sys v0.49.0 // floors and the page cache: mmap, fadvise, getrusage; package syscall is frozen
	modernc.org/sqlite v1.61.1 // peer: SQLite without cgo
)

require (
	github.com/dustin/go-humanize v1.1.0 // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/klauspost/compress v1.20.3 // indirect
	github.com/mattn/go-isatty v0.0.24 // indirect
	github.com/ncruces/go-strftime v1.1.0 // indirect
	github.com/remyoudompheng/bigfft v0.0.0-20230129092748-24d4a6f8daec // indirect
	golang.org/x/exp v0.0.0-20261014143641-f0251eb4aa3e // indirect
	modernc.org/libc v1.79.0 // indirect
	modernc.org/mathutil v1.7.1 // indirect
	modernc.org/memory v1.12.1 // indirect
)

replace batpak => ../
