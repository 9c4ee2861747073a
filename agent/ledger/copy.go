package ledger

import (
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

// Sync completes the copy from the durable bytes of the master and returns when it is durable (R3). What a
// power cut left unwritten in it is written. A copy that holds anything else than the master is kept: its
// folder is renamed to G.foreign-N, and foreign is the new name; raise an alarm then. The disk's own
// folders are never made: an error wraps fs.ErrNotExist where DISK/ledger is not there. It reads both files whole, so call it when a disk begins to
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
	same, ours := compare(master, have)
	if !ours {
		if foreign, err = setAside(files, filepath.Dir(name)); err != nil {
			return "", fmt.Errorf("ledger: copy: %w", err)
		}
		same = 0
	}
	if err := complete(files, name, master, same); err != nil {
		return foreign, fmt.Errorf("ledger: copy: %w", err)
	}
	return foreign, nil
}

// compare returns how many bytes a copy has in common with the master, and whether it holds nothing else:
// where a power cut kept bytes from the disk, NUL or what erased flash reads as may stand in their place.
func compare(master, have []byte) (same int64, ours bool) {
	if len(have) > len(master) {
		return 0, false
	}
	same = int64(len(have))
	for i, b := range have {
		if b == master[i] {
			continue
		}
		if b != 0 && b != 0xff {
			return 0, false
		}
		same = min(same, int64(i))
	}
	return same, true
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
