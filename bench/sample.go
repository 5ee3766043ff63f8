package main

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// A sample is what repeated measurements of one thing gave.
type sample []time.Duration

// percentile returns the value that p of 100 values do not exceed (nearest rank). It is 0 for an empty sample.
func (s sample) percentile(p float64) time.Duration {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	rank := int(math.Ceil(p / 100 * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

func (s sample) median() time.Duration { return s.percentile(50) }

// cell shows the median, and the smallest and largest value behind it.
func (s sample) cell() cell {
	if len(s) == 0 {
		return text("-")
	}
	low, mid, high := slices.Min(s), s.median(), slices.Max(s)
	return cell{
		text: fmt.Sprintf("%s (%s–%s)", short(mid), short(low), short(high)),
		value: map[string]any{
			"median_ns": mid.Nanoseconds(), "min_ns": low.Nanoseconds(), "max_ns": high.Nanoseconds(), "runs": len(s),
		},
	}
}

// short returns d in a unit that fits it, with three digits.
func short(d time.Duration) string {
	unit, name := time.Second, "s"
	switch {
	case d < 10*time.Microsecond:
		unit, name = time.Nanosecond, "ns"
	case d < time.Millisecond:
		unit, name = time.Microsecond, "µs"
	case d < time.Second:
		unit, name = time.Millisecond, "ms"
	}
	v := float64(d) / float64(unit)
	digits := 0
	for limit := 100.0; v < limit && digits < 2 && unit != time.Nanosecond; limit /= 10 {
		digits++
	}
	return fmt.Sprintf("%.*f %s", digits, v, name)
}

// ratio returns a ÷ b as a cell, "-" when b is nothing.
func ratio(a, b time.Duration) cell {
	if a <= 0 || b <= 0 {
		return text("-")
	}
	r := float64(a) / float64(b)
	return cell{text: fmt.Sprintf("%.2f×", r), value: r}
}

// rate returns how many of n go into a second when all take d.
func rate(n float64, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return n / d.Seconds()
}
