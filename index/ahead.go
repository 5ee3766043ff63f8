package index

// An ahead is where the next few events stand that lists and columns let pass. They are looked up together, and what is
// about to be read of them is fetched together: of events that lie far apart, waiting for memory is most of what reading
// them costs.
type ahead struct {
	rows   [aheadMost]uint32
	places [aheadMost]place
	at, n  int // places [at, n) are left
	size   int // of the last batch: they grow, so that a short read stays short
	end    bool
	err    error // what comes behind the places
	fetch  byte  // sum of what was touched: nothing, but the compiler does not know
}

const aheadMost = 32

// lookAhead fills c.ahead, which is used up, and reports whether anything is in it.
func (c *Cursor) lookAhead() (bool, error) {
	a := &c.ahead
	if a.at, a.n = 0, 0; a.end {
		return false, a.err
	}
	a.size = min(2*a.size+1, aheadMost)
	n := 0
	for ; n < a.size; n++ {
		row, ok, err := c.nextRow()
		if err != nil || !ok {
			a.err, a.end = err, true
			break
		}
		a.rows[n] = row
	}
	a.fetch += c.plan.table.touch(a.rows[:n])
	for _, row := range a.rows[:n] {
		p, err := c.plan.table.place(row)
		if err != nil {
			a.err, a.end = err, true
			break
		}
		a.places[a.n] = p
		a.n++
	}
	if a.n > 1 {
		a.fetch += c.win.touch(&c.frames, a.places[:a.n])
	}
	return a.n > 0, a.err
}

// touch fetches the frames that the window does not hold.
func (w *window) touch(f *frames, places []place) (sum byte) {
	if f.m == nil {
		return 0
	}
	for _, p := range places {
		if !w.holds(p) {
			sum += f.m.Touch(int64(p.offset), int(min(p.length, touchMost)))
		}
	}
	return sum
}

// touch fetches the frames at places.
func (f *frames) touch(places []place) (sum byte) {
	if f.m == nil {
		return 0
	}
	for _, p := range places {
		sum += f.m.Touch(int64(p.offset), int(min(p.length, touchMost)))
	}
	return sum
}

// touchMost is how much of a frame is fetched ahead: of a large one, the copy itself fetches the rest.
const touchMost = 1 << 10
