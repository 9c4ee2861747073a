package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// rebuildBatch rows share one transaction, and so one sync of the disk.
const rebuildBatch = 200

// Rebuild reads every session folder on the disks and writes its row; results of verifications
// stay. Rows whose folder is not there stay too: a disk may be absent. A folder that cannot be read
// becomes a row with state damaged. Sessions that skip names (the running ones) are left alone; skip
// and progress may be nil, progress is called from this goroutine. Rebuild blocks until done and stops
// with an error only if ctx ends or the catalogue cannot be written; it may simply be called again.
func (s *Store) Rebuild(ctx context.Context, disks []Disk, skip func(session string) bool, progress func(Progress)) error {
	ids := s.folders(disks)
	for n := 0; n < len(ids); n += rebuildBatch {
		if err := s.rebuildSome(ctx, disks, ids[n:min(n+rebuildBatch, len(ids))], skip, func(i int) {
			if progress != nil {
				progress(Progress{N: n + i, Of: len(ids)})
			}
		}); err != nil {
			return fmt.Errorf("store: rebuild: %w", err)
		}
	}
	return nil
}

// Complete reads the folders of sessions that the catalogue does not know as sealed, and writes their rows: a
// power cut may come between a seal and its row. It returns the ids it entered. It reads the names of all
// folders, and no more of sealed ones that are known; what Rebuild says of skip and errors holds here too.
func (s *Store) Complete(ctx context.Context, disks []Disk, skip func(session string) bool) (entered []string, err error) {
	known := map[string]bool{}
	rows, err := s.read.QueryContext(ctx, "SELECT id FROM session WHERE state IN (?, ?)", string(Sealed), string(Recovered))
	if err != nil {
		return nil, fmt.Errorf("store: complete: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, fmt.Errorf("store: complete: %w", err)
		}
		known[id] = true
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("store: complete: %w", err)
	}
	ids := slices.DeleteFunc(s.folders(disks), func(id string) bool { return known[id] || skip != nil && skip(id) })
	for n := 0; n < len(ids); n += rebuildBatch {
		batch := ids[n:min(n+rebuildBatch, len(ids))]
		if err := s.rebuildSome(ctx, disks, batch, skip, func(int) {}); err != nil {
			return entered, fmt.Errorf("store: complete: %w", err)
		}
		entered = append(entered, batch...)
	}
	return entered, nil
}

// folders lists the session ids found on any disk. A disk that cannot be listed is logged: the others count.
func (s *Store) folders(disks []Disk) []string {
	ids := map[string]bool{}
	for _, d := range disks {
		entries, err := os.ReadDir(filepath.Join(d.Dir, "sessions"))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			s.log.Warn("store: a disk's sessions cannot be listed", "disk", d.ID, "err", err)
		}
		for _, e := range entries {
			if sessionID.MatchString(e.Name()) {
				ids[e.Name()] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(ids))
}

func (s *Store) rebuildSome(ctx context.Context, disks []Disk, ids []string, skip func(string) bool, done func(int)) error {
	rows := make([]Session, 0, len(ids)) // read before the transaction begins: writers wait for it
	for i, id := range ids {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if skip == nil || !skip(id) {
			row := FromFolder(disks, id)
			if row.State == Damaged {
				s.log.Warn("store: a session folder cannot be read", "session", id, "note", row.Note)
			}
			rows = append(rows, row)
		}
		done(i + 1)
	}
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	for _, row := range rows {
		if err := put(ctx, tx, row); err != nil {
			return errors.Join(err, tx.Rollback())
		}
	}
	return tx.Commit()
}
