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

// sessionSchema holds the sessions of all rooms. It is made of the session events as they are stored, in the
// same transaction, and outlives them.
const sessionSchema = `
CREATE TABLE IF NOT EXISTS session (
	id      INTEGER PRIMARY KEY,
	device  TEXT NOT NULL,
	session TEXT NOT NULL,
	opened  INTEGER NOT NULL,            -- ms, by the device's clock
	body    TEXT NOT NULL,               -- USCC, or the name where there is none
	find    TEXT NOT NULL,               -- case number as plain writes it
	state   TEXT NOT NULL,
	media   INTEGER NOT NULL,            -- ms
	drill   INTEGER NOT NULL,
	unchecked INTEGER NOT NULL,          -- began with failed items
	archived  INTEGER NOT NULL,
	last    INTEGER NOT NULL,            -- ms of the newest event that is in it
	row     TEXT NOT NULL,               -- Session as JSON
	UNIQUE (device, session)
);
CREATE INDEX IF NOT EXISTS session_opened ON session (opened, drill);
CREATE INDEX IF NOT EXISTS session_body ON session (body, opened, drill);
CREATE INDEX IF NOT EXISTS session_year ON session (opened, body, drill, state, unchecked, archived, media);
CREATE INDEX IF NOT EXISTS session_device ON session (device, opened, drill);
CREATE INDEX IF NOT EXISTS session_find ON session (find, opened);
CREATE TABLE IF NOT EXISTS session_officer (
	word    TEXT NOT NULL,               -- name or credential
	session INTEGER NOT NULL,
	PRIMARY KEY (session, word)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS session_officer_word ON session_officer (word, session);
CREATE TABLE IF NOT EXISTS unrecorded (
	id     INTEGER PRIMARY KEY,
	device TEXT NOT NULL,
	ref    TEXT NOT NULL,                -- outbox and number of the event
	t      INTEGER NOT NULL,             -- ms
	body   TEXT NOT NULL,
	row    TEXT NOT NULL,                -- Unrecorded as JSON
	UNIQUE (device, ref)
);
CREATE INDEX IF NOT EXISTS unrecorded_t ON unrecorded (t);
CREATE TABLE IF NOT EXISTS look (
	id      INTEGER PRIMARY KEY,
	device  TEXT NOT NULL,
	ref     TEXT NOT NULL,               -- outbox and number of the event
	t       INTEGER NOT NULL,            -- ms
	body    TEXT NOT NULL,               -- USCC
	action  TEXT NOT NULL,
	session TEXT NOT NULL,
	who     TEXT NOT NULL,
	row     TEXT NOT NULL,               -- the line of the room's register, as it came
	UNIQUE (device, ref)
);
CREATE INDEX IF NOT EXISTS look_t ON look (t, body, action);
CREATE INDEX IF NOT EXISTS look_session ON look (session, t);`

// SessionsFor is how long the catalogue keeps a session after its opening: longer than case files are kept,
// those kept for ever aside, which stand in the archive.
const SessionsFor = 60 * 366 * 24 * time.Hour

// Session is one session as its room told it.
type Session struct {
	ID        string           `json:"id"`
	Device    string           `json:"device"`
	Room      string           `json:"room"` // name for people, as when it was told
	Body      string           `json:"body"`
	USCC      string           `json:"uscc"`
	Case      string           `json:"case"`
	Matter    string           `json:"matter"`
	Officers  []report.Officer `json:"officers"`
	Trigger   string           `json:"trigger"`
	Reason    string           `json:"reason"` // of its end
	Opened    time.Time        `json:"opened"`
	Ended     time.Time        `json:"ended,omitzero"`
	State     string           `json:"state"` // "recording", "paused", "sealed", "recovered", "destroyed"
	MediaMS   int64            `json:"media_ms"`
	Manifest  string           `json:"manifest"` // SHA-256, hex
	Copies    int              `json:"copies"`
	Continues string           `json:"continues"`
	Failed    []string         `json:"failed"` // items of the check before use
	Flags     []string         `json:"flags"`
	Drill     bool             `json:"drill"`
	Archived  time.Time        `json:"archived,omitzero"`
	Held      bool             `json:"held"` // a legal hold stops its deletion
}

// Unrecorded is something that was lawfully not recorded, and why.
type Unrecorded struct {
	Device string    `json:"device"`
	Room   string    `json:"room"`
	T      time.Time `json:"t"`
	Who    string    `json:"who"`
	Kind   string    `json:"kind"` // "secret", "urgent", "objective", "other", or "" if the room did not say
	Reason string    `json:"reason"`
	Case   string    `json:"case"`
	Body   string    `json:"body"`
	USCC   string    `json:"uscc"`
}

// told is what session events say, those of later versions included.
type told struct {
	report.SessionEvent
	Drill bool `json:"drill"`
}

// Types of events that rooms send beside those report names in every version.
const (
	typeArchived  = "session.archived"
	typeDestroyed = "session.destroyed"
	typeHeld      = "session.held"
	typeReleased  = "session.released"
)

// catalogue enters what an event says of a session. Events may come in any order and more than once.
func (b *batch) catalogue(ctx context.Context, device, room string, m *report.Numbered) error {
	if kind, _ := report.KindOf(m.Type); kind != report.KindSession {
		return nil
	}
	var e told
	if err := json.Unmarshal(m.Body, &e); err != nil && m.Type != report.SessionAccessed { // whose body is a string
		return nil // of a later version: on record as an event
	}
	switch m.Type {
	case report.SessionNotRecorded:
		return b.unrecorded(ctx, device, room, m, &e)
	case report.SessionAccessed:
		return b.look(ctx, device, m)
	case report.SessionOpened, report.SessionPaused, report.SessionResumed, report.SessionSealed, report.SessionRecovered,
		report.SessionAmended, typeArchived, typeDestroyed, typeHeld, typeReleased:
	default:
		return nil // on record as an event
	}
	if e.Session == "" {
		return nil
	}
	s := Session{ID: e.Session, Device: device, Room: room, State: "recording", Opened: m.T}
	var id, last int64
	var row string
	err := b.tx.QueryRowContext(ctx, "SELECT id, last, row FROM session WHERE device = ? AND session = ?", device, e.Session).Scan(&id, &last, &row)
	switch {
	case errors.Is(err, sql.ErrNoRows):
	case err != nil:
		return err
	default:
		if err := json.Unmarshal([]byte(row), &s); err != nil {
			return fmt.Errorf("session %q: %w", e.Session, err)
		}
	}
	s.merge(m, &e, m.T.UnixMilli() >= last)
	b.after = append(b.after, func() { b.f.bodies[s.bodyKey()] = cmp.Or(s.Body, s.USCC) })
	return b.saveSession(ctx, id, max(last, m.T.UnixMilli()), &s)
}

// merge takes in one event; newer says that none later was taken in before.
func (s *Session) merge(m *report.Numbered, e *told, newer bool) {
	set := func(to *string, v string) {
		if v != "" && (newer || *to == "") {
			*to = v
		}
	}
	if e.Body != nil {
		set(&s.Body, e.Body.Name)
		set(&s.USCC, e.Body.USCC)
	}
	set(&s.Case, e.Case)
	set(&s.Matter, e.Matter)
	set(&s.Continues, e.Continues)
	set(&s.Manifest, e.Manifest)
	if len(e.Officers) > 0 && (newer || len(s.Officers) == 0) {
		s.Officers = e.Officers
	}
	if len(e.Flags) > 0 && (newer || len(s.Flags) == 0) {
		s.Flags = e.Flags
	}
	s.Drill = s.Drill || e.Drill || slices.Contains(e.Flags, "drill")
	over := s.State == wordSealed || s.State == wordRecovered || s.State == wordDestroyed
	switch m.Type {
	case report.SessionOpened:
		s.Opened, s.Trigger, s.Failed = m.T, e.Trigger, e.Failed
	case report.SessionPaused, report.SessionResumed:
		if newer && !over {
			s.State = map[string]string{report.SessionPaused: "paused", report.SessionResumed: "recording"}[m.Type]
		}
	case report.SessionSealed, report.SessionRecovered:
		if s.State != wordDestroyed {
			s.State = map[string]string{report.SessionSealed: wordSealed, report.SessionRecovered: wordRecovered}[m.Type]
		}
		s.MediaMS, s.Copies, s.Reason, s.Ended = e.MediaMS, e.Copies, e.Reason, m.T
		if s.Trigger == "" && s.Opened.Equal(m.T) { // the opening never came
			s.Opened = m.T.Add(-time.Duration(min(e.MediaMS, 366*24*3600*1000)) * time.Millisecond)
		}
	case typeArchived:
		s.Archived = m.T
	case typeHeld, typeReleased:
		if newer {
			s.Held = m.Type == typeHeld
		}
	case typeDestroyed:
		s.State = wordDestroyed
	}
}

const wordSealed, wordRecovered, wordDestroyed = "sealed", "recovered", "destroyed"

func (s *Session) bodyKey() string { return cmp.Or(s.USCC, s.Body) }

func (b *batch) saveSession(ctx context.Context, id, last int64, s *Session) error {
	args := []any{s.Device, s.ID, s.Opened.UnixMilli(), s.bodyKey(), plain(s.Case), s.State, s.MediaMS, s.Drill, len(s.Failed) > 0, !s.Archived.IsZero(), last, must(s)}
	if id == 0 {
		res, err := b.exec(ctx, "INSERT INTO session (device, session, opened, body, find, state, media, drill, unchecked, archived, last, row) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", args...)
		if err != nil {
			return err
		}
		if id, err = res.LastInsertId(); err != nil {
			return err
		}
	} else if _, err := b.exec(ctx, "UPDATE session SET device = ?, session = ?, opened = ?, body = ?, find = ?, state = ?, media = ?, drill = ?, unchecked = ?, archived = ?, last = ?, row = ? WHERE id = ?", append(args, id)...); err != nil {
		return err
	}
	for _, o := range s.Officers {
		for _, word := range []string{o.Name, o.Credential} {
			if word == "" {
				continue
			}
			if _, err := b.exec(ctx, "INSERT OR IGNORE INTO session_officer (word, session) VALUES (?, ?)", plain(word), id); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *batch) unrecorded(ctx context.Context, device, room string, m *report.Numbered, e *told) error {
	u := Unrecorded{Device: device, Room: room, T: m.T, Who: e.Who, Kind: e.Kind, Reason: e.Reason, Case: e.Case}
	if e.Body != nil {
		u.Body, u.USCC = e.Body.Name, e.Body.USCC
	}
	_, err := b.exec(ctx, "INSERT OR IGNORE INTO unrecorded (device, ref, t, body, row) VALUES (?, ?, ?, ?, ?)",
		device, fmt.Sprintf("%s %d", m.Outbox, m.N), m.T.UnixMilli(), cmp.Or(u.USCC, u.Body), must(u))
	return err
}

// look enters a line of a room's register.
func (b *batch) look(ctx context.Context, device string, m *report.Numbered) error {
	var l report.Look
	if err := json.Unmarshal(m.Body, &l); err != nil {
		return nil // was checked when it came
	}
	_, err := b.exec(ctx, "INSERT OR IGNORE INTO look (device, ref, t, body, action, session, who, row) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
		device, fmt.Sprintf("%s %d", m.Outbox, m.N), l.At.UnixMilli(), l.Body, l.Action, l.Session, l.Who, string(m.Body))
	return err
}

// plain is how case numbers, names and credentials are compared: capitals, one kind of bracket, no spaces.
func plain(s string) string {
	return strings.ToUpper(strings.NewReplacer("〔", "[", "〕", "]", "（", "[", "）", "]", "(", "[", ")", "]", "【", "[", "】", "]", "［", "[", "］", "]", " ", "", "\u3000", "").Replace(s))
}

// migrate makes the catalogue of sessions from the events of a database of version 1.
func (f *Fleet) migrate(ctx context.Context) error {
	tx, err := f.write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	b := newBatch(f, tx)
	err = b.replay(ctx)
	if err == nil {
		_, err = tx.Exec("PRAGMA user_version = 2")
	}
	if err != nil {
		return errors.Join(fmt.Errorf("migrate: %w", err), tx.Rollback())
	}
	return tx.Commit()
}

func (b *batch) replay(ctx context.Context) error {
	if _, err := b.tx.ExecContext(ctx, sessionSchema); err != nil {
		return err
	}
	names := map[string]string{}
	const chunk = 500
	for after := int64(0); ; {
		rows, err := b.tx.QueryContext(ctx, "SELECT e.id, e.device, e.outbox, e.n, e.t, e.type, e.body, coalesce(r.state, '') FROM event e LEFT JOIN room r ON r.device = e.device WHERE e.id > ? AND e.type >= 'session.' AND e.type < 'session/' ORDER BY e.id LIMIT ?", after, chunk)
		if err != nil {
			return err
		}
		var list []report.Numbered
		for rows.Next() {
			m := report.Numbered{V: report.Version}
			var t, body, state string
			if err := rows.Scan(&after, &m.Device, &m.Outbox, &m.N, &t, &m.Type, &body, &state); err != nil {
				return errors.Join(err, rows.Close())
			}
			m.T, _ = time.Parse(time.RFC3339Nano, t) // as we wrote it
			m.Body = []byte(body)
			if st, err := report.ParseState([]byte(state)); err == nil {
				names[m.Device] = st.Room
			}
			list = append(list, m)
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return err
		}
		for i := range list {
			if err := b.catalogue(ctx, list[i].Device, cmp.Or(names[list[i].Device], list[i].Device), &list[i]); err != nil {
				return err
			}
		}
		b.after = nil // nothing is in memory yet
		if len(list) < chunk {
			return nil
		}
	}
}
