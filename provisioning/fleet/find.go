package fleet

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"minglu/agent/report"
)

// SessionFilter chooses sessions of all rooms. The zero filter is all, drills too.
type SessionFilter struct {
	Case    string // part of a case number, in whatever brackets
	Officer string // beginning of a name or credential
	Room    string // part of a room's or device's name
	Body    string // USCC, or name of a body without one
	State   string
	From    time.Time // opened at or after
	Until   time.Time // opened before
	Drills  bool      // with drills
	Limit   int       // 0: DefaultLimit; never more than MaxLimit
	Offset  int       // at most MaxOffset
}

// Bounds of [Fleet.Sessions].
const (
	MaxOffset = 10_000
	MaxFit    = 10_000 // matches are counted up to this
	few       = 2000   // matches that are looked up one by one
)

// Sessions gives sessions, newest first, and how many fit, counted up to MaxFit + 1.
func (f *Fleet) Sessions(ctx context.Context, q SessionFilter) (list []Session, fit int, err error) {
	list = []Session{}
	where, args, none, err := f.sessionWhere(ctx, q)
	if err != nil {
		return nil, 0, fmt.Errorf("fleet: sessions: %w", err)
	}
	if none {
		return list, 0, nil
	}
	cond := strings.Join(where, " AND ")
	if err := f.read.QueryRowContext(ctx, "SELECT count(*) FROM (SELECT 1 FROM session WHERE "+cond+" LIMIT ?)", append(slices.Clone(args), MaxFit+1)...).Scan(&fit); err != nil {
		return nil, 0, fmt.Errorf("fleet: sessions: count: %w", err)
	}
	rows, err := f.read.QueryContext(ctx, "SELECT row FROM session WHERE "+cond+" ORDER BY opened DESC, id DESC LIMIT ? OFFSET ?", append(args, limitOf(q.Limit), min(max(q.Offset, 0), MaxOffset))...)
	if err != nil {
		return nil, 0, fmt.Errorf("fleet: sessions: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var row string
		var s Session
		if err := rows.Scan(&row); err != nil {
			return nil, 0, fmt.Errorf("fleet: sessions: %w", err)
		}
		if err := json.Unmarshal([]byte(row), &s); err != nil {
			return nil, 0, fmt.Errorf("fleet: sessions: %w", err)
		}
		list = append(list, s.whole())
	}
	return list, fit, rows.Err()
}

// whole has no list that is nil.
func (s Session) whole() Session {
	s.Failed, s.Flags = append([]string{}, s.Failed...), append([]string{}, s.Flags...)
	if s.Officers == nil {
		s.Officers = []report.Officer{}
	}
	return s
}

// Session gives one session. ErrNotFound if there is none.
func (f *Fleet) Session(ctx context.Context, device, id string) (s Session, err error) {
	var row string
	err = f.read.QueryRowContext(ctx, "SELECT row FROM session WHERE device = ? AND session = ?", device, id).Scan(&row)
	if errors.Is(err, sql.ErrNoRows) {
		return s, fmt.Errorf("fleet: session %q: %w", id, ErrNotFound)
	}
	if err == nil {
		err = json.Unmarshal([]byte(row), &s)
	}
	if err != nil {
		return s, fmt.Errorf("fleet: session %q: %w", id, err)
	}
	return s.whole(), nil
}

// sessionWhere makes the conditions. A case or officer that few sessions have is looked up first; one that
// many have is met soon on the way back from the newest. none: nothing can fit.
func (f *Fleet) sessionWhere(ctx context.Context, q SessionFilter) (where []string, args []any, none bool, err error) {
	where = []string{"1"}
	add := func(is bool, cond string, arg ...any) {
		if is {
			where, args = append(where, cond), append(args, arg...)
		}
	}
	add(q.Body != "", "body = ?", q.Body)
	add(q.State != "", "state = ?", q.State)
	add(!q.From.IsZero(), "opened >= ?", q.From.UnixMilli())
	add(!q.Until.IsZero(), "opened < ?", q.Until.UnixMilli())
	add(!q.Drills, "drill = 0")
	if q.Room != "" {
		devices := f.devicesLike(q.Room)
		if len(devices) == 0 {
			return nil, nil, true, nil
		}
		marks := strings.TrimSuffix(strings.Repeat("?,", len(devices)), ",")
		add(true, "device IN ("+marks+")", devices...)
	}
	if word := plain(q.Officer); word != "" {
		const of = "SELECT session FROM session_officer WHERE word >= ? AND word < ?"
		ids, many, err := f.ids(ctx, of, word, word+"\U0010ffff")
		if err != nil {
			return nil, nil, false, err
		}
		if len(ids) == 0 {
			return nil, nil, true, nil
		}
		add(!many, "id IN ("+ids+")")
		add(many, "EXISTS (SELECT 1 FROM session_officer o WHERE o.session = session.id AND +o.word >= ? AND +o.word < ?)", word, word+"\U0010ffff")
	}
	if part := plain(q.Case); part != "" {
		like := "%" + strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`).Replace(part) + "%"
		ids, many, err := f.ids(ctx, `SELECT id FROM session INDEXED BY session_find WHERE find LIKE ? ESCAPE '\'`, like)
		if err != nil {
			return nil, nil, false, err
		}
		if len(ids) == 0 {
			return nil, nil, true, nil
		}
		add(!many, "id IN ("+ids+")")
		add(many, `find LIKE ? ESCAPE '\'`, like)
	}
	return where, args, false, nil
}

// ids gives the ids of a query as text for IN, or many if there are more than few.
func (f *Fleet) ids(ctx context.Context, query string, args ...any) (ids string, many bool, err error) {
	rows, err := f.read.QueryContext(ctx, query+" LIMIT ?", append(args, few+1)...)
	if err != nil {
		return "", false, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var b strings.Builder
	n := 0
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return "", false, err
		}
		if n++; n > 1 {
			b.WriteByte(',')
		}
		fmt.Fprint(&b, id)
	}
	return b.String(), n > few, rows.Err()
}

// devicesLike gives the devices in whose name, or whose room's, text stands.
func (f *Fleet) devicesLike(text string) (devices []any) {
	text = strings.ToLower(text)
	f.mu.RLock()
	defer f.mu.RUnlock()
	for _, r := range f.rooms {
		if strings.Contains(strings.ToLower(r.name+"\n"+r.state.Room), text) {
			devices = append(devices, r.name)
		}
	}
	return devices
}

// Named is a body that has sessions.
type Named struct {
	Key  string `json:"key"` // for SessionFilter.Body
	Name string `json:"name"`
}

// SessionBodies gives the bodies that have sessions, by name.
func (f *Fleet) SessionBodies() []Named {
	f.mu.RLock()
	defer f.mu.RUnlock()
	list := make([]Named, 0, len(f.bodies))
	for k, n := range f.bodies {
		if k != "" {
			list = append(list, Named{k, n})
		}
	}
	slices.SortFunc(list, func(a, b Named) int { return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Key, b.Key)) })
	return list
}

// loadBodies reads them at the start: one step of the index for each.
func (f *Fleet) loadBodies() error {
	for at := ""; ; {
		var row string
		err := f.read.QueryRow("SELECT body, row FROM session WHERE body > ? ORDER BY body LIMIT 1", at).Scan(&at, &row)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		var s Session
		if err == nil {
			err = json.Unmarshal([]byte(row), &s)
		}
		if err != nil {
			return fmt.Errorf("sessions: %w", err)
		}
		f.bodies[at] = cmp.Or(s.Body, s.USCC)
	}
}

// RecordedCases gives the cases that have sessions in a room, newest first, at most n.
func (f *Fleet) RecordedCases(ctx context.Context, device string, n int) ([]string, error) {
	rows, err := f.read.QueryContext(ctx, "SELECT json_extract(row, '$.case') FROM session WHERE device = ? ORDER BY opened DESC LIMIT ?", device, 20*n)
	if err != nil {
		return nil, fmt.Errorf("fleet: cases: %w", err)
	}
	defer rows.Close()
	var list []string
	seen := map[string]bool{"": true}
	for rows.Next() && len(list) < n {
		var no string
		if err := rows.Scan(&no); err != nil {
			return nil, fmt.Errorf("fleet: cases: %w", err)
		}
		if !seen[no] {
			seen[no] = true
			list = append(list, no)
		}
	}
	return list, rows.Err()
}
