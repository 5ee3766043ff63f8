package batpak

import (
	"encoding/json"
	"fmt"
	"reflect"
	"runtime/debug"
)

// A Codec turns values of bound Go types into payloads and back. [JSON] is the default; [CodecOf] makes one of the two
// functions that packages for MessagePack, CBOR and the like have.
//
// A codec is called from many goroutines at once. What it panics with becomes a *[PanicError].
type Codec interface {
	// Name says in errors which codec failed.
	Name() string

	// Marshal returns the payload of v, a value of a bound type. Equal values should have equal bytes: a retry with a
	// known idempotency key is compared by its payload.
	Marshal(v any) ([]byte, error)

	// Unmarshal sets *v, which is zero and points to a value of the bound type; for a binding of a pointer type, as
	// generated protobuf messages have, v is such a pointer. It must not change data. What it keeps of data is valid as
	// long as the event's payload is: for a read that borrows, until the next step.
	Unmarshal(data []byte, v any) error
}

// JSON returns the codec of package encoding/json. Fields that it does not know are passed over, and fields that the
// payload lacks stay zero.
func JSON() Codec { return jsonCodec }

var jsonCodec = CodecOf("json", json.Marshal, json.Unmarshal)

// CodecOf returns a codec made of two functions:
//
//	batpak.CodecOf("cbor", cbor.Marshal, cbor.Unmarshal)
//
// It returns nil, which [Bind] refuses, where one of them is nil.
func CodecOf(name string, marshal func(v any) ([]byte, error), unmarshal func(data []byte, v any) error) Codec {
	if marshal == nil || unmarshal == nil {
		return nil
	}
	return &funcCodec{name, marshal, unmarshal}
}

type funcCodec struct {
	name      string
	marshal   func(v any) ([]byte, error)
	unmarshal func(data []byte, v any) error
}

func (c *funcCodec) Name() string                       { return c.name }
func (c *funcCodec) Marshal(v any) ([]byte, error)      { return c.marshal(v) }
func (c *funcCodec) Unmarshal(data []byte, v any) error { return c.unmarshal(data, v) }

// A PanicError is what a codec or an upcaster panicked with.
type PanicError struct {
	Value any
	Stack []byte // of the goroutine, as [debug.Stack] prints it
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Unwrap returns the value, if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// rescue makes a panic of the function that defers it the function's error.
func rescue(err *error) {
	if v := recover(); v != nil {
		*err = &PanicError{Value: v, Stack: debug.Stack()}
	}
}

// nameOf returns the name of c for an error, its Go type if c panics here, too.
func nameOf(c Codec) (name string) {
	defer func() {
		if recover() != nil {
			name = fmt.Sprintf("%T", c)
		}
	}()
	return c.Name()
}

// marshal calls c.
func marshal(c Codec, v any) (data []byte, err error) {
	defer rescue(&err)
	return c.Marshal(v)
}

// unmarshal calls c for a T. elem is what T points to, or nil when it is no pointer type.
func unmarshal[T any](c Codec, elem reflect.Type, data []byte) (v T, err error) {
	defer rescue(&err)
	if elem != nil {
		v = reflect.New(elem).Interface().(T)
		return v, c.Unmarshal(data, v)
	}
	// Not one T for all events: a value may refer to itself, and must not change under whoever holds an earlier one.
	p := new(T)
	err = c.Unmarshal(data, p)
	return *p, err
}

// pointee returns what t points to, or nil when it is no pointer type.
func pointee(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Pointer {
		return t.Elem()
	}
	return nil
}
