package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Kept is how a session is kept. It is derived: receipts, holds, lists and the ledger are the truth.
type Kept struct {
	Archive   Archived `json:"archive"`         // zero: the archive has not proven receipt
	Hold      *Hold    `json:"hold,omitempty"`  // the oldest that holds it
	Until     string   `json:"until,omitempty"` // last day it must be kept, 2006-01-02; "permanent"; "" not known yet
	Gone      Gone     `json:"gone,omitempty"`
	Appraisal string   `json:"appraisal,omitempty"` // SHA-256 of the appraisal that destroyed it
	GoneAt    int64    `json:"gone_at,omitempty"`   // µs since 1970
}

// Archived says what the archive has.
type Archived struct {
	Where   string    `json:"where"` // the archive, without secrets
	At      time.Time `json:"at,omitzero"`
	Receipt string    `json:"receipt"` // SHA-256
}

// Hold is a legal hold.
type Hold struct {
	ID     string    `json:"id"`
	By     string    `json:"by"`
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
}

// Gone says why a session has no folder here any more.
type Gone string

// Why a session is gone.
const (
	GoneArchive Gone = "archive"   // the archive has it, the room was made
	Destroyed   Gone = "destroyed" // by an appraisal
)

// keptSchema stands beside the rows: writing a row anew from its folder leaves it as it is.
const keptSchema = `CREATE TABLE IF NOT EXISTS kept (id TEXT PRIMARY KEY, until TEXT NOT NULL, gone TEXT NOT NULL, kept TEXT NOT NULL) WITHOUT ROWID`

// SetKept keeps how a session is kept, durably. There need be no row of that id.
func (s *Store) SetKept(ctx context.Context, id string, k Kept) error {
	b, err := json.Marshal(k)
	if err == nil {
		_, err = s.write.ExecContext(ctx, `INSERT INTO kept (id, until, gone, kept) VALUES (?, ?, ?, ?)
			ON CONFLICT (id) DO UPDATE SET until=excluded.until, gone=excluded.gone, kept=excluded.kept`, id, k.Until, string(k.Gone), string(b))
	}
	if err != nil {
		return fmt.Errorf("store: kept %q: %w", id, err)
	}
	return nil
}

// Strip takes out of a row what tells of persons, when its session was destroyed: the case, the times, the
// device and the sizes stay. Without a row it does nothing.
func (s *Store) Strip(ctx context.Context, id string) error {
	row, err := s.Get(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	row.Officers, row.Flags, row.Disks, row.Note = nil, []string{}, []string{}, ""
	return s.Put(ctx, row)
}

// kept reads what a query gave of the table, nothing for a session it does not name.
func kept(b sql.NullString, k *Kept) error {
	if !b.Valid {
		return nil
	}
	return json.Unmarshal([]byte(b.String), k)
}
