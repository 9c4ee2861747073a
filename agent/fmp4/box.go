package fmp4

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// writer appends boxes (ISO 14496-12 4.2). Sizes are patched when a box ends.
type writer struct{ b []byte }

func (w *writer) u8(v byte)    { w.b = append(w.b, v) }
func (w *writer) u16(v uint16) { w.b = binary.BigEndian.AppendUint16(w.b, v) }
func (w *writer) u32(v uint32) { w.b = binary.BigEndian.AppendUint32(w.b, v) }
func (w *writer) u64(v uint64) { w.b = binary.BigEndian.AppendUint64(w.b, v) }
func (w *writer) raw(v []byte) { w.b = append(w.b, v...) }
func (w *writer) str(v string) { w.b = append(w.b, v...) }

func (w *writer) zero(n int) {
	for range n {
		w.b = append(w.b, 0)
	}
}

// begin opens a box and returns where, for end.
func (w *writer) begin(kind string) int {
	at := len(w.b)
	w.u32(0)
	w.str(kind)
	return at
}

// full opens a FullBox.
func (w *writer) full(kind string, version byte, flags uint32) int {
	at := w.begin(kind)
	w.u32(uint32(version)<<24 | flags)
	return at
}

func (w *writer) end(at int) { binary.BigEndian.PutUint32(w.b[at:], uint32(len(w.b)-at)) }

var errShort = errors.New("box ends too early")

// nextBox takes one box with a 32-bit size off b. Sizes 0 (to the end) and 1 (64 bit) are refused:
// evidence-format.md section 1, segment file.
func nextBox(b []byte) (kind string, body, rest []byte, err error) {
	if len(b) < 8 {
		return "", nil, nil, errShort
	}
	size := binary.BigEndian.Uint32(b)
	kind = string(b[4:8])
	if size < 8 || uint64(size) > uint64(len(b)) {
		return "", nil, nil, fmt.Errorf("box %q: size %d of %d bytes left", kind, size, len(b))
	}
	return kind, b[8:size], b[size:], nil
}

// each calls f for all boxes b consists of.
func each(b []byte, f func(kind string, body []byte) error) error {
	for len(b) > 0 {
		kind, body, rest, err := nextBox(b)
		if err != nil {
			return err
		}
		if err := f(kind, body); err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
		b = rest
	}
	return nil
}

// reader takes big endian numbers off b. After the first lack of bytes all is 0 and bad is set.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.bad, r.b = true, nil
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) u8() byte {
	if v := r.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if v := r.take(2); v != nil {
		return binary.BigEndian.Uint16(v)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if v := r.take(4); v != nil {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if v := r.take(8); v != nil {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

// done returns an error unless exactly all bytes were taken.
func (r *reader) done() error {
	switch {
	case r.bad:
		return errShort
	case len(r.b) > 0:
		return fmt.Errorf("%d bytes too many", len(r.b))
	}
	return nil
}
