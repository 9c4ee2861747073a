package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"minglu/agent/durable"
)

// Copy is the copy of a ledger on a disk, DISK/ledger/G/log.jsonl. One goroutine at a time uses it.
type Copy struct {
	l    *Ledger
	disk string
}

// Copy returns the copy on a disk, given by the disk's folder.
func (l *Ledger) Copy(disk string) *Copy { return &Copy{l, disk} }

// Sync completes the copy from the durable bytes of the master and returns when it is durable (R3). A
// copy that is no byte prefix of the master is kept: its folder is renamed to G.foreign-N, and foreign
// is the new name; raise an alarm then. It reads both files whole, so call it when a disk begins to
// be used or a copy fell behind, not for each line. It does not hold up the ledger.
func (c *Copy) Sync() (foreign string, err error) {
	l := c.l
	files := durable.Files{Layer: l.o.Layer}
	master, err := l.BytesFrom(0)
	if err != nil {
		return "", err
	}
	name := filepath.Join(c.disk, "ledger", l.generation, logFile)
	have, err := files.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("ledger: copy: %w", err)
	}
	if !bytes.HasPrefix(master, have) {
		if foreign, err = setAside(files, filepath.Dir(name)); err != nil {
			return "", fmt.Errorf("ledger: copy: %w", err)
		}
		have = nil
	}
	if err := complete(files, name, master, int64(len(have))); err != nil {
		return foreign, fmt.Errorf("ledger: copy: %w", err)
	}
	return foreign, nil
}

func complete(files durable.Files, name string, master []byte, have int64) (err error) {
	if err := files.Mkdir(filepath.Dir(name)); err != nil {
		return err
	}
	f, err := files.Append(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.WriteAt(master[have:], have); err != nil {
		return err
	}
	return f.Sync()
}

// setAside renames a folder to the first free name FOLDER.foreign-N.
func setAside(files durable.Files, dir string) (string, error) {
	for n := 1; ; n++ {
		to := fmt.Sprintf("%s.foreign-%d", dir, n)
		err := files.RenameNew(dir, to)
		if !errors.Is(err, fs.ErrExist) {
			return to, err
		}
	}
}
