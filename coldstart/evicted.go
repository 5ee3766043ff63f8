package coldstart

import (
	"errors"
	"sync"
	"sync/atomic"

	"batpak/idemp"
)

// evictedKeys is the table of the idempotency keys that a compaction has moved out of the log. A compaction replaces it
// while keys are looked up. Safe for concurrent use; the zero value is empty.
type evictedKeys struct {
	some  atomic.Bool  // table is not nil: spares everyone else the lock
	mu    sync.RWMutex // read-held while table is searched
	table *idemp.Table
	told  atomic.Bool // somebody was told of a damaged page
}

// use makes t the table from now on and returns the one so far; nil is none.
func (k *evictedKeys) use(t *idemp.Table) (before *idemp.Table) {
	k.mu.Lock()
	defer k.mu.Unlock()
	before, k.table = k.table, t
	k.some.Store(t != nil)
	return before
}

func (k *evictedKeys) close() error {
	if before := k.use(nil); before != nil {
		return before.Close()
	}
	return nil
}

// HasEvictedKeys reports whether [State.EvictedKey] may know any key. Safe for concurrent use.
func (s *State) HasEvictedKeys() bool { return s.evicted.some.Load() }

// EvictedKey returns what became of the request that used an idempotency key, where the log alone cannot tell: its event
// is gone, or the one before it on its stream, so that only the entry knows the hash of that. An entry's event may be
// hidden: that is for the caller to look at. Safe for concurrent use.
//
// Errors: *[idemp.FileError] with [idemp.ErrDamaged] for a damaged page, unless Config.ContinueWithoutIdemp accepts that
// its keys are unknown; I/O errors.
func (s *State) EvictedKey(hash [16]byte) (e idemp.Entry, ok bool, err error) {
	k := &s.evicted
	if !k.some.Load() {
		return e, false, nil
	}
	k.mu.RLock()
	if k.table != nil {
		e, ok, err = k.table.Find(hash)
	}
	k.mu.RUnlock()
	if errors.Is(err, idemp.ErrDamaged) && s.cfg.ContinueWithoutIdemp {
		if k.told.CompareAndSwap(false, true) {
			s.cfg.Logger.Error("idempotency keys of evicted events are damaged, and not known any more", "found", err)
		}
		return idemp.Entry{}, false, nil
	}
	return e, ok, err
}
