package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestPercentile(t *testing.T) {
	hundred := make(sample, 100)
	for i := range hundred {
		hundred[i] = time.Duration(100 - i)
	}
	for _, tt := range []struct {
		name string
		in   sample
		p    float64
		want time.Duration
	}{
		{"empty", nil, 50, 0},
		{"one", sample{7}, 99, 7},
		{"odd", sample{3, 1, 2}, 50, 2},
		{"even takes the lower", sample{4, 1, 3, 2}, 50, 2},
		{"p99 of 100", hundred, 99, 99},
		{"p100", hundred, 100, 100},
		{"p0 is the least", hundred, 0, 1},
	} {
		if got := tt.in.percentile(tt.p); got != tt.want {
			t.Errorf("%s: percentile(%v) = %d, want %d", tt.name, tt.p, got, tt.want)
		}
	}
	if hundred[0] != 100 {
		t.Error("percentile sorts its receiver")
	}
}

func TestShort(t *testing.T) {
	for in, want := range map[time.Duration]string{
		0: "0 ns", 950: "950 ns", 9999: "9999 ns", 12_345: "12.3 µs", 123_456: "123 µs", 1_234_567: "1.23 ms",
		45_600_000: "45.6 ms", 2 * time.Second: "2.00 s", 150 * time.Second: "150 s",
	} {
		if got := short(in); got != want {
			t.Errorf("short(%d) = %q, want %q", in, got, want)
		}
	}
}

func TestGrouped(t *testing.T) {
	for in, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 10_000_000: "10,000,000", -1234: "-1,234", -123: "-123"} {
		if got := grouped(in); got != want {
			t.Errorf("grouped(%d) = %q, want %q", in, got, want)
		}
	}
}

func TestTable(t *testing.T) {
	tab := &table{title: "T", floor: "none", columns: []string{"events", "open"}}
	tab.row(number(10_000), sample{1000, 3000, 2000}.cell())
	tab.row(number(5), ratio(3*time.Second, 2*time.Second))
	tab.row(text("µ"), ratio(1, 0))
	var b strings.Builder
	tab.print(&b)
	want := "\nT\nfloor: none\n\nevents  open\n10,000  2000 ns (1000 ns–3000 ns)\n5       1.50×\nµ       -\n"
	if b.String() != want {
		t.Errorf("table is\n%q, want\n%q", b.String(), want)
	}
	out, err := json.Marshal(tab)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`"events":10000`, `"median_ns":2000`, `"open":1.5`, `"open":"-"`} {
		if !strings.Contains(string(out), part) {
			t.Errorf("JSON %s lacks %s", out, part)
		}
	}
}
