package fleet

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"time"

	_ "modernc.org/sqlite" // the driver

	"minglu/agent/report"
)

const schemaVersion = 2

// Times are milliseconds since 1970 UTC by this machine; t is what the device said.
const schema = `
CREATE TABLE room (
	device     TEXT PRIMARY KEY,
	heard      INTEGER NOT NULL,          -- last message
	state      TEXT NOT NULL DEFAULT '',  -- last State with online true, as JSON
	online     INTEGER NOT NULL DEFAULT 0,
	compliance TEXT NOT NULL DEFAULT '',  -- last one, as it came
	health     TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE TABLE outbox (
	device  TEXT NOT NULL,
	outbox  TEXT NOT NULL,
	top     INTEGER NOT NULL,             -- highest number stored
	applied INTEGER NOT NULL,
	used    INTEGER NOT NULL,
	PRIMARY KEY (device, outbox)
) WITHOUT ROWID;
CREATE TABLE hole (                       -- numbers that are missing below top
	device TEXT NOT NULL,
	outbox TEXT NOT NULL,
	lo     INTEGER NOT NULL,
	hi     INTEGER NOT NULL,
	since  INTEGER NOT NULL,
	lost   INTEGER NOT NULL,
	PRIMARY KEY (device, outbox, lo)
) WITHOUT ROWID;
CREATE TABLE event (
	id       INTEGER PRIMARY KEY AUTOINCREMENT, -- order of arrival, never used twice
	device   TEXT NOT NULL,
	outbox   TEXT NOT NULL,
	n        INTEGER NOT NULL,
	t        TEXT NOT NULL,
	received INTEGER NOT NULL,
	type     TEXT NOT NULL,
	body     TEXT NOT NULL,
	UNIQUE (device, outbox, n)
);
CREATE INDEX event_device ON event (device, id);
CREATE INDEX event_type ON event (type, id);
CREATE INDEX event_received ON event (received);
CREATE TABLE alarm (
	id      INTEGER PRIMARY KEY AUTOINCREMENT,
	device  TEXT NOT NULL,
	code    TEXT NOT NULL,
	ch      TEXT NOT NULL,
	t       TEXT NOT NULL,                -- raised
	cleared TEXT NOT NULL DEFAULT '',     -- '' while open
	body    TEXT NOT NULL
);
CREATE UNIQUE INDEX alarm_open ON alarm (device, code, ch) WHERE cleared = '';
CREATE INDEX alarm_cleared ON alarm (cleared) WHERE cleared <> '';
CREATE TABLE refused (
	device TEXT NOT NULL,
	why    TEXT NOT NULL,
	n      INTEGER NOT NULL,
	last   INTEGER NOT NULL,
	detail TEXT NOT NULL,
	PRIMARY KEY (device, why)
) WITHOUT ROWID;` + sessionSchema + `
PRAGMA user_version = 2;`

func (f *Fleet) connect() error {
	path, err := filepath.Abs(f.o.Path)
	if err != nil {
		return err
	}
	dsn := (&url.URL{Scheme: "file", Path: path, RawQuery: "_pragma=busy_timeout(5000)" +
		"&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_txlock=immediate"}).String()
	for _, one := range []struct {
		db    **sql.DB
		conns int
	}{{&f.write, 1}, {&f.read, 4}} {
		d, err := sql.Open("sqlite", dsn)
		if err != nil {
			return err
		}
		d.SetMaxOpenConns(one.conns)
		*one.db = d
	}
	var version, tables int
	if err := f.write.QueryRow("SELECT user_version FROM pragma_user_version").Scan(&version); err != nil {
		return fmt.Errorf("version: %w", err)
	}
	if err := f.write.QueryRow("SELECT count(*) FROM sqlite_schema").Scan(&tables); err != nil {
		return fmt.Errorf("schema: %w", err)
	}
	if version == 0 && tables == 0 {
		tx, err := f.write.Begin()
		if err != nil {
			return fmt.Errorf("schema: %w", err)
		}
		if _, err := tx.Exec(schema); err != nil {
			return errors.Join(fmt.Errorf("schema: %w", err), tx.Rollback())
		}
		return tx.Commit()
	}
	if version == 1 {
		return f.migrate(context.Background())
	}
	if version != schemaVersion {
		return fmt.Errorf("the database has version %d, this program reads %d: use the program that made it, or name another state folder", version, schemaVersion)
	}
	if _, err := f.write.Exec(sessionSchema); err != nil { // tables and indexes that came later
		return fmt.Errorf("schema: %w", err)
	}
	return nil
}

// load reads what the pages show of each room.
func (f *Fleet) load() error {
	if err := each(f.read, "SELECT device, heard, state, compliance FROM room", func(s scanner) error {
		var name, state, comp string
		var heard int64
		if err := s.Scan(&name, &heard, &state, &comp); err != nil {
			return err
		}
		r := f.room(name)
		r.heardWall = time.UnixMilli(heard)
		if st, err := report.ParseState([]byte(state)); err == nil {
			st.Online = false // until it says so to this process
			r.state, r.begun = st, st.T
		}
		if c, err := report.ParseCompliance([]byte(comp)); err == nil {
			r.judge(&c)
		}
		return nil
	}); err != nil {
		return fmt.Errorf("rooms: %w", err)
	}
	if err := each(f.read, "SELECT device, count(*) FROM event GROUP BY device", func(s scanner) error {
		var name string
		var n int64
		err := s.Scan(&name, &n)
		f.room(name).events = n
		return err
	}); err != nil {
		return fmt.Errorf("events: %w", err)
	}
	if err := each(f.read, "SELECT device, code, ch, body FROM alarm WHERE cleared = ''", func(s scanner) error {
		var name, code, ch, body string
		err := s.Scan(&name, &code, &ch, &body)
		f.room(name).alarms[alarmKey{code, ch}] = alarmOf(body)
		return err
	}); err != nil {
		return fmt.Errorf("alarms: %w", err)
	}
	if err := each(f.read, "SELECT device, sum(hi - lo + 1) FROM hole GROUP BY device", func(s scanner) error {
		var name string
		var n int64
		err := s.Scan(&name, &n)
		f.room(name).missing = n
		return err
	}); err != nil {
		return fmt.Errorf("holes: %w", err)
	}
	if err := f.loadBodies(); err != nil {
		return err
	}
	// Outboxes with open holes must be known, so that waiting for them can end.
	if err := each(f.read, "SELECT DISTINCT device, outbox FROM hole WHERE lost = 0", func(s scanner) error {
		var k boxKey
		if err := s.Scan(&k.device, &k.outbox); err != nil {
			return err
		}
		f.waiting[k] = true
		return nil
	}); err != nil {
		return fmt.Errorf("holes: %w", err)
	}
	return each(f.read, "SELECT device, why, n, last, detail FROM refused", func(s scanner) error {
		var r Refusal
		var last int64
		err := s.Scan(&r.Device, &r.Why, &r.N, &last, &r.Detail)
		r.Last = time.UnixMilli(last).UTC()
		f.refused[refusalKey{r.Device, r.Why}] = &r
		if r.Device != "" {
			f.room(r.Device).refused += r.N
		}
		return err
	})
}

// box gives the numbers of an outbox, from memory or the database; a new one if there is none.
func (f *Fleet) box(ctx context.Context, q querier, k boxKey) (*numbers, error) {
	if o := f.boxes[k]; o != nil {
		return o, nil
	}
	o := &numbers{}
	err := q.QueryRowContext(ctx, "SELECT top, applied FROM outbox WHERE device = ? AND outbox = ?", k.device, k.outbox).Scan(&o.top, &o.applied)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, err
	}
	rows, err := q.QueryContext(ctx, "SELECT lo, hi, lost FROM hole WHERE device = ? AND outbox = ? ORDER BY lo", k.device, k.outbox)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		h := hole{since: f.start}
		if err := rows.Scan(&h.lo, &h.hi, &h.lost); err != nil {
			return nil, err
		}
		o.holes = append(o.holes, h)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	f.boxes[k] = o
	return o, nil
}

type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

type scanner interface{ Scan(...any) error }

func each(db *sql.DB, query string, visit func(scanner) error, args ...any) (err error) {
	rows, err := db.Query(query, args...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := visit(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
