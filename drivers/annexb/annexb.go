// Package annexb turns coded pictures as encoders write them, in the byte stream format of ITU-T
// H.264 and H.265 Annex B, into samples. It is what the drivers of cameras that hand over a byte
// stream have in common.
//
// A [Track] guarantees: a sample is one access unit with NAL units behind 4-byte lengths, without
// delimiters and without the parameter sets its format says already; the first sample, and the first
// after a [Track.Gap], is a keyframe whose parameter sets are known; DTS rises strictly; changed
// parameter sets begin a new format, at a keyframe. What cannot be read is dropped and told, never
// delivered.
//
// It does not find where access units end: its caller knows (a V4L2 buffer, a PES packet). It does not
// decode, and reads no more of a picture than its NAL unit headers. Everything is bounded by
// [MaxAccessUnit]; the bytes may come from outside and be anything.
package annexb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/bluenviron/mediacommon/v2/pkg/bits"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h264"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h265"

	"minglu/drivers"
)

// ClockHz is the unit of all times here, ticks per second.
const ClockHz = 90000

// Bounds of an access unit. A coded picture of a room is far below them.
const (
	MaxAccessUnit = 8 << 20 // bytes
	MaxUnits      = 4096    // NAL units
)

// NAL unit types: H.264 table 7-1, H.265 table 7-1.
const (
	avcIDR, avcSPS, avcPPS, avcAUD = 5, 7, 8, 9

	hevcIRAPFirst, hevcIRAPLast        = 16, 21 // BLA, IDR, CRA
	hevcRASLN, hevcRASLR               = 8, 9
	hevcIDRW, hevcIDRN                 = 19, 20
	hevcVPS, hevcSPS, hevcPPS, hevcAUD = 32, 33, 34, 35
)

var startCode = []byte{0, 0, 1}

// Units gives the NAL units of a byte stream, without start codes and the zero bytes around them
// (H.264 B.1.1). Bytes before the first start code are skipped, empty units left out. The slices
// point into stream.
func Units(stream []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		i := bytes.Index(stream, startCode)
		for i >= 0 {
			stream = stream[i+len(startCode):]
			unit := stream
			if i = bytes.Index(stream, startCode); i >= 0 {
				unit = stream[:i]
			}
			// A unit ends with a stop bit, never with a zero byte: those belong to the start code or are padding.
			if unit = bytes.TrimRight(unit, "\x00"); len(unit) > 0 && !yield(unit) {
				return
			}
		}
	}
}

// Track makes the samples of one video track of one connection. Not safe for concurrent use. The
// functions are called from within its methods and must be set.
type Track struct {
	Codec  drivers.Codec // H264 or H265
	Index  int           // of the track, for Sample.Track
	Open   func(*drivers.Format)
	Sample func(drivers.Sample)
	Lost   func(n int, cause string)

	format        *drivers.Format // in force; nil until a keyframe with parameter sets has come
	vps, sps, pps []byte          // seen last
	opened        bool            // Open was called, and a sample delivered
	waiting       bool            // after a gap, for a keyframe
	skipLead      bool            // decoding began at an open GOP: its leading pictures need what is missing
	missing       int             // pictures thrown away for want of a reference
	dts           int64           // of the last sample
	units         [][]byte        // of the access unit under way
}

// Format is what the samples are coded as, nil before the first.
func (t *Track) Format() *drivers.Format { return t.format }

// Gap tells of n coded pictures that were lost before what comes next: nothing is delivered up to the
// next keyframe.
func (t *Track) Gap(n int, cause string) {
	t.waiting = true
	t.Missed(n, cause)
}

// Missed tells of n pictures that were lost before they were coded: nothing refers to them.
func (t *Track) Missed(n int, cause string) {
	if t.opened && n > 0 {
		t.Lost(n, cause)
	}
}

// Add takes one access unit, at its times in ticks of ClockHz and the uptime its last byte came. An
// encoder that hands over no decoding times gives pts twice: it must not reorder pictures. The stream
// is copied. The error says why nothing of it could be used; the track goes on at the next keyframe.
func (t *Track) Add(stream []byte, pts, dts int64, arrival time.Duration) error {
	if len(stream) > MaxAccessUnit {
		t.Gap(1, causeDamaged)
		return fmt.Errorf("annexb: access unit of %d bytes: want at most %d", len(stream), MaxAccessUnit)
	}
	t.units = t.units[:0]
	for u := range Units(stream) {
		if len(u) < t.header() {
			continue
		}
		if t.units = append(t.units, u); len(t.units) > MaxUnits {
			t.Gap(1, causeDamaged)
			return fmt.Errorf("annexb: access unit of more than %d NAL units", MaxUnits)
		}
	}
	if len(t.units) == 0 {
		t.Gap(1, causeDamaged)
		return errors.New("annexb: no NAL unit in it: is this a byte stream with start codes?")
	}
	key, picture, open, leading := t.look()
	if !picture {
		return nil
	}
	if !key && (t.waiting || !t.opened) || leading && t.skipLead {
		if t.opened {
			t.missing++
		}
		return nil
	}
	if key {
		if err := t.adopt(); err != nil {
			return err
		}
		if t.format == nil { // a keyframe, and nobody said how to read it
			return nil
		}
		if !t.opened {
			t.Open(t.format)
		}
		t.skipLead = open && (t.waiting || !t.opened)
		t.waiting = false
	}
	if t.missing > 0 && !leading {
		t.Lost(t.missing, causeReference)
		t.missing = 0
	}
	data := t.data()
	if len(data) == 0 {
		return nil
	}
	if t.opened && dts <= t.dts {
		if pts == dts {
			pts = t.dts + 1
		}
		dts = t.dts + 1
	}
	t.opened, t.dts = true, dts
	t.Sample(drivers.Sample{Track: t.Index, Format: t.format, PTS: pts, DTS: dts, Arrival: arrival, Keyframe: key, Data: data})
	return nil
}

// Causes of losses.
const (
	causeDamaged   = "damaged picture"
	causeReference = "frames without their reference picture"
)

// look notes the parameter sets of the access unit and says what it is. Of several sets with
// different ids the format holds the first; the others stay in the samples.
func (t *Track) look() (key, picture, open, leading bool) {
	var vps, sps, pps []byte
	for _, u := range t.units {
		k := t.kind(u)
		switch {
		case t.picture(k):
			picture = true
			key = key || t.key(k)
			if t.hevc() {
				open = open || t.key(k) && k != hevcIDRW && k != hevcIDRN
				leading = leading || k == hevcRASLN || k == hevcRASLR
			}
		case t.hevc() && k == hevcVPS && vps == nil:
			vps = u
		case k == t.kindSPS() && sps == nil:
			sps = u
		case k == t.kindPPS() && pps == nil:
			pps = u
		}
	}
	t.note(&t.vps, vps)
	if t.note(&t.sps, sps) {
		t.pps = nil // it belonged to the SPS before
	}
	// A PPS alone, of another id, is one more, not a new one.
	if pps != nil && (t.pps == nil || sps != nil || t.setID(pps) == t.setID(t.pps)) {
		t.note(&t.pps, pps)
	}
	return key, picture, open, leading
}

func (t *Track) note(have *[]byte, unit []byte) (changed bool) {
	if unit == nil || bytes.Equal(*have, unit) {
		return false
	}
	*have = bytes.Clone(unit)
	return true
}

// setID is pic_parameter_set_id, the first field in both standards; -1 if it cannot be read.
func (t *Track) setID(pps []byte) int64 {
	pos := 8 * t.header()
	if len(pps) <= t.header() {
		return -1
	}
	id, err := bits.ReadGolombUnsigned(pps, &pos)
	if err != nil {
		return -1
	}
	return int64(id)
}

// adopt makes the parameter sets seen the format in force. Sets that cannot be read are an error.
func (t *Track) adopt() error {
	if t.sps == nil || t.pps == nil || t.hevc() && t.vps == nil {
		return nil
	}
	if f := t.format; f != nil && bytes.Equal(f.SPS, t.sps) && bytes.Equal(f.PPS, t.pps) && bytes.Equal(f.VPS, t.vps) {
		return nil
	}
	w, h, err := size(t.Codec, t.sps)
	if err != nil {
		t.vps, t.sps, t.pps = nil, nil, nil
		t.Gap(1, causeDamaged)
		return fmt.Errorf("annexb: parameter set: %w", err)
	}
	t.format = &drivers.Format{Codec: t.Codec, ClockHz: ClockHz, VPS: t.vps, SPS: t.sps, PPS: t.pps, Width: w, Height: h}
	return nil
}

func size(codec drivers.Codec, sps []byte) (w, h int, err error) {
	if codec == drivers.H265 {
		var s h265.SPS
		if err = s.Unmarshal(sps); err == nil {
			w, h = s.Width(), s.Height()
		}
	} else {
		var s h264.SPS
		if err = s.Unmarshal(sps); err == nil {
			w, h = s.Width(), s.Height()
		}
	}
	if err == nil && (w <= 0 || h <= 0 || w > 16384 || h > 16384) {
		err = fmt.Errorf("a picture of %d×%d", w, h)
	}
	return w, h, err
}

// data is the access unit with four bytes of length before each unit (ISO 14496-15 5.3.3.1).
func (t *Track) data() []byte {
	f, size := t.format, 0
	keep := func(u []byte) bool {
		switch k := t.kind(u); {
		case t.hevc() && k == hevcAUD, !t.hevc() && k == avcAUD:
			return false
		case k == t.kindSPS(), k == t.kindPPS(), t.hevc() && k == hevcVPS:
			return !bytes.Equal(u, f.VPS) && !bytes.Equal(u, f.SPS) && !bytes.Equal(u, f.PPS)
		}
		return true
	}
	for _, u := range t.units {
		if keep(u) {
			size += 4 + len(u)
		}
	}
	data := make([]byte, 0, size)
	for _, u := range t.units {
		if keep(u) {
			data = append(binary.BigEndian.AppendUint32(data, uint32(len(u))), u...)
		}
	}
	return data
}

func (t *Track) hevc() bool { return t.Codec == drivers.H265 }

func (t *Track) header() int {
	if t.hevc() {
		return 2
	}
	return 1
}

func (t *Track) kind(u []byte) int {
	if t.hevc() {
		return int(u[0] >> 1 & 0x3F)
	}
	return int(u[0] & 0x1F)
}

func (t *Track) picture(k int) bool {
	if t.hevc() {
		return k < hevcVPS
	}
	return k >= 1 && k <= avcIDR
}

func (t *Track) key(k int) bool {
	if t.hevc() {
		return k >= hevcIRAPFirst && k <= hevcIRAPLast
	}
	return k == avcIDR
}

func (t *Track) kindSPS() int {
	if t.hevc() {
		return hevcSPS
	}
	return avcSPS
}

func (t *Track) kindPPS() int {
	if t.hevc() {
		return hevcPPS
	}
	return avcPPS
}
