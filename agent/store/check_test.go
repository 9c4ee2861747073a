package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// TestCheckChangesNothing: it tells a sound catalogue from none and from a damaged one, also while it is
// in use, and leaves no file behind.
func TestCheckChangesNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "catalogue.db")
	if err := Check(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no catalogue: %v", err)
	}
	s, _, err := Open(Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	if err := Check(path); err != nil {
		t.Errorf("in use: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Check(path); err != nil {
		t.Errorf("sound: %v", err)
	}
	if err := os.WriteFile(path, []byte("this is no database, and it is long enough to be looked at by SQLite as if it were one, with a header of a hundred bytes"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Check(path); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("damaged: %v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v %v", entries, err)
	}
}
