package evidence

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"

	"github.com/emmansun/gmsm/sm3"

	"minglu/agent/fmp4"
)

// finish does step V10: the index is what the fragments say, and the file ends with the last of them.
func (s *segmentCheck) finish(reserve []byte) error {
	c := s.ch.c
	spare := c.files[s.open.File] - s.end
	if s.close == nil {
		switch {
		case c.damaged && !zeroFree(reserve):
			c.note("%s: its index was not checked: the line that closes the file is in the damaged part of the log", s.open.File)
		case !zeroFree(reserve):
			s.found(FindingAltered, s.open.InitLen, "an index stands in a segment that was never closed")
		case spare > 0 && (c.ended || c.manifest != nil):
			s.found(FindingAltered, s.end, fmt.Sprintf("%d bytes behind the last signed fragment", spare), s.lastOne()...)
		case spare > 0:
			c.note("%s: %d bytes behind the last signed fragment are no part of what is proven", s.open.File, spare)
		}
		return nil
	}
	if spare > 0 {
		s.found(FindingAltered, s.end, fmt.Sprintf("%d bytes behind the last fragment of a closed segment", spare), s.lastOne()...)
		return nil
	}
	zero := zeroFree(reserve)
	if d := sha256.Sum256(reserve); !zero && hex.EncodeToString(d[:]) != s.close.Index {
		s.found(FindingAltered, s.open.InitLen, "the index is not the one that was signed")
		return nil
	}
	if !s.whole || s.tracks == nil || spare < 0 {
		return nil // said already; without every fragment the index cannot be computed
	}
	want, err := fmp4.Index(s.tracks[0], s.index, int(s.open.Reserve))
	if err != nil {
		s.found(FindingAltered, s.open.InitLen, fmt.Sprintf("no index of this size describes the fragments: %v", err))
		return nil
	}
	switch d := sha256.Sum256(want); {
	case hex.EncodeToString(d[:]) != s.close.Index:
		s.found(FindingAltered, s.open.InitLen, "the signed index does not describe the fragments")
		return nil
	case zero:
		c.note("%s: its index was never written; the fragments are whole", s.open.File)
		if err := s.rehash(want); err != nil {
			return err
		}
	case !bytes.Equal(want, reserve):
		s.found(FindingAltered, s.open.InitLen, "the index does not describe the fragments")
		return nil
	}
	if hex.EncodeToString(s.digests[0].Sum(nil)) != s.close.SHA256 ||
		s.close.SM3 != "" && hex.EncodeToString(s.digests[1].Sum(nil)) != s.close.SM3 {
		s.found(FindingAltered, 0, "the file's SHA-256 or SM3 is not the one that was signed")
	}
	return nil
}

// lastOne is the fragment that bytes behind the end are shown at.
func (s *segmentCheck) lastOne() []signedFragment {
	if n := len(s.fragments); n > 0 {
		return s.fragments[n-1:]
	}
	return nil
}

// zeroFree tells whether the reserve is still one zero-filled free box.
func zeroFree(b []byte) bool { return bytes.Equal(b, fmp4.Reserve(len(b))) }

// rehash digests the file as it would be with its index in place.
func (s *segmentCheck) rehash(index []byte) error {
	f, err := s.ch.c.fsys.Open(s.open.File)
	if err != nil {
		return uncheckable("V10: %w", err)
	}
	defer f.Close()
	s.digests = []hash.Hash{sha256.New(), sm3.New()}
	all := io.MultiWriter(s.digests[0], s.digests[1])
	for _, part := range []struct {
		n    int64
		data []byte
	}{{n: s.open.InitLen}, {s.open.Reserve, index}, {n: s.end - s.open.InitLen - s.open.Reserve}} {
		w := all
		if part.data != nil {
			all.Write(part.data)
			w = io.Discard
		}
		if _, err := io.CopyN(w, f, part.n); err != nil {
			return uncheckable("V10: %s: %w", s.open.File, err)
		}
	}
	return nil
}
