package fault

import "sync"

// Func is an [Injector] made of a function, which must be safe for concurrent use.
type Func func(Site) error

// Hit calls f.
func (f Func) Hit(s Site) error { return f(s) }

// At returns an injector that fails the nth arrival at p, counted from 1, and no other. A nil err means
// [ErrInjected]. It is safe for concurrent use.
func At(p Point, n int, err error) Injector {
	return &nth{point: p, n: n, err: orInjected(err)}
}

// nth counts the arrivals at one point.
type nth struct {
	point Point
	n     int
	err   error

	mu   sync.Mutex
	seen int // arrivals so far; guarded by mu
}

func (i *nth) Hit(s Site) error {
	if s.Point != i.point {
		return nil
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.seen++
	if i.seen != i.n {
		return nil
	}
	return i.err
}

// Always returns an injector that fails every arrival at p. A nil err means [ErrInjected]. It is safe for
// concurrent use.
func Always(p Point, err error) Injector {
	err = orInjected(err)
	return Func(func(s Site) error {
		if s.Point != p {
			return nil
		}
		return err
	})
}

func orInjected(err error) error {
	if err == nil {
		return ErrInjected
	}
	return err
}

// A Counter counts the arrivals at each point and passes them on. The zero Counter counts and never fails.
// It is safe for concurrent use, and must not be copied.
type Counter struct {
	Next Injector // asked after counting; nil: never fails. Not to be changed once in use.

	mu     sync.Mutex
	counts [pointEnd]int // guarded by mu
	total  int           // guarded by mu
}

// Hit counts s and returns what c.Next says.
func (c *Counter) Hit(s Site) error {
	c.mu.Lock()
	c.total++
	if s.Point < pointEnd {
		c.counts[s.Point]++
	}
	c.mu.Unlock()
	if c.Next == nil {
		return nil
	}
	return c.Next.Hit(s)
}

// Count returns how often p was reached.
func (c *Counter) Count(p Point) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p >= pointEnd {
		return 0
	}
	return c.counts[p]
}

// Total returns how often any point was reached.
func (c *Counter) Total() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.total
}
