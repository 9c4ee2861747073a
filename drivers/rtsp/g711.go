package rtsp

// expand gives the 16-bit little-endian samples that G.711 codes stand for: exactly those, as each code
// is one value (ITU-T G.711 tables 1a to 2b).
func expand(codes []byte, law func(byte) int16) []byte {
	out := make([]byte, 0, 2*len(codes))
	for _, c := range codes {
		v := uint16(law(c))
		out = append(out, byte(v), byte(v>>8))
	}
	return out
}

// aLaw is table 1: 13 bits, scaled to 16. Even bits are inverted on the wire.
func aLaw(c byte) int16 {
	c ^= 0x55
	v := int16(c&0x0F)<<4 + 8
	if e := c >> 4 & 7; e > 0 {
		v = (v + 0x100) << (e - 1)
	}
	if c&0x80 == 0 {
		return -v
	}
	return v
}

// muLaw is table 2: 14 bits, scaled to 16. All bits are inverted on the wire.
func muLaw(c byte) int16 {
	const bias = 0x84
	c = ^c
	v := (int16(c&0x0F)<<3+bias)<<(c>>4&7) - bias
	if c&0x80 != 0 {
		return -v
	}
	return v
}
