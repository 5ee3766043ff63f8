package batpak

import (
	"strings"

	"batpak/coordinate"
	"batpak/event"
)

// names gives the names of borrowed events memory of their own, so that what is most often kept of an event, as the key
// of a map, may be kept without a copy. Names share small blocks: that takes one allocation for dozens of events, where a
// table of the names that are known takes longer than reading an event. The zero names is empty. Not safe for concurrent
// use.
type names struct {
	block         strings.Builder
	entity, scope string // of the event before
}

// nameBlock is the size of a block in bytes: whoever keeps one name of it keeps all of it.
const nameBlock = 512

// own replaces the strings of ev by such that stay. Its payload and extensions are left as they are.
func (n *names) own(ev *event.Event) {
	if entity := ev.Coordinate.Entity(); entity != n.entity {
		n.entity = n.copy(entity)
	}
	if scope := ev.Coordinate.Scope(); scope != n.scope {
		n.scope = n.copy(scope)
	}
	ev.Coordinate = coordinate.Stored(n.entity, n.scope)
	for i, tag := range ev.Tags {
		ev.Tags[i] = n.copy(tag)
	}
}

// copy returns a copy of name.
func (n *names) copy(name string) string {
	at := n.block.Len()
	if at+len(name) > n.block.Cap() {
		n.block.Reset()
		n.block.Grow(max(nameBlock, len(name)))
		at = 0
	}
	n.block.WriteString(name) // behind what was handed out, which stays as it is
	return n.block.String()[at:]
}
