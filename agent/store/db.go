package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// Limits of [Store.List].
const (
	DefaultLimit = 100
	MaxLimit     = 1000
)

// schema is kept small on purpose: columns are what List looks for, the rest of a Session lies in
// row as JSON, so that a new field needs no migration. The version stands in PRAGMA user_version; a
// file of another version is set aside and rebuilt.
const (
	schemaVersion = 1
	schema        = `
CREATE TABLE session (
	id     TEXT PRIMARY KEY,
	opened INTEGER NOT NULL, -- µs since 1970 UTC
	state  TEXT NOT NULL,
	body   TEXT NOT NULL,    -- USCC
	caseno TEXT NOT NULL,
	words  TEXT NOT NULL,    -- case, matter, officers: what Filter.Text looks in
	row    TEXT NOT NULL,    -- Session as JSON, without Verified
	exit   INTEGER,          -- last verification, all three or none
	grade  INTEGER,
	at     INTEGER
) WITHOUT ROWID;
CREATE INDEX session_caseno ON session (caseno, id);
PRAGMA user_version = 1;`
)

// errSetAside means that the file is no catalogue of ours, or no longer one.
var errSetAside = errors.New("not a sound catalogue")

// Store is the open catalogue. Its methods are safe for concurrent use; writers wait for one another.
type Store struct {
	write *sql.DB // one connection: SQLite has one writer, and waiting in Go is fair
	read  *sql.DB
	log   *slog.Logger
}

// Open opens or creates the catalogue and checks its integrity. rebuild is true if the file was
// missing or empty, or unsound and therefore renamed to Path.bad-N: the caller then runs [Store.Rebuild].
func Open(o Options) (s *Store, rebuild bool, err error) {
	if o.Path == "" {
		return nil, false, errors.New("store: options: no path")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	path, err := filepath.Abs(o.Path)
	if err != nil {
		return nil, false, fmt.Errorf("store: %w", err)
	}
	s, rebuild, err = connect(path, o.Log)
	if errors.Is(err, errSetAside) {
		name, moved := setAside(path)
		if moved != nil {
			return nil, false, fmt.Errorf("store: %s: %w; it cannot be set aside: %w", path, err, moved)
		}
		o.Log.Warn("store: catalogue set aside, it must be rebuilt from the folders", "file", name, "cause", err)
		s, rebuild, err = connect(path, o.Log)
	}
	if err != nil {
		return nil, false, fmt.Errorf("store: %s: %w", path, err)
	}
	return s, rebuild, nil
}

// Check reads a catalogue and says what is wrong with it, without changing or making anything: nil if it
// is sound, an error wrapping fs.ErrNotExist if there is none. It may be in use.
func Check(path string) error {
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("store: check: %w", err)
	}
	full, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("store: check: %w", err)
	}
	query := "mode=ro&_pragma=busy_timeout(5000)"
	if _, err := os.Stat(full + "-wal"); errors.Is(err, fs.ErrNotExist) {
		query += "&immutable=1" // nobody uses it: SQLite would make and leave the files of a reader
	}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: full, RawQuery: query}).String())
	if err != nil {
		return fmt.Errorf("store: check: %w", err)
	}
	defer db.Close()
	var version int
	var verdict string
	if err := db.QueryRow("SELECT user_version FROM pragma_user_version").Scan(&version); err != nil {
		return fmt.Errorf("store: check: %w", err)
	}
	if err := db.QueryRow("PRAGMA integrity_check(1)").Scan(&verdict); err != nil {
		return fmt.Errorf("store: check: %w", err)
	}
	if version != schemaVersion || verdict != "ok" {
		return fmt.Errorf("store: check: version %d, %s", version, verdict)
	}
	return nil
}

// connect opens the file, making an empty catalogue of an empty file. An error wraps errSetAside if the
// file must not be used.
func connect(path string, log *slog.Logger) (s *Store, fresh bool, err error) {
	dsn := (&url.URL{Scheme: "file", Path: path, RawQuery: "_pragma=busy_timeout(5000)" +
		"&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_txlock=immediate"}).String()
	s = &Store{log: log}
	for db, conns := range map[**sql.DB]int{&s.write: 1, &s.read: 4} {
		d, err := sql.Open("sqlite", dsn)
		if err != nil {
			return nil, false, errors.Join(err, s.Close())
		}
		d.SetMaxOpenConns(conns)
		*db = d
	}
	if fresh, err = s.check(); err == nil {
		_, err = s.write.Exec(keptSchema + ";" + searchSchema)
	}
	if err != nil {
		return nil, false, errors.Join(unsound(err), s.Close())
	}
	return s, fresh, nil
}

// check makes the table in an empty file, else asks SQLite whether the file is whole.
func (s *Store) check() (fresh bool, err error) {
	var version, tables int
	if err := s.write.QueryRow("SELECT user_version FROM pragma_user_version").Scan(&version); err != nil {
		return false, fmt.Errorf("version: %w", err)
	}
	if err := s.write.QueryRow("SELECT count(*) FROM sqlite_schema").Scan(&tables); err != nil {
		return false, fmt.Errorf("schema: %w", err)
	}
	if version == 0 && tables == 0 {
		tx, err := s.write.Begin()
		if err != nil {
			return false, fmt.Errorf("schema: %w", err)
		}
		if _, err := tx.Exec(schema + continued); err != nil {
			return false, errors.Join(fmt.Errorf("schema: %w", err), tx.Rollback())
		}
		return true, tx.Commit()
	}
	if version != schemaVersion {
		return false, fmt.Errorf("%w: version %d, want %d", errSetAside, version, schemaVersion)
	}
	var verdict string
	if err := s.write.QueryRow("PRAGMA integrity_check(1)").Scan(&verdict); err != nil {
		return false, fmt.Errorf("integrity check: %w", err)
	}
	if verdict != "ok" {
		return false, fmt.Errorf("%w: integrity check: %s", errSetAside, verdict)
	}
	if _, err := s.write.Exec(continued); err != nil { // catalogues of earlier versions lack it
		return false, fmt.Errorf("schema: %w", err)
	}
	return false, nil
}

// unsound wraps errors that only a new file mends in errSetAside. A full or read-only disk is not one.
func unsound(err error) error {
	if e := (*sqlite.Error)(nil); errors.As(err, &e) {
		switch e.Code() & 0xff { // the low byte is the primary result code, sqlite.org/rescode.html
		case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
			return fmt.Errorf("%w: %w", errSetAside, err)
		}
	}
	return err
}

// setAside renames the file and its journals to the first free name.bad-N.
func setAside(path string) (string, error) {
	for n := 1; ; n++ {
		bad := fmt.Sprintf("%s.bad-%d", path, n)
		if _, err := os.Lstat(bad); err == nil {
			continue
		} else if !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
		for _, suffix := range []string{"-wal", "-shm"} {
			if err := os.Rename(path+suffix, bad+suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
				return "", err
			}
		}
		return bad, os.Rename(path, bad)
	}
}

// Close waits for running calls and closes the file.
func (s *Store) Close() error {
	var errs []error
	for _, db := range []*sql.DB{s.read, s.write} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}

// Put writes the row, replacing one of the same id but for its Verified, which only
// [Store.SetVerified] changes. The row is durable when Put returns nil.
func (s *Store) Put(ctx context.Context, row Session) error {
	return put(ctx, s.write, row)
}

type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

func put(ctx context.Context, to execer, row Session) error {
	words := []string{row.Case, row.Matter}
	for _, o := range row.Officers {
		words = append(words, o.Name, o.Credential)
	}
	row.Verified, row.Kept = Verified{}, Kept{}
	b, err := json.Marshal(row)
	if err != nil {
		return fmt.Errorf("store: put %q: %w", row.ID, err)
	}
	_, err = to.ExecContext(ctx, `INSERT INTO session (id, opened, state, body, caseno, words, row) VALUES (?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET opened=excluded.opened, state=excluded.state, body=excluded.body,
		caseno=excluded.caseno, words=excluded.words, row=excluded.row`,
		row.ID, row.Opened.UnixMicro(), string(row.State), row.Body.USCC, row.Case, strings.Join(words, "\n"), string(b))
	if err != nil {
		return fmt.Errorf("store: put %q: %w", row.ID, err)
	}
	return nil
}

// SetVerified keeps the result of a verification, durably. [ErrNotFound] if there is no such row.
func (s *Store) SetVerified(ctx context.Context, id string, v Verified) error {
	res, err := s.write.ExecContext(ctx, "UPDATE session SET exit=?, grade=?, at=? WHERE id=?", v.Exit, v.Grade, v.At.UnixMicro(), id)
	if err != nil {
		return fmt.Errorf("store: verified %q: %w", id, err)
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return fmt.Errorf("store: verified %q: %w", id, errors.Join(ErrNotFound, err))
	}
	return nil
}

// Get returns one row, or an error wrapping [ErrNotFound].
func (s *Store) Get(ctx context.Context, id string) (Session, error) {
	rows, err := s.query(ctx, "id = ?", []any{id}, 1, 0)
	if err != nil {
		return Session{}, fmt.Errorf("store: get %q: %w", id, err)
	}
	if len(rows) == 0 {
		return Session{}, fmt.Errorf("store: get %q: %w", id, ErrNotFound)
	}
	return rows[0], nil
}

// List returns at most limit rows (0: DefaultLimit; never more than MaxLimit), newest first, after
// skipping offset. Session ids begin with the time, so their order is the order of opening.
func (s *Store) List(ctx context.Context, f Filter, limit, offset int) ([]Session, error) {
	if limit <= 0 {
		limit = DefaultLimit
	}
	where, args := f.where()
	if f.Text != "" {
		ids, many, err := s.texts(ctx, f.Text)
		switch {
		case err != nil:
			return nil, fmt.Errorf("store: list: %w", err)
		case many:
			where, args = where+" AND instr(words, ?) > 0", append(args, f.Text)
		case len(ids) == 0:
			return []Session{}, nil
		default:
			where, args = where+" AND id IN (?"+strings.Repeat(", ?", len(ids)-1)+")", append(args, ids...)
		}
	}
	rows, err := s.query(ctx, where, args, min(limit, MaxLimit), max(offset, 0))
	if err != nil {
		return nil, fmt.Errorf("store: list: %w", err)
	}
	return rows, nil
}

func (f Filter) where() (string, []any) {
	var (
		where = []string{"1"}
		args  []any
	)
	add := func(is bool, cond string, arg any) {
		if is {
			where, args = append(where, cond), append(args, arg)
		}
	}
	add(f.Body != "", "body = ?", f.Body)
	add(f.Case != "", "caseno = ?", f.Case)
	add(f.State != "", "state = ?", string(f.State))
	add(f.Before != "", "id < ?", f.Before)
	add(!f.From.IsZero(), "opened >= ?", f.From.UnixMicro())
	add(!f.Until.IsZero(), "opened < ?", f.Until.UnixMicro())
	f.idBounds(add)
	return strings.Join(where, " AND "), args
}

func (s *Store) query(ctx context.Context, where string, args []any, limit, offset int) (out []Session, err error) {
	rows, err := s.read.QueryContext(ctx, "SELECT row, exit, grade, at, (SELECT kept FROM kept WHERE kept.id = session.id) FROM session WHERE "+where+
		" ORDER BY id DESC LIMIT ? OFFSET ?", append(args, limit, offset)...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	out = []Session{}
	for rows.Next() {
		var (
			b               []byte
			exit, grade, at sql.NullInt64
			keeping         sql.NullString
			one             Session
		)
		if err := rows.Scan(&b, &exit, &grade, &at, &keeping); err != nil {
			return nil, err
		}
		if err := json.Unmarshal(b, &one); err != nil {
			return nil, err
		}
		if err := kept(keeping, &one.Kept); err != nil {
			return nil, err
		}
		if at.Valid {
			one.Verified = Verified{int(exit.Int64), int(grade.Int64), time.UnixMicro(at.Int64).UTC()}
		}
		out = append(out, one)
	}
	return out, rows.Err()
}
