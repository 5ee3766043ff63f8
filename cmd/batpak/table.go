package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// A table prints rows in aligned columns, two spaces apart. The zero table is empty.
type table struct {
	rows  [][]string
	right map[int]bool // columns of numbers, aligned to the right
}

// numbers says which columns are aligned to the right.
func (t *table) numbers(columns ...int) {
	t.right = make(map[int]bool)
	for _, c := range columns {
		t.right[c] = true
	}
}

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

// print writes the rows. The last cell of a row is not padded.
func (t *table) print(w io.Writer) {
	var widths []int
	for _, row := range t.rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range t.rows {
		var b strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			switch {
			case t.right[i]:
				cell = pad + cell
			case i < len(row)-1:
				cell += pad
			}
			if i > 0 {
				b.WriteString("  ")
			}
			b.WriteString(cell)
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}

// count returns n with a comma before every three digits.
func count[T ~int | ~int64 | ~uint64](n T) string {
	s := strconv.FormatInt(int64(n), 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// plural returns "1 event" or "2 events".
func plural[T ~int | ~int64 | ~uint64](n T, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return count(n) + " " + noun + "s"
}

// byteCount returns n in the largest binary unit that leaves at least 1.
func byteCount(n int64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	f, unit := float64(n), 0
	for f >= 1<<10 && unit < len(byteUnits) {
		f, unit = f/(1<<10), unit+1
	}
	return fmt.Sprintf("%.1f %s", f, byteUnits[unit-1])
}

var byteUnits = []string{"KiB", "MiB", "GiB", "TiB", "PiB"}

// rate returns n per second of d, as "12,345".
func rate(n int64, d time.Duration) string {
	return count(int64(float64(n) / max(d.Seconds(), 1e-9)))
}

// short rounds a duration to three or four digits.
func short(d time.Duration) string {
	unit := time.Nanosecond
	for d/unit >= 10_000 {
		unit *= 10
	}
	return d.Round(unit).String()
}
