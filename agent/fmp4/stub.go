package fmp4

import (
	"errors"
	"io"
)

var errStub = errors.New("fmp4: not written yet")

// Init returns ftyp and moov for the tracks.
func Init(tracks []Track) ([]byte, error) { return nil, errStub }

// ParseInit reads exactly ftyp and moov.
func ParseInit(b []byte) (*InitInfo, error) { return nil, errStub }

// CodecString is the RFC 6381 name of the track's codec: avc1.64001F, hvc1.1.6.L93.B0, mp4a.40.2, opus, ipcm.
func (t Track) CodecString() string { return "" }

// AppendFragment appends moof and mdat to dst; headLen is the length of the moof.
func AppendFragment(dst []byte, seq uint32, runs []Run) (out []byte, headLen int, err error) {
	return nil, 0, errStub
}

// ParseFragment reads exactly one fragment, held to strict moof.
func ParseFragment(b []byte, tracks []Track) (*Fragment, error) { return nil, errStub }

// FragmentLen tells the lengths of moof and mdat ...
func FragmentLen(r io.ReaderAt, off, size int64) (head, body int64, err error) { return 0, 0, errStub }

// Scan reads fragment by fragment.
func Scan(r io.ReaderAt, off, size int64, tracks []Track, each func(off int64, b []byte, f *Fragment) error) (end int64, err error) {
	return off, errStub
}

// Reserve is a zero-filled free box of n bytes, at least 8.
func Reserve(n int) []byte { return nil }

// IndexEntry is what the index tells of one fragment.
type IndexEntry struct {
	Size     int64  // bytes of moof and mdat
	Time     uint64 // tfdt of the lead track; without lead samples that of the first run, in lead ticks rounded up
	CTO      int32  // of the first lead sample, 0 without one
	Duration uint64 // lead ticks, used for the last fragment only
	Sync     bool   // the first lead sample is sync
}

// EntryOf is the index entry of a fragment of size bytes made of runs. lead is tracks[0].
func EntryOf(runs []Run, tracks []Track, size int64) IndexEntry { return IndexEntry{} }

// Index fills a reserve.
func Index(lead Track, frags []IndexEntry, reserve int) ([]byte, error) { return nil, errStub }
