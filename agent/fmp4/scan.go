package fmp4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// ErrTorn means that a file ends inside of a fragment, or in zeros: what a power cut leaves. Everything
// before is whole.
var ErrTorn = errors.New("torn")

// FragmentLen reads the headers of the fragment at off in a file of size bytes and returns the lengths
// of its moof and mdat. The error wraps [ErrTorn] if the file ends too early or holds zeros there;
// any other means that there is no fragment.
func FragmentLen(r io.ReaderAt, off, size int64) (head, body int64, err error) {
	head, err = boxLen(r, off, size, "moof")
	if err == nil {
		body, err = boxLen(r, off+head, size, "mdat")
	}
	if err == nil && head+body > MaxFragment {
		err = fmt.Errorf("%d bytes, most are %d", head+body, MaxFragment)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("fmp4: fragment at %d: %w", off, err)
	}
	return head, body, nil
}

func boxLen(r io.ReaderAt, off, size int64, want string) (int64, error) {
	var h [8]byte
	if off < 0 || size-off < int64(len(h)) {
		return 0, fmt.Errorf("%w: %d bytes of a box header", ErrTorn, max(0, size-off))
	}
	if _, err := r.ReadAt(h[:], off); err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	n := int64(binary.BigEndian.Uint32(h[:]))
	switch kind := string(h[4:]); {
	case h == [8]byte{}:
		return 0, fmt.Errorf("%w: zeros", ErrTorn)
	case kind != want || n < 8:
		return 0, fmt.Errorf("box %q of %d bytes, want %s", kind, n, want)
	case n > MaxFragment:
		return 0, fmt.Errorf("%s of %d bytes, most are %d", want, n, MaxFragment)
	case n > size-off:
		return 0, fmt.Errorf("%w: %s of %d bytes, %d are there", ErrTorn, want, n, size-off)
	}
	return n, nil
}

// Scan reads the fragments of a file of size bytes from off on and calls f for each that
// [ParseFragment] accepts; b and what is parsed from it are valid during the call only. It returns
// where the last accepted fragment ends and why it stopped there: nil at the end of the file, an
// error wrapping [ErrTorn] if the rest is incomplete, any other if the rest is something else, could
// not be read, or f failed. Memory is bounded by the largest fragment.
func Scan(r io.ReaderAt, off, size int64, tracks []Track, f func(off int64, b []byte, frag *Fragment) error) (end int64, err error) {
	var buf []byte
	for off < size {
		head, body, err := FragmentLen(r, off, size)
		if err != nil {
			return off, err
		}
		n := int(head + body)
		if cap(buf) < n {
			buf = make([]byte, n)
		}
		buf = buf[:n]
		if k, err := r.ReadAt(buf, off); k < n {
			return off, fmt.Errorf("fmp4: fragment at %d: %w", off, errors.Join(err, errShort))
		}
		frag, err := ParseFragment(buf, tracks)
		if err != nil {
			return off, fmt.Errorf("fmp4: at %d: %w", off, err)
		}
		if err := f(off, buf, frag); err != nil {
			return off, err
		}
		off += int64(n)
	}
	return off, nil
}
