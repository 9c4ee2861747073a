package fmp4

import (
	"errors"
	"fmt"
	"math/bits"
)

// The sample entries: ISO 14496-12 12.1.3 and 12.2.3, 14496-15 5.4 (avc1) and 8.4 (hvc1), 14496-14
// (mp4a), 23003-5 (ipcm), and "Encapsulation of Opus in ISO BMFF" 4.3.

func (w *writer) visual(t Track) error {
	kind := "avc1"
	if t.Codec == H265 {
		kind = "hvc1"
	}
	entry := w.begin(kind)
	w.zero(6)
	w.u16(1) // data reference
	w.zero(16)
	w.u16(uint16(t.Width))
	w.u16(uint16(t.Height))
	w.u32(72 << 16) // dpi
	w.u32(72 << 16)
	w.u32(0)
	w.u16(1) // frames per sample
	w.zero(32)
	w.u16(24)     // depth: colour without alpha
	w.u16(0xFFFF) // pre-defined
	var err error
	if t.Codec == H264 {
		err = w.avcC(t)
	} else {
		err = w.hvcC(t)
	}
	if err != nil {
		return err
	}
	w.end(entry)
	return nil
}

// checkSet checks the NAL type of a parameter set.
func checkSet(name string, b []byte, kind byte, h265 bool) error {
	switch {
	case len(b) < 3 || len(b) > 0xFFFF:
		return fmt.Errorf("%s has %d bytes", name, len(b))
	case !h265 && b[0]&0x1F != kind, h265 && b[0]>>1&0x3F != kind:
		return fmt.Errorf("%s has NAL header %#02x", name, b[0])
	}
	return nil
}

// highProfile tells the profiles whose avcC has a tail (14496-15 5.3.3.1.2).
func highProfile(idc byte) bool { return idc == 100 || idc == 110 || idc == 122 || idc == 144 }

func (w *writer) avcC(t Track) error {
	if err := errors.Join(checkSet("SPS", t.SPS, 7, false), checkSet("PPS", t.PPS, 8, false)); err != nil {
		return err
	}
	sps, err := ParseSPS(H264, t.SPS)
	if err != nil {
		return err
	}
	at := w.begin("avcC")
	w.u8(1)
	w.raw(t.SPS[1:4]) // profile, compatibility, level
	w.u8(0xFC | 3)    // 4-byte NAL lengths
	w.u8(0xE0 | 1)
	w.u16(uint16(len(t.SPS)))
	w.raw(t.SPS)
	w.u8(1)
	w.u16(uint16(len(t.PPS)))
	w.raw(t.PPS)
	if highProfile(t.SPS[1]) {
		w.u8(0xFC | sps.ChromaFormat)
		w.u8(0xF8 | (sps.BitDepthLuma - 8))
		w.u8(0xF8 | (sps.BitDepthChroma - 8))
		w.u8(0)
	}
	w.end(at)
	return nil
}

// The NAL types of the H.265 parameter sets in the order of hvcC.
var hvcArrays = [...]byte{32, 33, 34}

func (w *writer) hvcC(t Track) error {
	if err := errors.Join(checkSet("VPS", t.VPS, 32, true), checkSet("SPS", t.SPS, 33, true), checkSet("PPS", t.PPS, 34, true)); err != nil {
		return err
	}
	sps, err := ParseSPS(H265, t.SPS)
	if err != nil {
		return err
	}
	at := w.begin("hvcC")
	w.u8(1)
	w.raw(sps.general[:]) // profile space, tier, profile, compatibility, constraints, level
	w.u16(0xF000)         // min_spatial_segmentation_idc unknown
	w.u8(0xFC)            // parallelismType unknown
	w.u8(0xFC | sps.ChromaFormat)
	w.u8(0xF8 | (sps.BitDepthLuma - 8))
	w.u8(0xF8 | (sps.BitDepthChroma - 8))
	w.u16(0) // avgFrameRate unknown
	nested := byte(0)
	if sps.nested {
		nested = 1
	}
	w.u8(sps.layers<<3 | nested<<2 | 3) // 4-byte NAL lengths
	w.u8(byte(len(hvcArrays)))
	for i, set := range [...][]byte{t.VPS, t.SPS, t.PPS} {
		w.u8(0x80 | hvcArrays[i]) // complete: hvc1 has no parameter sets in its samples only
		w.u16(1)
		w.u16(uint16(len(set)))
		w.raw(set)
	}
	w.end(at)
	return nil
}

var audioKind = map[Codec]string{AAC: "mp4a", Opus: "Opus", PCM: "ipcm"}

func (w *writer) audio(t Track) error {
	if t.Channels < 1 || t.Channels > 8 || t.SampleRate < 1 || t.SampleRate > 0xFFFF {
		return fmt.Errorf("%d channels of %d Hz", t.Channels, t.SampleRate)
	}
	if t.Codec == Opus && t.Channels > 2 {
		return fmt.Errorf("%d channels need a mapping table", t.Channels)
	}
	entry := w.begin(audioKind[t.Codec])
	w.zero(6)
	w.u16(1)
	w.zero(8)
	w.u16(uint16(t.Channels))
	w.u16(16)
	w.zero(4)
	w.u32(uint32(t.SampleRate) << 16)
	switch t.Codec {
	case AAC:
		if len(t.AudioConfig) < 2 || len(t.AudioConfig) > 64 {
			return fmt.Errorf("AudioSpecificConfig has %d bytes", len(t.AudioConfig))
		}
		w.esds(t)
	case Opus:
		at := w.begin("dOps")
		w.u8(0)
		w.u8(byte(t.Channels))
		w.u16(0) // pre-skip: a recording begins anywhere, all of it is played
		w.u32(uint32(t.SampleRate))
		w.u16(0) // gain
		w.u8(0)  // mapping family
		w.end(at)
	case PCM:
		at := w.full("pcmC", 0, 0)
		w.u8(1) // little endian
		w.u8(16)
		w.end(at)
	}
	w.end(entry)
	return nil
}

// esds writes the descriptors of ISO 14496-1 7.2.6. Their lengths fit one byte.
func (w *writer) esds(t Track) {
	n := byte(len(t.AudioConfig))
	at := w.full("esds", 0, 0)
	w.u8(0x03) // ES_Descriptor
	w.u8(3 + 2 + 13 + 2 + n + 2 + 1)
	w.u16(0) // ES_ID, 0 in files
	w.u8(0)
	w.u8(0x04) // DecoderConfigDescriptor
	w.u8(13 + 2 + n)
	w.u8(0x40)        // MPEG-4 audio
	w.u8(0x05<<2 | 1) // audio stream
	w.zero(3 + 4 + 4) // buffer size and bit rates unknown
	w.u8(0x05)        // DecoderSpecificInfo
	w.u8(n)
	w.raw(t.AudioConfig)
	w.u8(0x06) // SLConfigDescriptor
	w.u8(1)
	w.u8(2)
	w.end(at)
}

// CodecString is the codec as RFC 6381 names it, with a four-character code as in the file:
// avc1.64001F, hvc1.1.6.L93.B0 (14496-15 annex E), mp4a.40.2, opus, ipcm. An unknown one gives "".
func (t Track) CodecString() string {
	switch t.Codec {
	case H264:
		if len(t.SPS) >= 4 {
			return fmt.Sprintf("avc1.%02X%02X%02X", t.SPS[1], t.SPS[2], t.SPS[3])
		}
		return "avc1"
	case H265:
		sps, err := ParseSPS(H265, t.SPS)
		if err != nil {
			return "hvc1"
		}
		return "hvc1." + profileString(sps.general)
	case AAC:
		return fmt.Sprintf("mp4a.40.%d", objectType(t.AudioConfig))
	case Opus:
		return "opus"
	case PCM:
		return "ipcm"
	}
	return ""
}

// profileString writes general profile, tier and level as 14496-15 E.3.
func profileString(g [12]byte) string {
	space := [...]string{"", "A", "B", "C"}[g[0]>>6]
	tier := "L"
	if g[0]&0x20 != 0 {
		tier = "H"
	}
	compat := bits.Reverse32(uint32(g[1])<<24 | uint32(g[2])<<16 | uint32(g[3])<<8 | uint32(g[4]))
	s := fmt.Sprintf("%s%d.%X.%s%d", space, g[0]&0x1F, compat, tier, g[11])
	n := 6
	for n > 0 && g[5+n-1] == 0 {
		n--
	}
	for _, b := range g[5 : 5+n] {
		s += fmt.Sprintf(".%X", b)
	}
	return s
}

// objectType is the audioObjectType of ISO 14496-3 1.6.2.1, 2 (AAC LC) when there is none.
func objectType(config []byte) int {
	if len(config) < 2 {
		return 2
	}
	if t := int(config[0] >> 3); t != 31 {
		return t
	}
	return 32 + int(config[0]&7)<<3 + int(config[1]>>5)
}
