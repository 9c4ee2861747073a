package store

import (
	"context"
	"errors"
	"time"
)

// searchSchema lets searches read small indexes instead of whole rows.
const searchSchema = `
CREATE INDEX IF NOT EXISTS session_words ON session (words);
CREATE INDEX IF NOT EXISTS session_body ON session (body);
CREATE INDEX IF NOT EXISTS session_state ON session (state);`

// few is up to how many matches of a text are looked up one by one. A text that more rows hold is met soon
// on the way back from the newest.
const few = 500

// slack is how far the time an id begins with may lie from Session.Opened, clock steps included.
const slack = 24 * time.Hour

// idTime is how an id begins.
const idTime = "20060102T150405Z"

// idBounds narrows by id, which is what rows are ordered by, as far as times can say. The conditions on
// opened still decide.
func (f Filter) idBounds(add func(is bool, cond string, arg any)) {
	if !f.From.IsZero() {
		add(true, "id >= ?", f.From.Add(-slack).UTC().Format(idTime))
	}
	if !f.Until.IsZero() {
		add(true, "id < ?", f.Until.Add(slack).UTC().Format(idTime))
	}
}

// texts finds the rows a text stands in by the index, if they are few: their ids as arguments.
func (s *Store) texts(ctx context.Context, text string) (ids []any, many bool, err error) {
	rows, err := s.read.QueryContext(ctx, "SELECT id FROM session INDEXED BY session_words WHERE instr(words, ?) > 0 LIMIT ?", text, few+1) // instr, not LIKE: no wildcards to escape
	if err != nil {
		return nil, false, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, false, err
		}
		ids = append(ids, id)
	}
	return ids, len(ids) > few, rows.Err()
}
