package main

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"io"
	"sync"
	"time"

	"github.com/bluenviron/gortsplib/v5/pkg/description"
	"github.com/bluenviron/gortsplib/v5/pkg/format"
	"github.com/pion/rtp"
)

// frame is one line of the frame log. SHA256 of a video frame is over its NAL units without access
// unit delimiters and parameter sets, each after four bytes of big-endian length: the bytes a sample
// of a recording has. Sound: over one packet (Opus) or one raw data block (AAC).
type frame struct {
	Path   string `json:"path"`
	Track  int    `json:"track"` // number of the media in the description
	Codec  string `json:"codec"`
	TS     uint32 `json:"ts"`     // RTP timestamp; of the first frame of a packet
	Index  int    `json:"index"`  // number of the frame in its packet
	Marker bool   `json:"marker"` // of the last RTP packet
	Key    bool   `json:"key"`
	Size   int    `json:"size"`
	SHA256 string `json:"sha256"`
	WallUS int64  `json:"wall_us"` // µs since 1970 when the last packet came
}

// frameLog writes lines whole; safe for concurrent use.
type frameLog struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *frameLog) put(f frame) {
	b, err := json.Marshal(f)
	if err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = l.w.Write(append(b, '\n'))
}

// framer puts the frames of one media together with the decoders of gortsplib: another
// implementation than the one under test.
type framer struct {
	log    *frameLog
	line   frame
	decode func(*rtp.Packet) (units [][]byte, err error)
	kind   func(nal []byte) (strip, key bool) // nil for sound
}

func newFramer(log *frameLog, path string, track int, m *description.Media) *framer {
	f := &framer{log: log, line: frame{Path: path, Track: track}}
	if log == nil || len(m.Formats) == 0 {
		return f
	}
	switch t := m.Formats[0].(type) {
	case *format.H264:
		if d, err := t.CreateDecoder(); err == nil {
			f.line.Codec, f.decode = "h264", d.Decode
			f.kind = func(n []byte) (bool, bool) { k := n[0] & 0x1F; return k >= 7 && k <= 9, k == 5 }
		}
	case *format.H265:
		if d, err := t.CreateDecoder(); err == nil {
			f.line.Codec, f.decode = "h265", d.Decode
			f.kind = func(n []byte) (bool, bool) { k := n[0] >> 1 & 0x3F; return k >= 32 && k <= 35, k >= 16 && k <= 21 }
		}
	case *format.MPEG4Audio:
		if d, err := t.CreateDecoder(); err == nil {
			f.line.Codec, f.decode = "aac", d.Decode
		}
	case *format.Opus:
		f.line.Codec = "opus"
		f.decode = func(p *rtp.Packet) ([][]byte, error) { return [][]byte{p.Payload}, nil }
	}
	return f
}

func (f *framer) packet(p *rtp.Packet, now time.Time) {
	if f.decode == nil {
		return
	}
	units, err := f.decode(p) // an error means: more to come, or joined in the middle
	if err != nil {
		return
	}
	line := f.line
	line.TS, line.Marker, line.WallUS = p.Timestamp, p.Marker, now.UnixMicro()
	if f.kind == nil {
		for i, u := range units {
			sum := sha256.Sum256(u)
			line.Index, line.Key, line.Size, line.SHA256 = i, true, len(u), hex.EncodeToString(sum[:])
			f.log.put(line)
		}
		return
	}
	var b []byte
	for _, n := range units {
		strip, key := f.kind(n)
		line.Key = line.Key || key
		if !strip {
			b = binary.BigEndian.AppendUint32(b, uint32(len(n)))
			b = append(b, n...)
		}
	}
	sum := sha256.Sum256(b)
	line.Size, line.SHA256 = len(b), hex.EncodeToString(sum[:])
	f.log.put(line)
}
