package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"
)

// A cell is one figure: what people read, and what machines read.
type cell struct {
	text  string
	value any // nil means the text
}

func text(s string) cell { return cell{text: s} }

func number[T int | int64 | uint64](n T) cell { return cell{grouped(int64(n)), n} }

// float shows v by the format, for a figure with a unit.
func float(format string, v float64) cell { return cell{fmt.Sprintf(format, v), v} }

func mib(bytes int64) cell { return cell{fmt.Sprintf("%.2f MiB", float64(bytes)/(1<<20)), bytes} }

// grouped returns n with commas: 1,000,000.
func grouped(n int64) string {
	digits := fmt.Sprint(n)
	for at := len(digits) - 3; at > 0 && digits[at-1] != '-'; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return digits
}

// A table answers one question.
type table struct {
	title   string
	floor   string // what the figures are to be read beside
	columns []string
	rows    [][]cell
	notes   []string
}

func (t *table) row(cells ...cell) { t.rows = append(t.rows, cells) }

func (t *table) note(format string, args ...any) {
	t.notes = append(t.notes, fmt.Sprintf(format, args...))
}

// print writes the table with aligned columns.
func (t *table) print(w io.Writer) {
	width := make([]int, len(t.columns))
	for i, name := range t.columns {
		width[i] = utf8.RuneCountInString(name)
	}
	for _, row := range t.rows {
		for i, c := range row {
			width[i] = max(width[i], utf8.RuneCountInString(c.text))
		}
	}
	line := func(text func(i int) string, n int) {
		var b strings.Builder
		for i := range n {
			s := text(i)
			b.WriteString(s + strings.Repeat(" ", width[i]-utf8.RuneCountInString(s)+2))
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
	fmt.Fprintf(w, "\n%s\nfloor: %s\n\n", t.title, t.floor)
	line(func(i int) string { return t.columns[i] }, len(t.columns))
	for _, row := range t.rows {
		line(func(i int) string { return row[i].text }, len(row))
	}
	for _, note := range t.notes {
		fmt.Fprintln(w, "* "+note)
	}
}

// MarshalJSON returns the rows as objects with the columns as names.
func (t *table) MarshalJSON() ([]byte, error) {
	rows := make([]map[string]any, len(t.rows))
	for i, row := range t.rows {
		rows[i] = make(map[string]any, len(row))
		for j, c := range row {
			rows[i][t.columns[j]] = c.value
			if c.value == nil {
				rows[i][t.columns[j]] = c.text
			}
		}
	}
	return json.Marshal(map[string]any{"title": t.title, "floor": t.floor, "rows": rows, "notes": t.notes})
}

// writeJSON writes all tables to a file.
func writeJSON(name string, tables []*table) error {
	b, err := json.MarshalIndent(tables, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(name, append(b, '\n'), 0o600)
}
