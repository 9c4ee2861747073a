package record

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/maphash"
	"io"
	"os"
	"path/filepath"

	"github.com/emmansun/gmsm/sm3"
)

// errDiffers means that a disk gives back other bytes than were written to it.
var errDiffers = errors.New("the disk gives back other bytes than were written: replace it")

// digests of a whole file, hex. sm3 is "" in a session without an SM2 certificate: nobody asks for it, and
// it costs more than all other digests together.
type digests struct{ sha256, sm3 string }

// readBack reads a segment from a disk, checks that each fragment is what was written, and
// returns the digests of the file as it will be once the index is in its reserve. The second pass over
// the media is on purpose: what is signed as the file's digest is what the disk gives back.
func (t *target) readBack(seg *segment, index []byte) (digests, error) {
	name := filepath.Join(t.dir, seg.file)
	asked := func() { t.d.read.begin(seg, t.d.r.o.Now().Up) } // the disk may hang
	asked()
	h, err := t.d.r.o.Layer.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return digests{}, fmt.Errorf("record: read back: %w", err)
	}
	defer h.Close()
	size, err := h.Size()
	if err != nil {
		return digests{}, fmt.Errorf("record: read back: %w", err)
	}
	if size != seg.size {
		return digests{}, fmt.Errorf("record: read back: %s has %d bytes instead of %d: %w", name, size, seg.size, errDiffers)
	}
	s2, s3 := sha256.New(), hash.Hash(nil)
	whole := io.Writer(s2)
	if t.s.sm2 {
		s3 = sm3.New()
		whole = io.MultiWriter(s2, s3)
	}
	buf := make([]byte, 256<<10)

	head := make([]byte, seg.initLen)
	if _, err := h.ReadAt(head, 0); err != nil {
		return digests{}, fmt.Errorf("record: read back: %w", err)
	}
	if sha256.Sum256(head) != seg.init {
		return digests{}, fmt.Errorf("record: read back: %s: init: %w", name, errDiffers)
	}
	whole.Write(head)
	whole.Write(index)
	off := seg.initLen + seg.reserve
	var part maphash.Hash
	part.SetSeed(t.d.r.seed)
	for i := range seg.written {
		part.Reset()
		for n := seg.written[i].len; n > 0; {
			p := buf[:min(n, int64(len(buf)))]
			asked()
			if _, err := h.ReadAt(p, off); err != nil {
				return digests{}, fmt.Errorf("record: read back: %w", err)
			}
			part.Write(p)
			whole.Write(p)
			off += int64(len(p))
			n -= int64(len(p))
		}
		if part.Sum64() != seg.written[i].sum {
			return digests{}, fmt.Errorf("record: read back: %s: before byte %d: %w", name, off, errDiffers)
		}
	}
	d := digests{sha256: hex.EncodeToString(s2.Sum(nil))}
	if s3 != nil {
		d.sm3 = hex.EncodeToString(s3.Sum(nil))
	}
	return d, nil
}
