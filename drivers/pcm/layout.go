package pcm

import "encoding/binary"

// Layout is how a sound card lays out one signed value, little endian.
type Layout int

// The layouts, by what the kernel calls them (include/uapi/sound/asound.h, SNDRV_PCM_FORMAT_…).
const (
	S16   Layout = iota // S16_LE: two bytes
	S24                 // S24_LE: the low three of four bytes; what the fourth holds means nothing
	S24x3               // S24_3LE: three bytes
	S32                 // S32_LE: four bytes
)

// Bytes is how many bytes a value takes.
func (l Layout) Bytes() int { return [...]int{2, 4, 3, 4}[l] }

// Decode appends the values of b as 16 bit, rounded.
func (l Layout) Decode(out []int16, b []byte) []int16 {
	for size := l.Bytes(); len(b) >= size; b = b[size:] {
		var v int32 // left-justified
		switch l {
		case S16:
			out = append(out, int16(binary.LittleEndian.Uint16(b)))
			continue
		case S24:
			v = int32(binary.LittleEndian.Uint32(b) << 8)
		case S24x3:
			v = int32(uint32(b[0])<<8 | uint32(b[1])<<16 | uint32(b[2])<<24)
		case S32:
			v = int32(binary.LittleEndian.Uint32(b))
		}
		out = append(out, int16(min((int64(v)+1<<15)>>16, 1<<15-1)))
	}
	return out
}

// Encode appends 16-bit values in layout l.
func (l Layout) Encode(out []byte, values []int16) []byte {
	for _, v := range values {
		switch l {
		case S16:
			out = binary.LittleEndian.AppendUint16(out, uint16(v))
		case S24:
			out = binary.LittleEndian.AppendUint32(out, uint32(int32(v)<<8))
		case S24x3:
			out = append(out, 0, byte(v), byte(v>>8))
		case S32:
			out = binary.LittleEndian.AppendUint32(out, uint32(int32(v)<<16))
		}
	}
	return out
}
