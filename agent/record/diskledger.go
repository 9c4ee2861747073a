package record

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"

	"minglu/agent/durable"
)

var diskID = regexp.MustCompile(`^[0-9a-f]{32}$`)

// diskFile is DISK/ledger/disk.json.
type diskFile struct {
	ID string `json:"id"`
}

// readDiskID returns the id of a disk, or an error wrapping fs.ErrNotExist if it has none yet.
func readDiskID(files durable.Files, path string) (string, error) {
	name := filepath.Join(path, "ledger", "disk.json")
	b, err := files.ReadFile(name)
	if err != nil {
		return "", err
	}
	var f diskFile
	if err := json.Unmarshal(b, &f); err != nil || !diskID.MatchString(f.ID) {
		return "", fmt.Errorf("record: %s: %q is not a disk's id: delete the file to give the disk another", name, b)
	}
	return f.ID, nil
}

// here returns nil if the disk that was made ready is still in its folder.
func (d *disk) here() error {
	switch id, err := readDiskID(d.files, d.path); {
	case errors.Is(err, fs.ErrNotExist):
		return errUnplugged
	case err != nil:
		return err
	case id != d.diskID():
		return fmt.Errorf("%w: disk %s is there instead", errUnplugged, id)
	}
	return nil
}

// makeDiskID names a disk at random, for life.
func makeDiskID(files durable.Files, path string) (string, error) {
	raw := make([]byte, 16)
	rand.Read(raw) // never fails (crypto/rand)
	f := diskFile{ID: hex.EncodeToString(raw)}
	b, err := json.Marshal(f)
	if err != nil {
		return "", err
	}
	return f.ID, files.Create(filepath.Join(path, "ledger", "disk.json"), append(b, '\n'))
}

var generation = regexp.MustCompile(`^([0-9a-f]{16}){1,2}$`)

// appendLedger puts bytes at off of the copy of ledger generation gen. What is there already is kept: a
// ledger only grows. It reports a copy that ends before off by short.
func (d *disk) appendLedger(gen string, off int64, b []byte) (short bool, err error) {
	if err := d.here(); err != nil {
		return false, err
	}
	dir := filepath.Join(d.path, "ledger", gen)
	if _, err := d.r.o.Layer.ReadDir(dir); err != nil {
		if err := d.files.Mkdir(dir); err != nil {
			return false, err
		}
	}
	f, err := d.files.Append(filepath.Join(dir, "log.jsonl"))
	if err != nil {
		return false, err
	}
	defer f.Close()
	size := f.Size()
	switch {
	case size < off:
		return true, nil
	case size >= off+int64(len(b)):
		return false, nil
	}
	if err := f.WriteAt(b[size-off:], size); err != nil {
		return false, err
	}
	return false, f.Sync()
}

// LedgerAppend puts bytes of ledger generation gen at off of its copies on the disks, each after
// everything handed to that disk before (W2). Does not block. b is read-only from here on. A copy that
// ends before off is completed by Options.LedgerSync; a disk that is not usable gets the bytes that way
// when it comes back.
func (r *Recorder) LedgerAppend(gen string, off int64, b []byte) error {
	if !generation.MatchString(gen) {
		return fmt.Errorf("record: ledger generation %q: want 16 or 32 hex digits: %w", gen, fs.ErrInvalid)
	}
	for _, d := range r.disks {
		d.mu.Lock()
		ok := d.ok
		d.mu.Unlock()
		if !ok {
			continue
		}
		d.put(op{bytes: int64(len(b)), do: func(d *disk) error {
			short, err := d.appendLedger(gen, off, b)
			if short && r.o.LedgerSync != nil {
				return r.o.LedgerSync(d.path)
			}
			return err
		}})
	}
	return nil
}
