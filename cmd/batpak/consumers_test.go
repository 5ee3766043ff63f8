package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"batpak"
	"batpak/event"
)

// storeWithConsumers returns a store of 20 events in which "mail" could not handle the third one, and "idle" has begun.
func storeWithConsumers(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "store")
	mustRun(t, input(20, nil), "ingest", dir)
	st, err := batpak.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	mail, err := st.Consumer("mail", batpak.ConsumerOptions{MaxAttempts: 1})
	if err == nil {
		_, err = st.Consumer("idle", batpak.ConsumerOptions{Query: batpak.Query{Entity: "nobody"}})
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = mail.Run(ctx, func(_ context.Context, ev event.Event) error {
		switch ev.Seq {
		case 3:
			return errors.New("no such address\nat all")
		case 15:
			cancel()
		}
		return nil
	})
	if err = errors.Join(err, st.Close()); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	return dir
}

func TestConsumersCommand(t *testing.T) {
	dir := storeWithConsumers(t)
	position := func(name string) consumerLine {
		t.Helper()
		var lines []consumerLine
		if err := json.Unmarshal([]byte(mustRun(t, "", "consumers", "-json", dir)), &lines); err != nil {
			t.Fatal(err)
		}
		for _, l := range lines {
			if l.Name == name {
				return l
			}
		}
		t.Fatalf("%q is not among %+v", name, lines)
		return consumerLine{}
	}
	if l := position("mail"); l.Seq != 15 || l.Events != 5 || l.Bytes == 0 || l.Parked != 1 || l.Generation != 1 || l.Query != "{}" {
		t.Errorf("mail: %+v", l)
	}
	if l := position("idle"); l.Seq != 0 || l.Events != 0 || l.Bytes != 0 || l.Age != 0 || l.Query != `{"entity":"nobody"}` {
		t.Errorf("idle: %+v", l)
	}
	out := mustRun(t, "", "consumers", dir)
	if !strings.Contains(out, "mail ") || !strings.Contains(out, "5 events") || strings.Count(out, "\n") != 3 {
		t.Errorf("consumers printed\n%s", out)
	}
	out = mustRun(t, "", "consumers", dir, "-parked", "mail")
	if !strings.Contains(out, "no such address") || strings.Contains(out, "at all") {
		t.Errorf("-parked printed\n%s", out)
	}
	if out := mustRun(t, "", "consumers", dir, "-parked", "mail", "-json"); !strings.Contains(out, `"error": "no such address\nat all"`) {
		t.Errorf("-parked -json printed\n%s", out)
	}
	mustRun(t, "", "consumers", "-forget", "mail", "-at", "3", dir)
	if out := mustRun(t, "", "consumers", dir, "-parked", "mail"); out != "nothing is parked\n" {
		t.Errorf("-parked printed\n%s", out)
	}
	mustRun(t, "", "consumers", "-seek", "mail", "-at", "7", dir)
	if l := position("mail"); l.Seq != 7 || l.Generation != 2 {
		t.Errorf("after -seek: %+v", l)
	}
	mustRun(t, "", "consumers", "-reset", "mail", dir)
	if l := position("mail"); l.Seq != 0 || l.Generation != 3 || l.Events != 20 {
		t.Errorf("after -reset: %+v", l)
	}
	mustRun(t, "", "verify", dir)
	mustRun(t, "", "repair", dir)
	if out := mustRun(t, "", "stat", dir); !strings.Contains(out, "positions of consumers") {
		t.Errorf("stat printed\n%s", out)
	}
}

// A position that does not hold is a finding, and -reset is the way out.
func TestConsumersCommandFindsDamage(t *testing.T) {
	dir := storeWithConsumers(t)
	files, err := os.ReadDir(filepath.Join(dir, "cursors"))
	if err != nil || len(files) != 2 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, f := range files {
		edit(t, filepath.Join(dir, "cursors", f.Name()), flipAt(70))
	}
	for _, args := range [][]string{{"consumers", dir}, {"consumers", "-json", dir}} {
		if o := batpakRun(t, nil, args...); o.code != exitRefused || strings.Count(o.out, "position is damaged") != 2 {
			t.Errorf("%q = %d, %q, %q", args, o.code, o.out, o.err)
		}
	}
	mustRun(t, "", "consumers", "-reset", "mail", dir)
	mustRun(t, "", "consumers", "-seek", "idle", "-at", "0", dir)
	mustRun(t, "", "consumers", dir)
}

func TestConsumersCommandUsage(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	mustRun(t, input(3, nil), "ingest", dir)
	if out := mustRun(t, "", "consumers", dir); out != "no consumers\n" {
		t.Errorf("consumers printed %q", out)
	}
	empty := t.TempDir()
	for _, tt := range []struct {
		args []string
		err  string
	}{
		{[]string{"-seek", "c", dir}, "-seek needs -at"},
		{[]string{"-seek", "c", "-at", "x", dir}, "1042"},
		{[]string{"-at", "3", dir}, "-at is for"},
		{[]string{"-reset", "a", "-parked", "b", dir}, "exclude"},
		{[]string{"-reset", "nobody", dir}, `no such consumer: "nobody"`},
		{[]string{"-parked", "nobody", dir}, "no such consumer"},
		{[]string{"-reset", "c", empty}, "no store"},
	} {
		o := batpakRun(t, nil, append([]string{"consumers"}, tt.args...)...)
		if o.code != exitFailed || !strings.Contains(o.err, tt.err) {
			t.Errorf("%q = %d, %q, want %q", tt.args, o.code, o.err, tt.err)
		}
	}
	if files, _ := os.ReadDir(empty); len(files) != 0 {
		t.Errorf("-reset in an empty folder has left %v", files)
	}
}
