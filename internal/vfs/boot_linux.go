package vfs

import (
	"hash/fnv"
	"os"
	"sync"
)

// BootID returns a number for the running system since it was started, 0 when there is none. As long as it is the same, a
// file reads as it was written, synced or not, unless the disk failed.
var BootID = sync.OnceValue(func() uint64 {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil || len(b) == 0 {
		return 0
	}
	h := fnv.New64a()
	h.Write(b)
	return h.Sum64()
})
