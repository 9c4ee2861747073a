package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// MaxParts bounds a hearing: what lies further from the session asked for is left out, oldest first.
const MaxParts = 64

// Part is one session of a hearing.
type Part struct {
	Session
	// Gap is the wall time from the end of the part before to the opening of this one; 0 for the first, and
	// where clocks were set so that nobody can tell.
	Gap time.Duration
}

// continued finds who continues a session. It needs no column: rows are JSON.
const continued = `CREATE INDEX IF NOT EXISTS session_continues ON session (json_extract(row, '$.continues')) WHERE json_extract(row, '$.continues') <> ''`

// Hearing returns the session with those that it continues and those that continue it, in order of
// time: one interview or hearing over adjournments and power cuts. A session that continues nothing and
// is not continued is a hearing of one part. A part that is not in the catalogue (its disk is not
// here) ends the chain on that side. An error wraps [ErrNotFound] if there is no such session. Each part
// is one search by an index.
func (s *Store) Hearing(ctx context.Context, id string) ([]Part, error) {
	first, err := s.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	found := map[string]Session{id: first}
	for at := first; at.Continues != "" && len(found) < MaxParts; {
		if _, ok := found[at.Continues]; ok {
			break // a ring, made by hand
		}
		rows, err := s.query(ctx, "id = ?", []any{at.Continues}, 1, 0)
		if err != nil {
			return nil, fmt.Errorf("store: hearing %q: %w", id, err)
		}
		if len(rows) == 0 {
			break
		}
		at = rows[0]
		found[at.ID] = at
	}
	for ask := keys(found); len(ask) > 0 && len(found) < MaxParts; ask = ask[1:] {
		rows, err := s.query(ctx, "json_extract(row, '$.continues') = ? AND json_extract(row, '$.continues') <> ''", []any{ask[0]}, MaxParts, 0)
		if err != nil {
			return nil, fmt.Errorf("store: hearing %q: %w", id, err)
		}
		for _, r := range rows {
			if _, ok := found[r.ID]; !ok && len(found) < MaxParts {
				found[r.ID] = r
				ask = append(ask, r.ID)
			}
		}
	}
	return inOrder(found), nil
}

func keys(m map[string]Session) []string {
	ids := make([]string, 0, len(m))
	for id := range m {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// inOrder puts parts in order of time and measures the gaps between them. A part without an end, cut and
// not yet sealed, ends where its media do.
func inOrder(found map[string]Session) []Part {
	parts := make([]Part, 0, len(found))
	for _, s := range found {
		parts = append(parts, Part{Session: s})
	}
	slices.SortFunc(parts, func(a, b Part) int {
		return cmp.Or(a.Opened.Compare(b.Opened), cmp.Compare(a.ID, b.ID))
	})
	for i := 1; i < len(parts); i++ {
		end := parts[i-1].Closed
		if end.IsZero() {
			end = parts[i-1].Opened.Add(parts[i-1].Duration)
		}
		parts[i].Gap = max(0, parts[i].Opened.Sub(end))
	}
	return parts
}
