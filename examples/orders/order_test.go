package main

import (
	"errors"
	"testing"
)

// tea is a small order.
var tea = Place{Customer: "ada", Lines: []Line{{Article: "tea", Quantity: 2, Cents: 450}}}

func TestDecide(t *testing.T) {
	placed, paid := Placed(tea), Paid{Cents: 900}
	tests := []struct {
		name    string
		history []any
		command Command
		want    any
		refused error
	}{
		{"a new order", nil, tea, placed, nil},
		{"the same order again", []any{placed}, tea, nil, errExists},
		{"nobody's order", nil, Place{Lines: tea.Lines}, nil, errInput},
		{"an empty order", nil, Place{Customer: "ada"}, nil, errInput},
		{"less than nothing", nil, Place{Customer: "ada", Lines: []Line{{"tea", -1, 450}}}, nil, errInput},
		{"paying", []any{placed}, Pay{900}, paid, nil},
		{"paying less", []any{placed}, Pay{899}, nil, errInput},
		{"paying twice", []any{placed, paid}, Pay{900}, nil, errState},
		{"paying nothing", nil, Pay{0}, nil, errNoOrder},
		{"shipping", []any{placed, paid}, Ship{"P-1"}, Shipped{"P-1"}, nil},
		{"shipping before payment", []any{placed}, Ship{"P-1"}, nil, errState},
		{"shipping without a parcel", []any{placed, paid}, Ship{}, nil, errInput},
		{"cancelling", []any{placed}, Cancel{"late"}, Cancelled{"late"}, nil},
		{"cancelling what was paid", []any{placed, paid}, Cancel{"late"}, Cancelled{"late"}, nil},
		{"cancelling what was shipped", []any{placed, paid, Shipped{"P-1"}}, Cancel{"late"}, nil, errState},
		{"cancelling twice", []any{placed, Cancelled{"late"}}, Cancel{"late"}, nil, errState},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var o Order
			for _, v := range tt.history {
				if err := o.apply(v); err != nil {
					t.Fatal(err)
				}
			}
			got, err := tt.command.decide(&o)
			if !errors.Is(err, tt.refused) {
				t.Fatalf("error %v, want %v", err, tt.refused)
			}
			if err == nil && !equal(got, tt.want) {
				t.Errorf("decided %+v, want %+v", got, tt.want)
			}
			if o.Version != uint64(len(tt.history)) {
				t.Errorf("a decision made version %d of %d", o.Version, len(tt.history))
			}
		})
	}
}
