// Package backup copies an office into one file and builds it again from that file on an empty machine.
//
// It guarantees: the copy is of one moment for each file (databases through SQLite itself, so that it may
// be made while the office runs), and says by SHA-256 what each file holds; Restore writes nothing unless
// the whole file is there and holds what it says, and only where nothing is yet.
//
// The file is not encrypted and holds the office's keys: it is written for its owner alone (mode 0600).
//
// The format: a POSIX tar. Its first entry, "backup.json", lists the others with size and SHA-256.
package backup

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	_ "modernc.org/sqlite" // the driver

	"minglu/agent/durable"
)

// Source is what is copied: folders and files by the names they have in the copy.
type Source struct {
	Name   string // "state", "office.yaml"; a path with slashes
	Path   string // folder or file, also by a symbolic link; one that does not exist is left out
	Needed bool   // that it gives no file is an error
}

// index is the first entry.
type index struct {
	V     int       `json:"v"`
	Made  time.Time `json:"made"`
	Files []entry   `json:"files"`
}

type entry struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	Mode   uint32 `json:"mode"`
}

const (
	indexName  = "backup.json"
	maxIndex   = 64 << 20
	tmpFolder  = "tmp"   // of any folder copied: left out
	lockName   = "lock"  // likewise
	maxEntries = 1 << 20 // files in a backup
	maxLinks   = 8       // symbolic links to folders within one another
)

// Write copies sources into a new file. It takes as long as reading them does; ctx ends it early, and
// then there is no file.
func Write(ctx context.Context, to string, sources []Source, now time.Time) (err error) {
	dir, err := os.MkdirTemp(filepath.Dir(to), ".backup-*")
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	defer os.RemoveAll(dir)
	files, err := collect(ctx, dir, sources)
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	tmp := filepath.Join(dir, "backup.tar")
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	err = errors.Join(pack(ctx, f, dir, files, now), f.Close())
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	d := durable.In(dir)
	if err := d.SyncFile(tmp); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	if err := d.RenameNew(tmp, to); err != nil {
		return fmt.Errorf("backup: %s: %w: name a file that does not exist yet", to, err)
	}
	return nil
}

// collect copies all sources below dir/copy, where nothing changes them any more.
func collect(ctx context.Context, dir string, sources []Source) (files []entry, err error) {
	for _, s := range sources {
		before := len(files)
		if err := walk(ctx, filepath.Join(dir, "copy"), s.Path, s.Name, maxLinks, &files); err != nil {
			return nil, err
		}
		if s.Needed && len(files) == before {
			return nil, fmt.Errorf("%s: %s gives nothing to copy: without it the office could not be built again", s.Name, s.Path)
		}
	}
	if len(files) == 0 {
		return nil, errors.New("there is nothing to copy: has this office ever run?")
	}
	slices.SortFunc(files, func(a, b entry) int { return strings.Compare(a.Name, b.Name) })
	return files, nil
}

// walk copies what is at a path, a folder or a file, to below dir under a name. Symbolic links are followed, links more
// of them within one another: an office whose state lies on another disk is copied whole.
func walk(ctx context.Context, dir, from, name string, links int, files *[]entry) error {
	root, err := filepath.EvalSymlinks(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // was removed meanwhile, or was never there
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		name := name
		if rel != "." {
			name += "/" + filepath.ToSlash(rel)
		}
		switch base := d.Name(); {
		case d.IsDir() && base == tmpFolder && rel != ".":
			return fs.SkipDir
		case d.IsDir():
			return nil
		case d.Type()&fs.ModeSymlink != 0 && links == 0:
			return fmt.Errorf("%s: more than %d symbolic links within one another", path, maxLinks)
		case d.Type()&fs.ModeSymlink != 0:
			return walk(ctx, dir, path, name, links-1, files)
		case !d.Type().IsRegular(), base == lockName, strings.HasSuffix(base, "-wal"), strings.HasSuffix(base, "-shm"), strings.HasSuffix(base, "-journal"):
			return nil
		}
		e, err := copyIn(ctx, path, filepath.Join(dir, filepath.FromSlash(name)))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		e.Name = name
		*files = append(*files, e)
		return nil
	})
}

// copyIn copies one file as of one moment, as far as files here are only replaced or appended to.
func copyIn(ctx context.Context, from, to string) (e entry, err error) {
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return e, err
	}
	info, err := os.Stat(from)
	if err != nil {
		return e, err
	}
	e.Mode = uint32(info.Mode().Perm())
	if strings.HasSuffix(from, ".db") {
		if err := copyDatabase(ctx, from, to); err != nil {
			return e, err
		}
		from = to
	}
	in, err := os.Open(from)
	if err != nil {
		return e, err
	}
	defer in.Close()
	h := sha256.New()
	w := io.Writer(h)
	if from != to {
		out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return e, err
		}
		defer func() { err = errors.Join(err, out.Close()) }()
		w = io.MultiWriter(h, out)
	}
	e.Size, err = io.Copy(w, in)
	e.SHA256 = hex.EncodeToString(h.Sum(nil))
	return e, err
}

// copyDatabase lets SQLite itself copy a database that may be in use.
func copyDatabase(ctx context.Context, from, to string) error {
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", OmitHost: true, Path: from, RawQuery: "mode=ro&_pragma=busy_timeout(30000)"}).String())
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.ExecContext(ctx, "VACUUM INTO ?", to)
	return err
}

func pack(ctx context.Context, out io.Writer, dir string, files []entry, now time.Time) error {
	list, err := json.MarshalIndent(index{V: 1, Made: now.UTC(), Files: files}, "", " ")
	if err != nil {
		return err
	}
	w := tar.NewWriter(out)
	if err := w.WriteHeader(&tar.Header{Name: indexName, Mode: 0o600, Size: int64(len(list)), ModTime: now, Format: tar.FormatPAX}); err != nil {
		return err
	}
	if _, err := w.Write(list); err != nil {
		return err
	}
	for _, e := range files {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := w.WriteHeader(&tar.Header{Name: e.Name, Mode: int64(e.Mode), Size: e.Size, ModTime: now, Format: tar.FormatPAX}); err != nil {
			return err
		}
		f, err := os.Open(filepath.Join(dir, "copy", filepath.FromSlash(e.Name)))
		if err != nil {
			return err
		}
		_, err = io.Copy(w, f)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return w.Close()
}
