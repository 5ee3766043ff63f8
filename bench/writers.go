package main

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"

	"batpak"
)

// writers make an empty store, of which "…-durable" is safe after each write and the other one when it is closed.
var writers = map[string]func(path string, segmentSize int64) (writer, error){
	"batpak":         func(path string, size int64) (writer, error) { return newBatpak(path, size, batpak.SyncNever) },
	"batpak-durable": func(path string, size int64) (writer, error) { return newBatpak(path, size, batpak.SyncAlways) },
	"sqlite":         func(path string, _ int64) (writer, error) { return newSQLite(path, "OFF") },
	"sqlite-durable": func(path string, _ int64) (writer, error) { return newSQLite(path, "FULL") },
	"bbolt":          func(path string, _ int64) (writer, error) { return newBolt(path) },
}

type batpakWriter struct{ *batpak.Store }

func newBatpak(path string, segmentSize int64, mode batpak.SyncMode) (writer, error) {
	st, err := batpak.Open(path, &batpak.Options{Sync: mode, SegmentSize: segmentSize})
	return batpakWriter{st}, err
}

func (w batpakWriter) write(ctx context.Context, _ int, drafts []batpak.Draft) error {
	_, err := w.AppendBatch(ctx, drafts)
	return err
}

func (w batpakWriter) close() error { return w.Close() }

// An sqliteWriter is the table that an event store needs: by sequence, by ID, by stream and by kind.
type sqliteWriter struct {
	db       *sql.DB
	entities map[string]uint64 // clocks
}

const sqliteSchema = `
CREATE TABLE events (
	seq INTEGER PRIMARY KEY, id BLOB NOT NULL, entity TEXT NOT NULL, scope TEXT NOT NULL, kind INTEGER NOT NULL,
	clock INTEGER NOT NULL, payload BLOB NOT NULL);
CREATE UNIQUE INDEX events_id ON events (id);
CREATE UNIQUE INDEX events_stream ON events (entity, clock);
CREATE INDEX events_kind ON events (kind, seq);`

func newSQLite(path, synchronous string) (writer, error) {
	db, err := sql.Open("sqlite", path)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1) // so that the settings hold for everything below
	for _, statement := range []string{"PRAGMA journal_mode = WAL", "PRAGMA synchronous = " + synchronous, sqliteSchema} {
		if _, err := db.Exec(statement); err != nil {
			return nil, errors.Join(err, db.Close())
		}
	}
	return sqliteWriter{db, make(map[string]uint64)}, nil
}

func (w sqliteWriter) write(ctx context.Context, first int, drafts []batpak.Draft) error {
	tx, err := w.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	insert, err := tx.PrepareContext(ctx, `INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)`)
	if err != nil {
		return err
	}
	for i, d := range drafts {
		entity := d.Coordinate.Entity()
		w.entities[entity]++
		_, err := insert.Exec(first+i+1, idOf(first+i), entity, d.Coordinate.Scope(), int(d.Kind), w.entities[entity], d.Payload)
		if err != nil {
			return err
		}
	}
	return tx.Commit()
}

func (w sqliteWriter) close() error { return w.db.Close() }

// The buckets: events by sequence; streams by entity and clock, and IDs, to sequences.
var (
	boltEvents  = []byte("events")
	boltStreams = []byte("streams")
	boltIDs     = []byte("ids")
)

func boltStreamKey(entity string, clock uint64) []byte {
	return binary.BigEndian.AppendUint64(append([]byte(entity), 0), clock)
}

type boltWriter struct {
	db       *bbolt.DB
	entities map[string]uint64 // clocks
}

func newBolt(path string) (writer, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoSync: true, NoGrowSync: true})
	if err != nil {
		return nil, err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{boltEvents, boltStreams, boltIDs} {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		return nil
	})
	return boltWriter{db, make(map[string]uint64)}, err
}

func (w boltWriter) write(_ context.Context, first int, drafts []batpak.Draft) error {
	return w.db.Update(func(tx *bbolt.Tx) error {
		events, streams, ids := tx.Bucket(boltEvents), tx.Bucket(boltStreams), tx.Bucket(boltIDs)
		events.FillPercent, ids.FillPercent = 1, 1 // keys only grow
		for i, d := range drafts {
			entity := d.Coordinate.Entity()
			w.entities[entity]++
			seq := binary.BigEndian.AppendUint64(nil, uint64(first+i+1))
			value := append(append([]byte{byte(d.Kind >> 8), byte(d.Kind), byte(len(entity))}, entity...), d.Payload...)
			err := errors.Join(events.Put(seq, value), streams.Put(boltStreamKey(entity, w.entities[entity]), seq),
				ids.Put(idOf(first+i), seq))
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func (w boltWriter) close() error { return errors.Join(w.db.Sync(), w.db.Close()) }

// appendForEver fills a store, says how many events that took, and then appends one by one and acknowledges each with
// a line, until the process is killed.
func appendForEver(ctx context.Context, j job, out *bufio.Writer) error {
	w, err := writers[j.Kind](j.Path, j.Fill.SegmentSize)
	if err != nil {
		return err
	}
	s := newSource(j.Fill.Entities)
	if err := fillUp(ctx, w, s, j.Fill); err != nil {
		return err
	}
	for {
		if _, err := fmt.Fprintln(out, s.next); err != nil {
			return err
		}
		if err := out.Flush(); err != nil {
			return err
		}
		if err := w.write(ctx, s.next, s.batch(1)); err != nil {
			return err
		}
	}
}
