package vfs

import (
	"cmp"
	"crypto/sha256"
	"math/rand/v2"
	"slices"
	"strconv"
)

// maxDirSubset is the largest number of directory ops of which every subset is tried.
const maxDirSubset = 8

// An enumerator yields the crash states of one disk. It is used once, by one goroutine.
type enumerator struct {
	disk    *disk
	opts    StateOptions
	yield   func(State) bool
	seen    map[[sha256.Size]byte]bool
	prefix  string // of names
	suffix  string // of names
	seed    uint64
	memMode MemMode

	doubt  []*rec // by slot: every op that is not durable, in trace order
	files  []int  // slots of writes and truncates that may be kept or lost
	dirs   []int  // slots of directory ops that may be kept or lost
	failed []int  // slots of ops dropped by a failed sync
	fates  []fate // by slot; of the state being made
	done   bool   // the consumer has had enough
}

func newEnumerator(d *disk, o StateOptions, yield func(State) bool) *enumerator {
	e := &enumerator{disk: d, opts: o, yield: yield, seen: o.Seen}
	if e.seen == nil {
		e.seen = map[[sha256.Size]byte]bool{}
	}
	e.collect()
	e.fates = make([]fate, len(e.doubt))
	return e
}

// collect finds the ops in doubt that can make a difference, and numbers them.
func (e *enumerator) collect() {
	reachable := map[uint64]bool{}
	for _, dir := range e.disk.dirs {
		for _, id := range dir.entries {
			reachable[id] = true
		}
		for i := range dir.log {
			reachable[dir.log[i].op.Inode] = true
		}
		e.add(dir.log)
	}
	for id, n := range e.disk.nodes {
		if reachable[id] {
			e.add(n.log)
		}
	}
	slices.SortFunc(e.doubt, func(a, b *rec) int { return cmp.Compare(a.op.Index, b.op.Index) })
	for slot, r := range e.doubt {
		r.slot = slot
		switch {
		case e.isSettled(r):
		case r.state == recDropped:
			e.failed = append(e.failed, slot)
		case r.op.Kind == OpWrite || r.op.Kind == OpTruncate:
			e.files = append(e.files, slot)
		default:
			e.dirs = append(e.dirs, slot)
		}
	}
}

func (e *enumerator) add(log []rec) {
	for i := range log {
		if log[i].state != recDurable {
			e.doubt = append(e.doubt, &log[i])
		}
	}
}

func (e *enumerator) isSettled(r *rec) bool {
	return e.opts.Settled != nil && e.opts.Settled(r.op.Name)
}

func (e *enumerator) run() {
	for _, step := range []func(){
		e.whole, e.failedSyncs, e.single, e.torn, e.filled, e.dirSubsets, e.random,
	} {
		if !e.done {
			step()
		}
	}
}

// reset gives file ops and directory ops one fate each. Ops of failed syncs are lost, settled ones kept.
func (e *enumerator) reset(files, dirs fateKind) {
	for slot, r := range e.doubt {
		e.fates[slot] = fate{}
		if e.isSettled(r) {
			e.fates[slot].kind = fateKept
		}
	}
	e.set(e.files, files)
	e.set(e.dirs, dirs)
}

func (e *enumerator) set(slots []int, kind fateKind) {
	for _, slot := range slots {
		e.fates[slot] = fate{kind: kind, seed: e.seed + uint64(slot)}
	}
}

// emit yields the state of the present fates, unless it was there before.
func (e *enumerator) emit(mode string) {
	if e.done {
		return
	}
	img := e.disk.build(e.fates, e.opts.SpareOverwrites)
	sum := img.hash()
	if e.seen[sum] {
		return
	}
	e.seen[sum] = true
	s := State{Name: e.prefix + mode + e.suffix, img: img, sum: sum, mode: e.memMode}
	e.done = !e.yield(s)
}

// label returns mode-N for the op in a slot.
func (e *enumerator) label(mode string, slot int) string {
	return mode + "-" + strconv.Itoa(e.doubt[slot].op.Index)
}

// whole yields what needs no choice.
func (e *enumerator) whole() {
	e.reset(fateLost, fateLost)
	e.emit("synced")
	e.reset(fateKept, fateKept)
	e.emit("all")
	e.reset(fateLost, fateKept)
	e.emit("names")
	e.reset(fateKept, fateLost)
	e.emit("data")
}

// failedSyncs yields the states in which a failed sync had saved everything after all.
func (e *enumerator) failedSyncs() {
	if len(e.failed) == 0 {
		return
	}
	e.reset(fateKept, fateKept)
	e.set(e.failed, fateKept)
	e.emit("failed-all")
	e.reset(fateLost, fateLost)
	e.set(e.failed, fateKept)
	e.emit("failed-only")
}

// last returns the slots that get states of their own.
func (e *enumerator) last(slots []int) []int {
	return slots[max(0, len(slots)-e.opts.MaxEach):]
}

func (e *enumerator) single() {
	for _, slot := range e.last(e.files) {
		e.dropAndKeep(slot)
		e.reset(fateLost, fateKept)
		e.fates[slot].kind = fateKept
		e.emit(e.label("only", slot) + "-named")
	}
	for _, slot := range e.last(e.dirs) {
		e.dropAndKeep(slot)
		e.reset(fateKept, fateLost)
		e.fates[slot].kind = fateKept
		e.emit(e.label("only", slot) + "-filled")
	}
}

func (e *enumerator) dropAndKeep(slot int) {
	e.reset(fateKept, fateKept)
	e.fates[slot].kind = fateLost
	e.emit(e.label("drop", slot))
	e.reset(fateLost, fateLost)
	e.fates[slot].kind = fateKept
	e.emit(e.label("only", slot))
}

// writes returns the writes among the slots that get states of their own.
func (e *enumerator) writes() []int {
	var slots []int
	for _, slot := range e.last(e.files) {
		if e.doubt[slot].op.Kind == OpWrite {
			slots = append(slots, slot)
		}
	}
	return slots
}

func (e *enumerator) torn() {
	for _, slot := range e.writes() {
		op := e.doubt[slot].op
		for _, cut := range tornAt(op.Off, len(op.Data), e.opts.MaxTorn) {
			e.tear(slot, "torn", fate{kind: fateTorn, cut: cut})
		}
		for _, cut := range []int{headerCut, len(op.Data) / 2} {
			if cut < len(op.Data) {
				e.tear(slot, "tornz", fate{kind: fateTornZero, cut: cut})
			}
		}
	}
}

// tear yields two states in which the op has fate f: one with all others kept, one with later ones lost.
func (e *enumerator) tear(slot int, mode string, f fate) {
	name := e.label(mode, slot) + "@" + strconv.Itoa(f.cut)
	e.reset(fateKept, fateKept)
	e.fates[slot] = f
	e.emit(name)
	for _, later := range e.files {
		if later > slot {
			e.fates[later].kind = fateLost
		}
	}
	e.emit(name + "-end")
}

// headerCut is a cut inside or right behind the header of what is usually written.
const headerCut = 20

// tornAt returns at most limit places to cut a write of size bytes at off, in order and without
// duplicates. When there are more, it leaves out multiples of 512 and then of 4096, evenly.
func tornAt(off int64, size, limit int) []int {
	var cuts []int
	for _, cut := range []int{0, 1, headerCut, size / 2, size - 1} {
		if cut >= 0 && cut < size {
			cuts = append(cuts, cut)
		}
	}
	for _, step := range []int64{4096, 512} {
		var edges []int
		for cut := step - off%step; cut < int64(size); cut += step {
			edges = append(edges, int(cut))
		}
		room := max(0, limit-len(cuts))
		for i := range min(room, len(edges)) {
			cuts = append(cuts, edges[i*len(edges)/min(room, len(edges))])
		}
	}
	slices.Sort(cuts)
	return slices.Compact(cuts)
}

func (e *enumerator) filled() {
	for _, f := range []struct {
		name string
		kind fateKind
	}{{"zero", fateZero}, {"garbage", fateGarbage}} {
		for _, slot := range e.writes() {
			e.reset(fateKept, fateKept)
			e.set([]int{slot}, f.kind)
			e.emit(e.label(f.name, slot))
		}
		e.reset(f.kind, fateKept)
		e.emit(f.name + "-all")
	}
}

func (e *enumerator) dirSubsets() {
	n := len(e.dirs)
	if n > maxDirSubset {
		e.dirPairs()
		return
	}
	for set := range uint64(1) << n {
		e.dirSet("dirs-"+strconv.FormatUint(set, 16), func(i int) bool { return set>>i&1 == 1 })
	}
}

// dirPairs keeps and drops each pair of the last directory ops.
func (e *enumerator) dirPairs() {
	slots := e.last(e.dirs)
	skip := len(e.dirs) - len(slots)
	for a := range slots {
		for b := range a {
			pair := strconv.Itoa(e.doubt[slots[b]].op.Index) + "+" + strconv.Itoa(e.doubt[slots[a]].op.Index)
			in := func(i int) bool { return i == a+skip || i == b+skip }
			e.dirSet("dirs-"+pair, in)
			e.dirSet("dirs-not-"+pair, func(i int) bool { return !in(i) })
		}
	}
}

// dirSet yields two states that keep a set of the directory ops: one with all file ops, one with none.
func (e *enumerator) dirSet(name string, in func(i int) bool) {
	if e.done {
		return
	}
	for _, files := range []struct {
		kind   fateKind
		suffix string
	}{{fateKept, ""}, {fateLost, "-bare"}} {
		e.reset(files.kind, fateLost)
		for i, slot := range e.dirs {
			if in(i) {
				e.fates[slot].kind = fateKept
			}
		}
		e.emit(name + files.suffix)
	}
}

func (e *enumerator) random() {
	if len(e.files)+len(e.dirs)+len(e.failed) == 0 {
		return
	}
	for i := range e.opts.Random {
		rng := rand.New(rand.NewPCG(e.seed, uint64(i)))
		p := rng.Float64() // chance of being kept, another one for each state
		e.reset(fateLost, fateLost)
		for _, slot := range e.files {
			e.fates[slot] = randomFate(rng, p)
		}
		for _, slot := range e.dirs {
			e.fates[slot].kind = keepIf(rng.Float64() < p)
		}
		for _, slot := range e.failed {
			e.fates[slot].kind = keepIf(rng.IntN(4) == 0)
		}
		e.emit("rand-" + strconv.Itoa(i))
	}
}

// randomFate keeps or loses an op as a whole, or leaves it to each of its blocks.
func randomFate(rng *rand.Rand, p float64) fate {
	if rng.IntN(3) == 0 {
		return fate{kind: fateBlocks, seed: rng.Uint64()}
	}
	return fate{kind: keepIf(rng.Float64() < p)}
}

func keepIf(keep bool) fateKind {
	if keep {
		return fateKept
	}
	return fateLost
}
