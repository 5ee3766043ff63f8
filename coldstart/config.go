package coldstart

import (
	"crypto/rand"
	"io/fs"
	"log/slog"
	"time"

	"batpak/fault"
	"batpak/idemp"
	"batpak/internal/vfs"
	"batpak/segment"
)

// A Config says how to open a directory. Zero fields have the defaults named at each.
type Config struct {
	FS       vfs.FS      // nil means the operating system's
	Dir      string      // path of the directory; made when missing, unless ReadOnly
	DirPerm  fs.FileMode // zero means 0700
	FilePerm fs.FileMode // zero means 0600

	// ReadOnly takes no lock and writes nothing.
	ReadOnly bool

	SegmentSize int64 // bytes at which a segment is sealed; zero means segment.MinSize
	FillAhead   int64 // bytes of zeroes kept ready behind the last frame; 0 and below mean none

	// IndexEvery is how many bytes an index block is to cover: blocks that cover less, since the store was closed, are
	// taken in by later ones. Zero means 2 MiB.
	IndexEvery int64

	// NoSnapshot and NoCheckpoint neither read nor write the artifact.
	NoSnapshot, NoCheckpoint bool

	// Relaxed announces a writer that acknowledges before it syncs.
	Relaxed bool

	Now    func() time.Time // nil means time.Now
	Random func([]byte)     // fills its argument with random bytes; nil means crypto/rand
	Hook   fault.Hook

	// ExpectHead is an event that the log must hold; nil means no check.
	ExpectHead *Head

	// IdempotencyWindow is how many sequences an idempotency key is kept for when compaction evicts its event. Zero
	// means idemp.DefaultWindow.
	IdempotencyWindow uint64

	// ContinueWithoutIdemp opens a store whose file of evicted idempotency keys is damaged: retries under such keys
	// are then written again. The zero value refuses.
	ContinueWithoutIdemp bool

	Logger   *slog.Logger   // takes what no caller can be given; nil discards
	Progress func(Progress) // called after each segment, one call at a time, which the open waits for; nil means nobody listens
}

// withDefaults returns a copy of c with every zero field set.
func (c Config) withDefaults() Config {
	if c.FS == nil {
		c.FS = vfs.OS
	}
	if c.SegmentSize == 0 {
		c.SegmentSize = segment.MinSize
	}
	if c.IndexEvery == 0 {
		c.IndexEvery = 2 << 20
	}
	if c.IdempotencyWindow == 0 {
		c.IdempotencyWindow = idemp.DefaultWindow
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Random == nil {
		c.Random = func(b []byte) { rand.Read(b) }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.FillAhead = max(c.FillAhead, 0)
	return c
}
