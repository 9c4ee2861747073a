package identity

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"minglu/agent/evidence"
)

// ReadBoard tells the serial number and the model of the board, "" what it does not tell. root is "/",
// or a test's.
func ReadBoard(root string) (serial, model string) {
	first := func(names ...string) string {
		for _, n := range names {
			b, err := os.ReadFile(filepath.Join(root, n))
			if s := strings.TrimSpace(strings.Trim(string(b), "\x00")); err == nil && tells(s) {
				return s
			}
		}
		return ""
	}
	return first("proc/device-tree/serial-number", "sys/class/dmi/id/product_serial"), first("proc/device-tree/model", "sys/class/dmi/id/product_name")
}

// tells reports whether a text is a board's own, and not what makers leave in its place.
func tells(s string) bool {
	if len(s) < 4 || len(s) > 128 || strings.Trim(s, "0") == "" {
		return false
	}
	for _, r := range s {
		if r < ' ' || r == 0x7f {
			return false
		}
	}
	return !slices.Contains([]string{"none", "default string", "not specified", "not applicable", "to be filled by o.e.m.", "system serial number", "unknown", "123456789", "0123456789"}, strings.ToLower(s))
}

type board struct {
	Serial string `json:"serial"`
}

// leaveBoard puts the identity of another board aside, with one rename. A board that tells no serial is
// any board.
func (id *Identity) leaveBoard(serial string) (*Before, error) {
	b, err := os.ReadFile(filepath.Join(id.dir, boardFile))
	if errors.Is(err, fs.ErrNotExist) || serial == "" {
		return nil, nil
	}
	var was board
	if err == nil {
		err = json.Unmarshal(b, &was)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w: remove it if this is the same board as before", filepath.Join(id.dir, boardFile), err)
	}
	if was.Serial == serial {
		return nil, nil
	}
	old := &Before{D: "unknown"}
	if b, err := os.ReadFile(filepath.Join(id.dir, CertFile)); err == nil {
		if certs, err := evidence.CertsPEM(b); err == nil {
			if d, err := evidence.CertDevice(certs[0]); err == nil {
				old.D = d
			}
			old.Public, _ = publicOf(certs[0])
		}
	}
	for n := 1; ; n++ {
		old.Folder = fmt.Sprintf("%s.before-%s-%d", id.dir, old.D, n)
		err := id.files.RenameNew(id.dir, old.Folder)
		if !errors.Is(err, fs.ErrExist) {
			return old, err
		}
	}
}

// keepBoard notes which board this is.
func (id *Identity) keepBoard(serial string) error {
	if serial == "" {
		return nil
	}
	b, err := json.Marshal(board{serial})
	if err != nil {
		return err
	}
	have, err := os.ReadFile(filepath.Join(id.dir, boardFile))
	if err == nil && string(have) == string(b) {
		return nil
	}
	return id.files.Replace(filepath.Join(id.dir, boardFile), b)
}
