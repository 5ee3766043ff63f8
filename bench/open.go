package main

import (
	"context"
	"database/sql"
	"encoding/binary"
	"fmt"
	"time"

	"go.etcd.io/bbolt"
	_ "modernc.org/sqlite" // the driver

	"batpak"
	"batpak/coldstart"
)

// A session is a store that was opened up to its first event.
type session struct {
	open, first time.Duration // since the beginning
	report      coldstart.Report
	last        uint64 // last sequence that a read may see
	close       func() error
}

// openers open a store of one kind, read one event of entity, and time both. The ones of batpak differ in what they
// are allowed to write, so that an artifact that was taken away stays away.
var openers = map[string]func(ctx context.Context, path, entity string) (session, error){
	"floor":             openFloor,
	"floor-random":      openFloorRandom,
	"batpak":            batpakOpener(nil),
	"batpak-nosnapshot": batpakOpener(&batpak.Options{NoSnapshot: true}),
	"batpak-bare":       batpakOpener(&batpak.Options{NoSnapshot: true, NoCheckpoint: true}),
	"batpak-readonly":   batpakOpener(&batpak.Options{ReadOnly: true}),
	"sqlite":            openSQLite,
	"bbolt":             openBolt,
}

func batpakOpener(o *batpak.Options) func(context.Context, string, string) (session, error) {
	return func(ctx context.Context, path, entity string) (s session, err error) {
		began := time.Now()
		st, err := batpak.OpenContext(ctx, path, o)
		if err != nil {
			return s, err
		}
		s.open = time.Since(began)
		found := false
		for _, err := range st.Read(ctx, batpak.Query{Entity: entity, Limit: 1}) {
			if err != nil {
				st.Close()
				return s, err
			}
			found = true
		}
		s.first = time.Since(began)
		if !found {
			st.Close()
			return s, fmt.Errorf("%s: no event of %s", path, entity)
		}
		s.report, s.last, s.close = st.OpenReport(), st.Stats().Visible, st.Close
		return s, nil
	}
}

// firstOfEntity is the query that opens are timed with: the first event of one stream.
const firstOfEntity = `SELECT seq, payload FROM events WHERE entity = ? ORDER BY clock LIMIT 1`

// openSQLite opens a database as its file says: in WAL mode, with synchronous=FULL, which is the default.
func openSQLite(ctx context.Context, path, entity string) (s session, err error) {
	began := time.Now()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		return s, err
	}
	db.SetMaxOpenConns(1)
	if err := db.PingContext(ctx); err != nil {
		db.Close()
		return s, err
	}
	s.open = time.Since(began)
	var payload []byte
	if err := db.QueryRowContext(ctx, firstOfEntity, entity).Scan(&s.last, &payload); err != nil {
		db.Close()
		return s, fmt.Errorf("%s: first event of %s: %w", path, entity, err)
	}
	s.first, s.close = time.Since(began), db.Close
	return s, nil
}

func openBolt(_ context.Context, path, entity string) (s session, err error) {
	began := time.Now()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Minute})
	if err != nil {
		return s, err
	}
	s.open = time.Since(began)
	err = db.View(func(tx *bbolt.Tx) error {
		key, seq := tx.Bucket(boltStreams).Cursor().Seek(boltStreamKey(entity, 0))
		if key == nil {
			return fmt.Errorf("%s: no event of %s", path, entity)
		}
		s.last = binary.BigEndian.Uint64(seq)
		_ = append([]byte(nil), tx.Bucket(boltEvents).Get(seq)...)
		return nil
	})
	s.first, s.close = time.Since(began), db.Close
	if err != nil {
		db.Close()
	}
	return s, err
}
