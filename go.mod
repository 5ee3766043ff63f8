module batpak

go 1.26.0

require (
	github.com/klauspost/compress v1.20.3 // indirect
	golang.org/x/exp v0.0.0-20261014143641-f0251eb4aa3e // indirect
	golang.org/x/mod v0.42.0 // tests only: an RFC 6962 tree that shares no code with internal/merkle
	golang.org/x/sync v0.24.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
)
