package batpak

import (
	"errors"
	"fmt"

	"batpak/internal/receipt"
)

// ErrReceipt is what every *[ReceiptError] is.
var ErrReceipt = errors.New("batpak: receipt does not hold")

// What can be wrong with a receipt: a *[ReceiptError] is one of these, and never two.
var (
	ErrReceiptFormat   = errors.New("not a receipt")
	ErrReceiptFuture   = errors.New("receipt of a newer version")
	ErrReceiptMismatch = errors.New("field differs")
	ErrReceiptForeign  = errors.New("receipt of another store")

	ErrReceiptMissing = errors.New("the log has no such event")
	ErrReceiptHidden  = errors.New("the event is hidden")
	ErrReceiptEvicted = errors.New("the event has been evicted from the log")

	ErrReceiptUnsigned   = errors.New("receipt is not signed")
	ErrReceiptUnknownKey = errors.New("receipt is signed with an unknown key")
	ErrReceiptWrongKey   = errors.New("receipt is signed with another key than it says")
	ErrReceiptSignature  = errors.New("signature does not hold")
)

// ErrNoSigningKey says that a signature was asked for and Options.SigningKeys is empty.
var ErrNoSigningKey = errors.New("batpak: no signing key")

// A ReceiptError says what is wrong with a receipt.
type ReceiptError struct {
	Field string // of Receipt, or of its Header; the first in their order that is wrong. Empty: the whole
	Want  any    // what the log, or the other fields, say; nil when nothing was compared
	Have  any    // what the receipt says; nil when nothing was compared
	Err   error  // one of the ErrReceipt… conditions
	Cause error  // more about it; may be nil
}

func (e *ReceiptError) Error() string {
	text := ErrReceipt.Error() + ": "
	if e.Field != "" {
		text += e.Field + ": "
	}
	text += e.Err.Error()
	if e.Want != nil || e.Have != nil {
		text += fmt.Sprintf(": want %v, have %v", e.Want, e.Have)
	}
	if e.Cause != nil {
		text += ": " + e.Cause.Error()
	}
	return text
}

// Unwrap returns [ErrReceipt], the condition and the cause.
func (e *ReceiptError) Unwrap() []error {
	all := []error{ErrReceipt, e.Err}
	if e.Cause != nil {
		all = append(all, e.Cause)
	}
	return all
}

// mismatch returns an error when want and have differ.
func mismatch[T comparable](field string, want, have T) error {
	if want == have {
		return nil
	}
	return &ReceiptError{Field: field, Want: want, Have: have, Err: ErrReceiptMismatch}
}

// receiptForm tells what a decoder found.
func receiptForm(err error) error {
	if errors.Is(err, receipt.ErrFuture) {
		return &ReceiptError{Err: ErrReceiptFuture, Cause: err}
	}
	return &ReceiptError{Err: ErrReceiptFormat, Cause: err}
}
