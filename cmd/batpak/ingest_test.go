package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"batpak"
	"batpak/coordinate"
	"batpak/event"
)

const goodLine = `{"entity":"e","scope":"s","kind":"1:7","payload":{"n": 1}}`

func TestParseLine(t *testing.T) {
	const head = `{"entity":"e","scope":"s","kind":"1:7",`
	for _, tt := range []struct {
		name string
		text string
		want error
	}{
		{"good", goodLine, nil},
		{"blanks around", " \t" + goodLine + " \r\n", nil},
		{"escaped name", `{"\u0065ntity":"e","scope":"s","kind":"1:7","payload":1}`, nil},
		{"null is absent", head + `"payload":1,"lane":null,"key":null,"tags":null}`, nil},
		{"null payload", head + `"payload":null}`, nil},
		{"what read prints", head + `"payload":1,"seq":5,"clock":1,"time":"x","hlc":"x","hash":"x","redacted":false}`, nil},
		{"replacement character", `{"entity":"\ufffd","scope":"s","kind":"1:7","payload":1}`, nil},

		{"empty object", `{}`, errMissing},
		{"not JSON", `entity=e`, errSyntax},
		{"cut", goodLine[:len(goodLine)-1], errSyntax},
		{"two objects", goodLine + goodLine, errSyntax},
		{"array", `[1]`, errSyntax},
		{"number", `1`, errSyntax},
		{"null", `null`, errSyntax},
		{"mistyped name", head + `"payload":1,"tag":["x"]}`, errUnknown},
		{"name in capitals", `{"Entity":"e","scope":"s","kind":"1:7","payload":1}`, errUnknown},
		{"given twice", head + `"payload":1,"entity":"f"}`, errDuplicate},
		{"given twice, escaped", head + `"payload":1,"\u0065ntity":"f"}`, errDuplicate},
		{"two payloads", head + `"payload":1,"payload_base64":"AA=="}`, errDuplicate},
		{"no payload", head + `"lane":1}`, errMissing},
		{"no scope", `{"entity":"e","kind":"1:7","payload":1}`, errMissing},
		{"no kind", `{"entity":"e","scope":"s","payload":1}`, errMissing},
		{"empty entity", `{"entity":"","scope":"s","kind":"1:7","payload":1}`, errValue},
		{"entity is a number", `{"entity":1,"scope":"s","kind":"1:7","payload":1}`, errValue},
		{"entity not UTF-8", "{\"entity\":\"\xff\",\"scope\":\"s\",\"kind\":\"1:7\",\"payload\":1}", errValue},
		{"half a surrogate pair", `{"entity":"\ud800","scope":"s","kind":"1:7","payload":1}`, errValue},
		{"control character", `{"entity":"a\u0000","scope":"s","kind":"1:7","payload":1}`, coordinate.ErrInvalid},
		{"entity too long", fmt.Sprintf(`{"entity":"%s","scope":"s","kind":"1:7","payload":1}`, strings.Repeat("x", 1025)), coordinate.ErrInvalid},
		{"kind without colon", `{"entity":"e","scope":"s","kind":"17","payload":1}`, event.ErrSyntax},
		{"kind is a number", `{"entity":"e","scope":"s","kind":17,"payload":1}`, errValue},
		{"kind of the store", `{"entity":"e","scope":"s","kind":"d:1","payload":1}`, event.ErrKindReserved},
		{"bad base64", head + `"payload_base64":"A"}`, errValue},
		{"lane too large", head + `"payload":1,"lane":4294967296}`, errValue},
		{"lane below zero", head + `"payload":1,"lane":-1}`, errValue},
		{"version too large", head + `"payload":1,"payload_version":65536}`, errValue},
		{"tags are no array", head + `"payload":1,"tags":"x"}`, errValue},
		{"tag is no string", head + `"payload":1,"tags":[1]}`, errValue},
		{"bad causation", head + `"payload":1,"causation":"1"}`, event.ErrSyntax},
		{"bad fork", head + `"payload":1,"lane":1,"fork":"x"}`, event.ErrSyntax},
		{"bad extension", head + `"payload":1,"extensions":{"k":"%"}}`, errValue},
		{"extension twice", head + `"payload":1,"extensions":{"k":"","k":""}}`, errDuplicate},
		{"extensions are no object", head + `"payload":1,"extensions":[]}`, errSyntax},
		{"redacted", head + `"payload_base64":"","redacted":true}`, errRedacted},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if l := parseLine(1, []byte(tt.text)); !errors.Is(l.err, tt.want) || (tt.want == nil) != (l.err == nil) {
				t.Errorf("parseLine(%q) = %v, want %v", tt.text, l.err, tt.want)
			}
		})
	}
}

func TestParseLineKeepsPayload(t *testing.T) {
	for _, payload := range []string{
		`{"a": 1,  "b":[1, 2 ]}`, `"x\u00e9\/"`, `1.0e+01`, `null`, `-0`, `[]`, `"}"`, `"\\"`, `"\""`, `{"payload":{"payload":2}}`, `true`,
	} {
		for _, format := range []string{
			`{"payload":%s,"entity":"e","scope":"s","kind":"1:7"}`,
			`{"entity":"e","scope":"s","kind":"1:7", "payload" : %s }`,
		} {
			l := parseLine(1, fmt.Appendf(nil, format, payload))
			if l.err != nil || string(l.draft.Payload) != payload {
				t.Errorf("parseLine of payload %s = %q, %v", payload, l.draft.Payload, l.err)
			}
		}
	}
}

// input returns n good lines, with bad ones at the given places, from 1.
func input(n int, bad map[int]string) string {
	var b strings.Builder
	for i := 1; i <= n; i++ {
		text, ok := bad[i]
		if !ok {
			text = fmt.Sprintf(`{"entity":"e:%d","scope":"s","kind":"1:7","payload":%d}`, i%7, i)
		}
		b.WriteString(text + "\n")
	}
	return b.String()
}

func TestIngestBadLine(t *testing.T) {
	long := `{"entity":"e","scope":"s","kind":"1:7","payload":"` + strings.Repeat("x", maxLine) + `"}`
	large := `{"entity":"e","scope":"s","kind":"1:7","payload":"` + strings.Repeat("x", 16<<20) + `"}`
	tags := strings.Repeat(`"t",`, 64) + `"t"`
	for _, tt := range []struct {
		name, bad, reason string
	}{
		{"syntax", `{"entity"`, "line 21: not a JSON object"},
		{"unknown field", strings.Replace(goodLine, "scope", "scop", 1), "line 21: scop: unknown field"},
		{"too long", long, "line 21: line is too long"},
		{"payload over the limit", large, "line 21: batpak: over a limit: payload"},
		{"too many tags", `{"entity":"e","scope":"s","kind":"1:7","payload":1,"tags":[` + tags + `]}`, "line 21: batpak: over a limit: tags"},
		{"empty tag", `{"entity":"e","scope":"s","kind":"1:7","payload":1,"tags":[""]}`, "line 21: batpak: invalid argument: Tags"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			lines := input(40, map[int]string{21: tt.bad})
			dir := filepath.Join(t.TempDir(), "stop")
			o := batpakRun(t, strings.NewReader(lines), "ingest", dir)
			if o.code != exitRefused || !strings.Contains(o.err, tt.reason) || !strings.Contains(o.out, "20 events") {
				t.Errorf("ingest = %d\n%.300s%.300s\nwant 1, %q, 20 events", o.code, o.out, o.err, tt.reason)
			}
			if n := len(readAll(t, dir)); n != 20 {
				t.Errorf("%d events stored, want the 20 before the bad line", n)
			}
			dir = filepath.Join(t.TempDir(), "skip")
			o = batpakRun(t, strings.NewReader(lines), "ingest", "-skip-bad", dir)
			if o.code != exitRefused || !strings.Contains(o.err, tt.reason) || !strings.Contains(o.out, "39 events") {
				t.Errorf("ingest -skip-bad = %d\n%.300s%.300s\nwant 1, %q, 39 events", o.code, o.out, o.err, tt.reason)
			}
			if n := len(readAll(t, dir)); n != 39 {
				t.Errorf("%d events stored, want all 39 good ones", n)
			}
		})
	}
}

// TestIngestKeys sends lines whose keys are new, known, repeated and used for something else, in every mix that the
// grouping into batches can make of them.
func TestIngestKeys(t *testing.T) {
	keyed := func(key string, n int) string {
		return fmt.Sprintf(`{"entity":"e","scope":"s","kind":"1:7","payload":%d,"key":"%s"}`+"\n", n, key)
	}
	dir := filepath.Join(t.TempDir(), "store")
	mustRun(t, keyed("a", 1)+keyed("b", 2), "ingest", dir)
	for _, tt := range []struct {
		name, in                  string
		code                      int
		stored, replayed, refused int
	}{
		{"all known", keyed("a", 1) + keyed("b", 2), 0, 0, 2, 0},
		{"known first", keyed("a", 1) + keyed("c1", 3), 0, 1, 1, 0},
		{"known last", keyed("c2", 3) + keyed("b", 2), 0, 1, 1, 0},
		{"known in the middle", keyed("c3", 3) + keyed("b", 2) + keyed("a", 1) + keyed("c4", 4), 0, 2, 2, 0},
		{"known beside none", goodLine + "\n" + keyed("a", 1) + goodLine + "\n", 0, 2, 1, 0},
		{"repeated", keyed("c5", 3) + keyed("c5", 3) + keyed("c5", 3), 0, 1, 2, 0},
		{"conflict", keyed("c6", 3) + keyed("a", 9) + keyed("c7", 4), 1, 2, 0, 1},
		{"conflict with the same input", keyed("c8", 3) + keyed("c8", 4), 1, 1, 0, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := len(readAll(t, dir))
			o := batpakRun(t, strings.NewReader(tt.in), "ingest", "-skip-bad", dir)
			if o.code != tt.code {
				t.Errorf("ingest = %d, want %d\n%s", o.code, tt.code, o.err)
			}
			for _, want := range []string{
				fmt.Sprintf("stored           %s\n", plural(tt.stored, "event")),
				fmt.Sprintf("replayed by key  %d\n", tt.replayed),
				fmt.Sprintf("refused          %s\n", plural(tt.refused, "line")),
			} {
				if !strings.Contains(o.out, want) {
					t.Errorf("ingest printed\n%s, want %q in it", o.out, want)
				}
			}
			if stored := len(readAll(t, dir)) - before; stored != tt.stored {
				t.Errorf("%d events stored, want %d", stored, tt.stored)
			}
		})
	}
}

// TestIngestSmallSegments stores batches that fit into no segment, which must be cut, not refused.
func TestIngestSmallSegments(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	var in strings.Builder
	for i := range 200 {
		fmt.Fprintf(&in, `{"entity":"e","scope":"s","kind":"1:7","payload":"%s"}`+"\n", strings.Repeat("x", i*8))
	}
	mustRun(t, in.String(), "ingest", "-segment-size", "4KiB", "-sync", "never", dir)
	if n := len(readAll(t, dir)); n != 200 {
		t.Errorf("%d events stored, want 200", n)
	}
	mustRun(t, "", "verify", dir)
}

func TestIngestStopsWithReader(t *testing.T) {
	broken := errors.New("cable is gone")
	in := io.MultiReader(strings.NewReader(input(10, nil)), iotestErr{broken})
	dir := filepath.Join(t.TempDir(), "store")
	o := batpakRun(t, in, "ingest", dir)
	if o.code != exitFailed || !strings.Contains(o.err, "read line 11: cable is gone") || !strings.Contains(o.out, "10 events") {
		t.Errorf("ingest of a broken input = %d\n%s%s", o.code, o.out, o.err)
	}
}

type iotestErr struct{ err error }

func (r iotestErr) Read([]byte) (int, error) { return 0, r.err }

// TestLineQueue: a line that comes alone is not kept waiting, and a full queue makes the reader wait.
func TestLineQueue(t *testing.T) {
	q := newLineQueue(2, 100)
	q.put(line{number: 1, size: 500})
	if got := q.take(); len(got) != 1 {
		t.Fatalf("take = %d lines, want the one that is there", len(got))
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 1; i <= 5; i++ {
			q.put(line{number: i, size: 1})
		}
		q.end()
	}()
	var numbers []int
	for lines := q.take(); len(lines) > 0; lines = q.take() {
		if len(lines) > 2 {
			t.Errorf("take = %d lines, want at most 2", len(lines))
		}
		for _, l := range lines {
			numbers = append(numbers, l.number)
		}
	}
	<-done
	if fmt.Sprint(numbers) != "[1 2 3 4 5]" {
		t.Errorf("lines came as %v, want in order", numbers)
	}
	q.stop()
	if q.put(line{}) || q.take() != nil {
		t.Error("a stopped queue still passes lines on")
	}
}

func TestReadLine(t *testing.T) {
	text := "a\n\n" + strings.Repeat("b", 5000) + "\n" + strings.Repeat("c", maxLine+1) + "\nd"
	r := bufio.NewReaderSize(strings.NewReader(text), 64)
	for _, want := range []struct {
		length int
		err    error
	}{{2, nil}, {1, nil}, {5001, nil}, {0, errTooLong}, {1, io.EOF}, {0, io.EOF}} {
		got, err := readLine(r)
		if len(got) != want.length || !errors.Is(err, want.err) || (err == nil) != (want.err == nil) {
			t.Errorf("readLine = %d bytes, %v, want %d, %v", len(got), err, want.length, want.err)
		}
	}
}

// randomDrafts returns drafts with every field that a line can have.
func randomDrafts(rng *rand.Rand, n int) []batpak.Draft {
	payloads := []string{`{"a": 1}`, "", "\x00\xff", "{\n}", ` 1`, `"` + "\xff" + `"`, `"é\u2028"`, `[1,2]`, "null", "plain"}
	drafts := make([]batpak.Draft, n)
	for i := range drafts {
		d := batpak.Draft{
			Coordinate: coordinate.MustNew(fmt.Sprintf("e:%d \"é\\", rng.IntN(5)), "s/"+string(rune('a'+rng.IntN(3)))),
			Kind:       event.MustKind(0xf, rng.IntN(4096)),
			Payload:    []byte(payloads[rng.IntN(len(payloads))]),
		}
		if rng.IntN(3) == 0 {
			d.Tags = []string{"t\u2029", "u"}
			d.Extensions = map[string][]byte{"k\"": {0, 1, 2}, "empty": nil}
		}
		if rng.IntN(3) == 0 {
			d.Lane, d.Depth, d.PayloadVersion = 1<<32-1, rng.Uint32(), 65535
		}
		drafts[i] = d
	}
	return drafts
}

// fill stores drafts whose causes and groups are earlier events.
func fill(t *testing.T, dir string, rng *rand.Rand, n int) {
	t.Helper()
	st, err := batpak.Open(dir, &batpak.Options{Sync: batpak.SyncNever})
	if err != nil {
		t.Fatal(err)
	}
	var ids []event.ID
	for _, d := range randomDrafts(rng, n) {
		if len(ids) > 0 && rng.IntN(2) == 0 {
			d.Causation = ids[len(ids)-1-rng.IntN(min(len(ids), 3))]
		}
		if len(ids) > 0 && rng.IntN(4) == 0 {
			d.Correlation = ids[len(ids)-1-rng.IntN(min(len(ids), 3))]
		}
		r, err := st.Append(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, r.ID)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestRoundTrip copies a store through read and ingest and compares everything that a copy keeps.
func TestRoundTrip(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	from, to, plain := filepath.Join(t.TempDir(), "from"), filepath.Join(t.TempDir(), "to"), filepath.Join(t.TempDir(), "plain")
	fill(t, from, rng, 500)
	lines := mustRun(t, "", "read", from)
	mustRun(t, lines, "ingest", "-relink", "-batch", "37", to)
	mustRun(t, lines, "ingest", plain)
	old, relinked, copied := readAll(t, from), readAll(t, to), readAll(t, plain)
	if len(old) != 500 || len(relinked) != 500 || len(copied) != 500 {
		t.Fatalf("%d events became %d and %d, want 500", len(old), len(relinked), len(copied))
	}
	became := map[event.ID]event.ID{{}: {}}
	for i := range old {
		became[old[i].ID] = relinked[i].ID
		if got, want := kept(&relinked[i]), kept(&old[i]); got != want {
			t.Errorf("event %d came out as\n%s, want\n%s", i, got, want)
		}
		if relinked[i].Causation != became[old[i].Causation] || relinked[i].Correlation != became[old[i].Correlation] {
			t.Errorf("event %d: causes do not name the copies", i)
		}
		if copied[i].Causation != old[i].Causation || copied[i].Correlation != old[i].Correlation {
			t.Errorf("event %d: causes changed without -relink", i)
		}
	}
}

// TestForksRoundTrip copies lanes that branch from lanes: forks name the copies. Without -relink the first one is refused.
func TestForksRoundTrip(t *testing.T) {
	from, to, plain := filepath.Join(t.TempDir(), "from"), filepath.Join(t.TempDir(), "to"), filepath.Join(t.TempDir(), "plain")
	st, err := batpak.Open(from, nil)
	if err != nil {
		t.Fatal(err)
	}
	d := batpak.Draft{Coordinate: coordinate.MustNew("e", "s"), Kind: event.MustKind(1, 1), Payload: []byte("1")}
	last, err := st.Append(t.Context(), d)
	for range 20 {
		if err == nil {
			last, err = st.Fork(t.Context(), last.ID, d)
		}
		if err == nil {
			next := d
			next.Lane = last.Lane
			last, err = st.Append(t.Context(), next)
		}
	}
	if err = errors.Join(err, st.Close()); err != nil {
		t.Fatal(err)
	}
	lines := mustRun(t, "", "read", from)
	mustRun(t, lines, "ingest", "-relink", to)
	old, copied := readAll(t, from), readAll(t, to)
	if len(old) != 41 || len(copied) != 41 {
		t.Fatalf("%d events became %d, want 41", len(old), len(copied))
	}
	became := map[event.ID]event.ID{{}: {}}
	for i := range old {
		became[old[i].ID] = copied[i].ID
		if got, want := kept(&copied[i]), kept(&old[i]); got != want || copied[i].Fork != became[old[i].Fork] {
			t.Errorf("event %d came out as\n%s from %v, want\n%s from %v", i, got, copied[i].Fork, want, became[old[i].Fork])
		}
	}
	if copied[40].Depth != 20 {
		t.Errorf("depth %d, want 20", copied[40].Depth)
	}
	o := batpakRun(t, strings.NewReader(lines), "ingest", plain)
	if o.code != 1 || !strings.Contains(o.err, batpak.ErrFork.Error()) || len(readAll(t, plain)) != 1 {
		t.Errorf("without -relink: exit code %d, %q", o.code, o.err)
	}
}

// kept returns what a copy keeps of an event.
func kept(ev *event.Event) string {
	return fmt.Sprintf("%v %v %q %d %d %d %d %q %q", ev.Coordinate, ev.Kind, ev.Payload, ev.Clock, ev.Lane, ev.Depth,
		ev.PayloadVersion, ev.Tags, ev.Extensions)
}

// FuzzPayload: whatever a payload is, the line that read prints for it gives ingest the same bytes.
func FuzzPayload(f *testing.F) {
	for _, seed := range []string{"", "{}", ` {}`, "1\n", "{\"a\":\n1}", "\"\xff\"", `"é"`, "null"} {
		f.Add([]byte(seed))
	}
	at := coordinate.MustNew("e", "s")
	f.Fuzz(func(t *testing.T, payload []byte) {
		text := appendEvent(nil, &event.Event{Seq: 1, Clock: 1, Coordinate: at, Kind: event.MustKind(1, 7), Payload: payload})
		if bytes.IndexByte(text, '\n') != len(text)-1 {
			t.Errorf("payload %q is printed as more than one line: %q", payload, text)
		}
		l := parseLine(1, text)
		if l.err != nil || !bytes.Equal(l.draft.Payload, payload) {
			t.Errorf("payload %q became %q, %v", payload, l.draft.Payload, l.err)
		}
	})
}

// FuzzEachField: no input makes the parser panic, and an object that it takes is what encoding/json sees in it.
func FuzzEachField(f *testing.F) {
	f.Add([]byte(goodLine))
	f.Add([]byte(`{"a":[{"b":"\\\""}],"c":-1.5e3 , "d":null}`))
	f.Add([]byte(` {"a" :{} ,"b": [ ] } `))
	f.Fuzz(func(t *testing.T, text []byte) {
		parseLine(1, text)
		got := make(map[string]string)
		if err := eachField(text, func(name string, value []byte) error {
			got[name] = string(value)
			return nil
		}); err != nil {
			return
		}
		var want map[string]json.RawMessage
		if err := json.Unmarshal(text, &want); err != nil || len(want) != len(got) {
			t.Fatalf("eachField(%q) = %q; encoding/json: %v, %v", text, got, want, err)
		}
		for name, value := range want {
			if got[name] != string(value) {
				t.Errorf("eachField(%q): %q = %q, want %q", text, name, got[name], value)
			}
		}
	})
}
