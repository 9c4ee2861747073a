package evidence

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strings"
)

// LogFile is a log given to [DeriveManifest], whole lines only.
type LogFile struct {
	File string // "log.jsonl", "recovery-N.jsonl"
	Data []byte
}

// DeriveManifest returns the manifest that the logs, log.jsonl first, then recovery files by number,
// and the certificate files' digests determine. It is pure: seal, recovery and verifier call it.
// It checks no signature. It fails if a line is not canonical, line 0 is not open (of a later file:
// not recovery), or no close line is there.
func DeriveManifest(logs []LogFile, certs []FileDigest) (*Manifest, error) {
	var d Deriver
	over := Superseded(logs)
	for i, l := range logs {
		d.asideOnly = over[i]
		if err := d.AddLog(l); err != nil {
			return nil, err
		}
	}
	return d.Manifest(certs)
}

// Deriver is DeriveManifest line by line, for a writer that does not keep its log in memory.
// The zero Deriver is ready. Not safe for concurrent use. After an error it is of no use.
type Deriver struct {
	m      Manifest
	logs   []*logState
	src    string // source of the clock, as last told
	pause  *Break // the break that has not ended
	closed bool

	asideOnly bool // the file is superseded, see [Superseded]
}

// logState is one file on its way to a [LogDigest].
type logState struct {
	file, origin string
	tree         Tree
	sum          hash.Hash
	bytes        int64
}

// AddLog adds a whole file.
func (d *Deriver) AddLog(l LogFile) error {
	if err := d.Begin(l.File); err != nil {
		return err
	}
	rest := l.Data
	for len(rest) > 0 {
		line, after, whole := bytes.Cut(rest, []byte{'\n'})
		if !whole {
			return fmt.Errorf("manifest: %s: %d bytes after the last line", l.File, len(rest))
		}
		if err := d.AddLine(line); err != nil {
			return err
		}
		rest = after
	}
	return nil
}

// Begin starts the next file.
func (d *Deriver) Begin(file string) error {
	if (len(d.logs) == 0) != (file == "log.jsonl") {
		return fmt.Errorf("manifest: %s: log.jsonl comes first, and once", file)
	}
	d.logs = append(d.logs, &logState{file: file, sum: sha256.New()})
	return nil
}

// AddLine adds the next line, without line feed, of the file begun last; sign lines too.
func (d *Deriver) AddLine(line []byte) error {
	if len(d.logs) == 0 {
		return errors.New("BUG: manifest: AddLine before Begin")
	}
	log := d.logs[len(d.logs)-1]
	l, err := ParseLine(line)
	if err == nil {
		err = d.line(log, l)
	}
	if err != nil {
		return fmt.Errorf("manifest: %s: line %d: %w", log.file, log.tree.Size(), err)
	}
	log.tree.Append(line)
	log.sum.Write(line)
	log.sum.Write([]byte{'\n'})
	log.bytes += int64(len(line)) + 1
	return nil
}

// line takes what one line says.
func (d *Deriver) line(log *logState, l Line) error {
	if log.tree.Size() == 0 {
		return d.first(log, l)
	}
	if d.asideOnly && l.Type != "aside" {
		return nil
	}
	switch l.Type {
	case "segment.open":
		return with(l, d.segmentOpen)
	case "fragment", "recovered":
		return with(l, d.fragment)
	case "segment.close":
		return with(l, d.segmentClose)
	case "pause", "resume":
		return with(l, d.pauseOrResume)
	case "details":
		return with(l, func(v Details) error {
			d.m.Case, d.m.Matter, d.m.Officers, d.m.Flags = v.Case, v.Matter, v.Officers, v.Flags
			d.m.MatterID, d.m.MatterVersion, d.m.Booking = v.MatterID, v.MatterVersion, v.Booking
			return nil
		})
	case "gap":
		return with(l, func(v Gap) error {
			d.m.Gaps = append(d.m.Gaps, GapSpan{v.Ch, v.From, v.To, v.Cause})
			return nil
		})
	case "mark":
		return with(l, func(v Mark) error {
			d.m.Marks = append(d.m.Marks, MarkPoint{v.At, v.Text, v.Kind})
			return nil
		})
	case "clock":
		return with(l, func(v Clock) error {
			d.m.Clock = append(d.m.Clock, ClockPoint{v.Epoch, v.At, v.T, v.TE, v.Src})
			d.src = v.Src
			return nil
		})
	case "anchor":
		return with(l, func(v Anchor) error {
			d.m.Ledger.Size, d.m.Ledger.Root = v.Size, v.Root
			if v.Token != "" {
				d.m.Tokens = append(d.m.Tokens, TokenDigest{v.Size, v.Token})
			}
			return nil
		})
	case "aside":
		return with(l, func(v Aside) error {
			d.m.Aside = append(d.m.Aside, AsideFile{v.File, v.Size, v.SHA256, v.Why})
			return nil
		})
	case "close":
		return with(l, d.close)
	}
	return nil
}

// with decodes a line and hands it over.
func with[T any](l Line, f func(T) error) error {
	var v T
	if err := l.Decode(&v); err != nil {
		return fmt.Errorf("%s: %w", l.Type, err)
	}
	return f(v)
}

// first takes line 0 of a file.
func (d *Deriver) first(log *logState, l Line) error {
	switch {
	case len(d.logs) == 1 && l.Type == "open":
		return with(l, func(v Open) error {
			d.m = Manifest{
				Type: "manifest", V: 1, Session: v.Session, Origin: v.Origin, Device: v.Device, Body: v.Body, Trigger: v.Trigger,
				Continues: v.Continues, Opened: Moment{v.T, v.TE, v.Src}, Ledger: v.Ledger, Disks: DiskSets{Present: v.Disks},
			}
			d.src, log.origin = v.Src, v.Origin
			return nil
		})
	case len(d.logs) > 1 && l.Type == "recovery":
		return with(l, func(v Recovery) error {
			n, ok := strings.CutPrefix(log.file, "recovery-")
			if n, ok2 := strings.CutSuffix(n, ".jsonl"); ok && ok2 {
				log.origin = d.m.Origin + "/r" + n
			} else {
				return errors.New("a recovery file is named recovery-N.jsonl")
			}
			d.m.Disks = DiskSets{v.Present, v.Absent}
			d.src = v.Src
			return nil
		})
	}
	return fmt.Errorf("first line is %q, want open in log.jsonl and recovery elsewhere", l.Type)
}

func (d *Deriver) segmentOpen(v SegmentOpen) error {
	i := slices.IndexFunc(d.m.Channels, func(c ManifestChannel) bool { return c.ID == v.Ch })
	if i < 0 {
		i = len(d.m.Channels)
		d.m.Channels = append(d.m.Channels, ManifestChannel{ID: v.Ch, Kind: kindOf(v.Codec), Identity: v.Camera})
	}
	c := &d.m.Channels[i]
	for _, codec := range v.Codec {
		if !slices.Contains(c.Codec, codec) {
			c.Codec = append(c.Codec, codec)
		}
	}
	c.Segments = append(c.Segments, ManifestSegment{N: v.Seg, File: v.File, Init: v.Init, InitLen: v.InitLen, Reserve: v.Reserve})
	return nil
}

// kindOf tells a camera from a microphone by the lead codec: RFC 6381 names of H.264 and H.265.
func kindOf(codec []string) string {
	if len(codec) > 0 {
		for _, p := range []string{"avc1.", "avc3.", "hvc1.", "hev1."} {
			if strings.HasPrefix(codec[0], p) {
				return "camera"
			}
		}
	}
	return "microphone"
}

func (d *Deriver) segment(ch string, n int64) (*ManifestSegment, error) {
	for i := range d.m.Channels {
		if c := &d.m.Channels[i]; c.ID == ch {
			for j := len(c.Segments) - 1; j >= 0; j-- {
				if c.Segments[j].N == n {
					return &c.Segments[j], nil
				}
			}
		}
	}
	return nil, fmt.Errorf("segment %d of %q was never opened", n, ch)
}

func (d *Deriver) fragment(v Fragment) error {
	s, err := d.segment(v.Ch, v.Seg)
	if err != nil {
		return err
	}
	if s.Fragments == 0 {
		s.From = v.From
	}
	s.Fragments++
	s.To = v.To
	return nil
}

func (d *Deriver) segmentClose(v SegmentClose) error {
	s, err := d.segment(v.Ch, v.Seg)
	if err != nil {
		return err
	}
	s.Size, s.SHA256, s.SM3 = v.Size, v.SHA256, v.SM3
	return nil
}

func (d *Deriver) pauseOrResume(v Pause) error {
	switch {
	case v.Type == "pause" && d.pause == nil:
		d.pause = &Break{From: v.At, Reason: v.Reason, Who: v.Who}
	case v.Type == "resume" && d.pause != nil:
		d.endBreak(v.At)
	default:
		return fmt.Errorf("%s does not follow its opposite", v.Type)
	}
	return nil
}

func (d *Deriver) endBreak(at int64) {
	d.pause.To = max(at, d.pause.From)
	d.m.Breaks = append(d.m.Breaks, *d.pause)
	d.pause = nil
}

// close takes a close line; that of a recovery file replaces one before it. A pause that nobody
// ended lasts until the close.
func (d *Deriver) close(v Close) error {
	if d.pause != nil {
		d.endBreak(v.At)
	}
	d.m.Reason, d.m.Closed, d.closed = v.Reason, Moment{v.T, v.TE, d.src}, true
	return nil
}

// Manifest returns the manifest of all lines added.
func (d *Deriver) Manifest(certs []FileDigest) (*Manifest, error) {
	if !d.closed {
		return nil, errors.New("manifest: the logs have no close line: this session has not ended")
	}
	m := d.m
	m.Certs = certs
	m.Logs = nil
	for _, l := range d.logs {
		m.Logs = append(m.Logs, LogDigest{
			File: l.file, Origin: l.origin, Size: l.tree.Size(), Root: l.tree.Root().String(),
			Bytes: l.bytes, SHA256: hex.EncodeToString(l.sum.Sum(nil)),
		})
	}
	return &m, nil
}
