package evidence

import (
	"crypto/ecdsa"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// Checkpoint is a parsed checkpoint note of this format: a signed text and one line of the device key.
type Checkpoint struct {
	Origin string
	Size   int64
	Root   Hash
	Sig    string // as in a sign line
}

// ParseCheckpoint reads a note strictly: it must be exactly what [Note] writes. It checks no signature.
func ParseCheckpoint(note string) (Checkpoint, error) {
	var c Checkpoint
	bad := func(what string) (Checkpoint, error) { return Checkpoint{}, errors.New("checkpoint: " + what) }
	if len(note) > 4096 {
		return bad("over 4 KiB")
	}
	lines := strings.Split(note, "\n")
	if len(lines) != 6 || lines[3] != "" || lines[5] != "" {
		return bad("not origin, size, root, an empty line and one signature line")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || size > MaxInt {
		return bad("its size cannot be read")
	}
	if c.Root, err = ParseHash(lines[2]); err != nil {
		return bad("its root cannot be read")
	}
	sig, ok := strings.CutPrefix(lines[4], "— "+lines[0]+" ")
	if !ok || !noteName(lines[0]) {
		return bad("not signed in the name of its origin")
	}
	c.Origin, c.Size, c.Sig = lines[0], size, sig
	if c.Note() != note {
		return bad("not in the one form it is written in")
	}
	return c, nil
}

// Note returns the checkpoint as a signed note.
func (c Checkpoint) Note() string { return Note(c.Origin, c.Size, c.Root, c.Sig) }

// Text returns what the device, and each witness, signs.
func (c Checkpoint) Text() []byte { return SignedText(c.Origin, c.Size, c.Root) }

// Verify checks the device's signature.
func (c Checkpoint) Verify(pub *ecdsa.PublicKey) error {
	if err := VerifySig(pub, c.Origin, c.Size, c.Root, c.Sig); err != nil {
		return fmt.Errorf("checkpoint of %s at %d: %w", c.Origin, c.Size, err)
	}
	return nil
}

// CheckConsistency checks that the tree with oldRoot begins the tree with root. An old size of 0
// begins every tree and has no proof.
func CheckConsistency(old, size int64, oldRoot, root Hash, proof []Hash) error {
	switch {
	case old < 0 || size < old || size > MaxInt:
		return fmt.Errorf("consistency proof: from %d lines to %d", old, size)
	case old == 0 || old == size:
		if len(proof) > 0 || old == size && oldRoot != root {
			return fmt.Errorf("consistency proof: does not hold from %d lines to %d", old, size)
		}
		return nil
	}
	p := make(tlog.TreeProof, len(proof))
	for i, h := range proof {
		p[i] = tlog.Hash(h)
	}
	if err := tlog.CheckTree(p, size, tlog.Hash(root), old, tlog.Hash(oldRoot)); err != nil {
		return fmt.Errorf("consistency proof: does not hold from %d lines to %d", old, size)
	}
	return nil
}
