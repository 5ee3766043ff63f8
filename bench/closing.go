package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"batpak"
)

// closeTable answers: what does Close cost?
func (b *bench) closeTable(ctx context.Context) error {
	t := &table{
		title:   "5. clean close",
		floor:   "one file of 4 KiB written aside, synced, renamed, its directory synced",
		columns: []string{"after", "mode", "close", "floor", "÷ floor"},
	}
	row := func(after, mode string, closes, floor sample) {
		t.row(text(after), text(mode), closes.cell(), floor.cell(), ratio(closes.median(), floor.median()))
	}
	dir := filepath.Join(b.dir, "close")
	for _, kind := range []struct{ name, mode string }{{"batpak-durable", "SyncAlways"}, {"batpak", "SyncNever"}} {
		var closes, floor sample
		for began := time.Now(); b.again(len(closes), began); {
			took, err := b.closeAfter(ctx, kind.name, dir)
			if err != nil {
				return err
			}
			bare, err := replaceFile(b.dir)
			if err != nil {
				return err
			}
			closes, floor = append(closes, took), append(floor, bare)
		}
		row(grouped(int64(b.closeEvents))+" appended", kind.mode, closes, floor)
	}
	closes, floor, err := b.closeIdle(ctx, dir)
	if err != nil {
		return err
	}
	row(fmt.Sprintf("nothing, %s events in the store", grouped(int64(b.closeEvents))), "SyncAlways", closes, floor)
	b.publish(t)
	return os.RemoveAll(dir)
}

// closeAfter fills a new store in dir and times its Close.
func (b *bench) closeAfter(ctx context.Context, kind, dir string) (time.Duration, error) {
	if err := os.RemoveAll(dir); err != nil {
		return 0, err
	}
	w, err := writers[kind](dir, b.segmentSize)
	if err != nil {
		return 0, err
	}
	err = fillUp(ctx, w, newSource(b.entities), fill{Entities: b.entities, Events: b.closeEvents, SegmentSize: b.segmentSize})
	began := time.Now()
	closed := w.close()
	return time.Since(began), errors.Join(err, closed)
}

// closeIdle times the Close of the store in dir when nothing was appended.
func (b *bench) closeIdle(ctx context.Context, dir string) (closes, floor sample, err error) {
	for range b.runs {
		st, err := batpak.OpenContext(ctx, dir, nil)
		if err != nil {
			return nil, nil, err
		}
		began := time.Now()
		if err := st.Close(); err != nil {
			return nil, nil, err
		}
		closes = append(closes, time.Since(began))
		bare, err := replaceFile(b.dir)
		if err != nil {
			return nil, nil, err
		}
		floor = append(floor, bare)
	}
	return closes, floor, nil
}

// replaceFile is the floor of everything that leaves a file behind that a crash cannot tear.
func replaceFile(dir string) (time.Duration, error) {
	began := time.Now()
	name := filepath.Join(dir, "floor")
	f, err := os.Create(name + ".tmp")
	if err != nil {
		return 0, err
	}
	_, err = f.Write(make([]byte, 4096))
	err = errors.Join(err, f.Sync(), f.Close(), os.Rename(name+".tmp", name))
	d, openErr := os.Open(dir)
	if openErr != nil {
		return 0, errors.Join(err, openErr)
	}
	return time.Since(began), errors.Join(err, d.Sync(), d.Close())
}
