package rtsp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/bluenviron/gortsplib/v5/pkg/format"
	"github.com/bluenviron/mediacommon/v2/pkg/bits"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h264"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h265"

	"minglu/drivers"
)

// sets are parameter sets: those in force, and those seen since.
type sets struct{ vps, sps, pps []byte }

// video puts access units together and decides which of them may be delivered.
type video struct {
	track
	nals
	format *drivers.Format // in force; nil until parameter sets are known
	seen   sets

	inUnit  bool
	ts      uint32
	arrival time.Duration

	resync   bool // packets are thrown away up to the next certain beginning of an access unit
	resyncTS uint32
	joined   bool // the first packet has come
	inBand   bool // the stream has carried parameter sets or delimiters: it begins its keyframes with them

	needKey  bool // a reference picture is missing
	skipLead bool // decoding began at an open GOP: its leading pictures need what is missing
	hadKey   bool
	dropped  int // whole frames thrown away for want of a reference

	doneTS         uint32
	done           bool // doneTS is valid
	timestampsOnly bool // the camera sets the marker bit wrongly: only timestamps part access units

	missing bool // packets were lost since the last picture
	dts     dtsClock
	pic     [][]byte // scratch for dts
}

// newVideo returns nil if the format cannot be recorded.
func (se *session) newVideo(f format.Format) *video {
	v := &video{needKey: true}
	switch f := f.(type) {
	case *format.H264:
		if f.PacketizationMode > 1 {
			return nil
		}
		v.seen = sets{nil, f.SPS, f.PPS}
	case *format.H265:
		if f.MaxDONDiff != 0 {
			return nil
		}
		v.hevc = true
		v.seen = sets{f.VPS, f.SPS, f.PPS}
	default:
		return nil
	}
	v.track = track{se: se, clock: f.ClockRate()}
	v.adopt()
	v.first = v.format
	return v
}

func (v *video) base() *track { return &v.track }

// packet takes the next packet of the track.
func (v *video) packet(p packet) {
	if p.lost {
		v.gap(p)
	}
	if v.inUnit && p.ts != v.ts {
		v.finish()
	}
	if !v.joined { // joining a running stream is like coming out of a gap
		v.joined, v.resync, v.resyncTS = true, true, p.ts
	}
	if v.resync && p.ts == v.resyncTS && !v.cleanStart(p.payload) {
		return
	}
	v.resync = false
	if !v.inUnit {
		if v.done && p.ts == v.doneTS && v.continues(p.payload) {
			v.timestampsOnly = true
			v.damaged(p.ts, "picture was cut by a wrong marker bit")
			return
		}
		v.inUnit, v.ts = true, p.ts
		v.nals.reset()
	}
	if err := v.add(p.payload); err != nil {
		v.damaged(p.ts, err.Error())
		return
	}
	v.arrival = p.arrival
	if p.marker && !v.timestampsOnly && v.hasPicture() {
		v.finish()
	}
}

// gap drops what the missing packets belonged to.
func (v *video) gap(p packet) {
	v.missing = true
	inside := v.inUnit && p.ts == v.ts
	if !inside || !v.disposable() {
		v.needKey = true
	}
	v.inUnit = false
	v.resync, v.resyncTS = true, p.ts
}

// damaged drops the access unit of timestamp ts.
func (v *video) damaged(ts uint32, why string) {
	v.needKey = v.needKey || !v.inUnit || !v.disposable()
	v.inUnit = false
	v.resync, v.resyncTS = true, ts
	v.se.lost(v.index, 1, why)
}

// disposable reports whether the access unit so far is a picture nothing refers to: nal_ref_idc is
// zero in all of its slices or in none (H.264 7.4.1). For H.265 nothing is assumed.
func (v *video) disposable() bool {
	if v.hevc {
		return false
	}
	slices := 0
	check := func(head byte) bool {
		if k := head & 0x1F; k < 1 || k > 5 {
			return true
		}
		slices++
		return head&0x60 == 0
	}
	ok, begin := true, 0
	for _, end := range v.ends {
		ok = check(v.buf[begin]) && ok
		begin = end
	}
	if v.open && begin < len(v.buf) {
		ok = check(v.buf[begin]) && ok
	}
	return ok && slices > 0
}

// cleanStart reports whether a payload certainly begins an access unit of which nothing needed is
// missing before it: a delimiter or parameter set comes before all slices (H.264 7.4.1.2.3). Where a
// stream has never had those, SEI and the first slice of a picture begin it too.
func (v *video) cleanStart(p []byte) bool {
	k, second, ok := v.begins(p)
	if !ok {
		return false
	}
	if v.hevc && (k == hevcVPS || k == hevcAUD) || !v.hevc && (k == avcSPS || k == avcAUD) {
		return true
	}
	if v.inBand {
		return false
	}
	return v.opener(k) || k == avcSEI && !v.hevc || k == hevcSEI && v.hevc ||
		v.picture(k) && second&0x80 != 0 // first_mb_in_slice = 0; first_slice_segment_in_pic_flag
}

// continues reports whether a payload is a later slice of a picture already begun.
func (v *video) continues(p []byte) bool {
	k, second, ok := v.begins(p)
	return ok && v.picture(k) && second&0x80 == 0
}

func (v *video) opener(k int) bool {
	if v.hevc {
		return k >= hevcVPS && k <= hevcAUD
	}
	return k >= avcSPS && k <= avcAUD
}

func (v *video) picture(k int) bool {
	if v.hevc {
		return k < hevcVPS
	}
	return k >= 1 && k <= avcIDR
}

func (v *video) key(k int) bool {
	if v.hevc {
		return k >= hevcIRAPFirst && k <= hevcIRAPLast
	}
	return k == avcIDR
}

func (v *video) hasPicture() bool {
	found := false
	v.each(func(k int, _ []byte) { found = found || v.picture(k) })
	return found
}

// finish ends the access unit in the buffer and delivers it if it may be.
func (v *video) finish() {
	v.inUnit = false
	if v.open {
		v.inUnit = true // for disposable
		v.damaged(v.ts, errFragment.Error())
		v.resync = false // the next packet begins anew
		return
	}
	key, picture, open, leading := false, false, false, false
	v.each(func(k int, _ []byte) {
		picture = picture || v.picture(k)
		key = key || v.key(k)
		open = open || v.hevc && v.key(k) && k != hevcIDRW && k != hevcIDRN
		leading = leading || v.hevc && (k == hevcRASLN || k == hevcRASLR)
		v.inBand = v.inBand || v.opener(k)
	})
	v.learn()
	if !picture {
		return
	}
	v.doneTS, v.done = v.ts, true
	pts := v.times(v.ts)
	if !key && v.needKey || leading && v.skipLead {
		if v.hadKey {
			v.dropped++
		}
		return
	}
	if key {
		v.adopt()
		if v.format == nil {
			return
		}
		if v.needKey {
			v.dts.restart = true
		}
		v.skipLead = open && v.needKey
		v.needKey, v.hadKey = false, true
		if !v.se.opened.Load() {
			v.se.desc.Formats[v.index] = v.format
			v.se.open()
		}
	}
	if v.dropped > 0 && !leading {
		v.se.lost(v.index, v.dropped, "frames without their reference picture")
		v.dropped = 0
	}
	v.deliver(key, pts)
}

// mostBetween is how many pictures decoded later may be shown before a picture (16 is what encoders offer).
const mostBetween = 17

// times gives the presentation time of a picture.
func (v *video) times(ts uint32) int64 {
	inOrder, fall := v.dts.ranked && v.dts.depth == 0, int64(0)
	if !inOrder {
		fall = mostBetween * v.usual(v.clock)
	}
	steps := v.steps
	pts := v.next(ts, v.clock, v.arrival, fall, inOrder && !v.missing)
	v.missing = false
	if v.steps != steps {
		v.se.src.log.Warn("rtsp: the camera's clock stepped", "track", v.index, "timestamp", ts, "ticks", pts)
	}
	return pts
}

func (v *video) deliver(key bool, pts int64) {
	data := v.sample()
	if len(data) == 0 {
		return
	}
	dts := v.dts.next(v.format, v.pic, key, pts)
	v.se.give(drivers.Sample{
		Track: v.index, Format: v.format, PTS: pts, DTS: dts, Arrival: v.arrival, Keyframe: key, Data: data,
	})
}

// sample returns the access unit with four bytes of length before each unit (ISO 14496-15 5.3.3.1),
// without delimiters and without the parameter sets that the format says already; others stay, a
// decoder needs them. It leaves the units of the sample in pic.
func (v *video) sample() []byte {
	f, size := v.format, 0
	keep := func(k int, unit []byte) bool {
		switch {
		case v.hevc && k == hevcAUD, !v.hevc && k == avcAUD:
			return false
		case v.opener(k):
			return !bytes.Equal(unit, f.VPS) && !bytes.Equal(unit, f.SPS) && !bytes.Equal(unit, f.PPS)
		}
		return true
	}
	v.each(func(k int, unit []byte) {
		if keep(k, unit) {
			size += 4 + len(unit)
		}
	})
	data := make([]byte, 0, size)
	v.pic = v.pic[:0]
	v.each(func(k int, unit []byte) {
		if keep(k, unit) {
			data = binary.BigEndian.AppendUint32(data, uint32(len(unit)))
			data = append(data, unit...)
			if v.picture(k) {
				v.pic = append(v.pic, data[len(data)-len(unit):])
			}
		}
	})
	return data
}

// learn notes the parameter sets of the access unit. Of several with different ids the format
// holds one; the others stay in the samples.
func (v *video) learn() {
	sps, pps, vps := avcSPS, avcPPS, -1
	if v.hevc {
		sps, pps, vps = hevcSPS, hevcPPS, hevcVPS
	}
	changed := v.note(&v.seen.sps, sps)
	v.note(&v.seen.vps, vps)
	v.each(func(k int, unit []byte) {
		if k == pps && (v.seen.pps == nil || changed || v.setID(unit) == v.setID(v.seen.pps)) && !bytes.Equal(unit, v.seen.pps) {
			v.seen.pps, changed = bytes.Clone(unit), false
		}
	})
}

// note replaces *have by the first unit of a kind unless *have is among them.
func (v *video) note(have *[]byte, kind int) bool {
	var first []byte
	same := false
	v.each(func(k int, unit []byte) {
		if k == kind {
			if first == nil {
				first = unit
			}
			same = same || bytes.Equal(unit, *have)
		}
	})
	if first == nil || same {
		return false
	}
	*have = bytes.Clone(first)
	return true
}

// setID is pic_parameter_set_id, the first field in both standards; -1 if it cannot be read.
func (v *video) setID(pps []byte) int64 {
	pos := 8 * v.header()
	id, err := bits.ReadGolombUnsigned(pps, &pos)
	if err != nil {
		return -1
	}
	return int64(id)
}

// adopt makes the parameter sets seen the format in force. Sets that cannot be read are not adopted.
func (v *video) adopt() {
	s := v.seen
	if len(s.sps) == 0 || len(s.pps) == 0 || v.hevc && len(s.vps) == 0 {
		return
	}
	f := v.format
	if f != nil && bytes.Equal(f.SPS, s.sps) && bytes.Equal(f.PPS, s.pps) && bytes.Equal(f.VPS, s.vps) {
		return
	}
	n := &drivers.Format{Codec: drivers.H264, ClockHz: v.clock, VPS: s.vps, SPS: s.sps, PPS: s.pps}
	var err error
	if v.hevc {
		n.Codec = drivers.H265
		var p h265.SPS
		if err = p.Unmarshal(s.sps); err == nil {
			n.Width, n.Height = p.Width(), p.Height()
		}
	} else {
		var p h264.SPS
		if err = p.Unmarshal(s.sps); err == nil {
			n.Width, n.Height = p.Width(), p.Height()
		}
	}
	if err != nil {
		v.se.src.log.Warn("rtsp: parameter set not understood", "err", fmt.Sprint(err))
		if f != nil {
			return
		}
		n.Width, n.Height = 0, 0
	}
	v.format = n
}
