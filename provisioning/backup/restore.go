package backup

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"minglu/agent/durable"
)

// Restore builds the sources of a backup again, each at the path given for its name; names without a
// path are left out. A path that exists already and is no empty folder is an error, and nothing is
// written then. It returns when the backup was made.
func Restore(ctx context.Context, from string, to map[string]string) (made time.Time, err error) {
	f, err := os.Open(from)
	if err != nil {
		return made, fmt.Errorf("restore: %w", err)
	}
	defer f.Close()
	for name, path := range to {
		if err := vacant(path); err != nil {
			return made, fmt.Errorf("restore: %s: %w", name, err)
		}
	}
	ix, err := check(ctx, f)
	if err != nil {
		return made, fmt.Errorf("restore: %s: %w: take another copy of the backup", from, err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return made, fmt.Errorf("restore: %w", err)
	}
	if err := unpack(ctx, f, ix, to); err != nil {
		return made, fmt.Errorf("restore: %w", err)
	}
	return ix.Made, nil
}

// vacant fails unless path does not exist or is an empty folder.
func vacant(path string) error {
	list, err := os.ReadDir(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("%s is there already: restore onto an empty machine, or move it away first", path)
	case len(list) > 0:
		return fmt.Errorf("%s is not empty: restore onto an empty machine, or move it away first", path)
	}
	return nil
}

// check reads the whole backup and compares each file with what the index says.
func check(ctx context.Context, r io.Reader) (ix index, err error) {
	t := tar.NewReader(r)
	h, err := t.Next()
	if err != nil || h.Name != indexName || h.Size > maxIndex {
		return ix, errors.New("not a backup of an office")
	}
	b, err := io.ReadAll(t)
	if err == nil {
		err = json.Unmarshal(b, &ix)
	}
	if err != nil || ix.V != 1 || len(ix.Files) > maxEntries {
		return ix, errors.New("not a backup that this version can read")
	}
	for _, e := range ix.Files {
		if err := ctx.Err(); err != nil {
			return ix, err
		}
		h, err := t.Next()
		if err != nil || h.Name != e.Name || h.Size != e.Size || !fs.ValidPath(e.Name) || h.Typeflag != tar.TypeReg {
			return ix, fmt.Errorf("%s is missing or damaged", e.Name)
		}
		d := sha256.New()
		if _, err := io.Copy(d, t); err != nil || hex.EncodeToString(d.Sum(nil)) != e.SHA256 {
			return ix, fmt.Errorf("%s is damaged", e.Name)
		}
	}
	if _, err := t.Next(); err != io.EOF {
		return ix, errors.New("more is in it than its index says")
	}
	return ix, nil
}

// unpack writes the files, and makes them durable.
func unpack(ctx context.Context, r io.Reader, ix index, to map[string]string) error {
	t := tar.NewReader(r)
	if _, err := t.Next(); err != nil {
		return err
	}
	for _, e := range ix.Files {
		if _, err := t.Next(); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		root, rest, _ := strings.Cut(e.Name, "/")
		base, wanted := to[root]
		if !wanted {
			continue
		}
		path := base
		if rest != "" {
			path = filepath.Join(base, filepath.FromSlash(rest))
		}
		files := durable.In(filepath.Dir(path))
		if err := files.MkdirAll(filepath.Dir(path)); err != nil {
			return err
		}
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, fs.FileMode(e.Mode)&0o777)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, t)
		if err := errors.Join(err, f.Close(), files.SyncFile(path), files.SyncDir(filepath.Dir(path))); err != nil {
			return err
		}
	}
	return nil
}
