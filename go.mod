module batpak

go 1.26.0

require (
	github.com/anishathalye/porcupine v1.3.1 // tests only: is there an order of concurrent calls that explains what they returned?
	github.com/klauspost/compress v1.20.3 // zstd: the checkpoint is a compressed image
	go.uber.org/goleak v1.3.0 // tests only: no goroutine outlives a closed store
	golang.org/x/exp v0.0.0-20261014143641-f0251eb4aa3e // mmap: sealed segments are read through it, where the system is not Linux (internal/vfs/mapping_linux.go)
	golang.org/x/mod v0.42.0 // tests only: an RFC 6962 tree that shares no code with internal/merkle
	golang.org/x/sync v0.24.0 // errgroup: segments are opened in parallel
	golang.org/x/sys v0.49.0 // flock and its like, fdatasync: package syscall is frozen
	pgregory.net/rapid v1.3.0 // tests only: random calls against a model, made small when they fail
)
