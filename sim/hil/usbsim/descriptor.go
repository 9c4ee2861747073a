package usbsim

import (
	"encoding/binary"
	"syscall"
)

// setup is the head of a control transfer (USB 2.0, 9.3).
type setup [8]byte

func (s setup) in() bool      { return s[0]&0x80 != 0 }
func (s setup) class() bool   { return s[0]&0x60 == 0x20 }
func (s setup) to() byte      { return s[0] & 0x1f } // 0 device, 1 interface, 2 endpoint
func (s setup) request() byte { return s[1] }
func (s setup) value() uint16 { return binary.LittleEndian.Uint16(s[2:]) }
func (s setup) index() uint16 { return binary.LittleEndian.Uint16(s[4:]) }

const (
	toInterface, toEndpoint = 1, 2
	getDescriptor           = 6
	setInterface            = 11
)

// Vendor and Product are the device's numbers: of pid.codes, for tests.
const (
	Vendor  = 0x1209
	Product = 0x0001
)

// pack writes numbers as USB does: int one byte, uint16 and uint32 little endian.
func pack(parts ...any) (out []byte) {
	for _, x := range parts {
		switch v := x.(type) {
		case int:
			out = append(out, byte(v))
		case uint16:
			out = binary.LittleEndian.AppendUint16(out, v)
		case uint32:
			out = binary.LittleEndian.AppendUint32(out, v)
		case []byte:
			out = append(out, v...)
		}
	}
	return out
}

func (p *Plugged) answerControl(r *urb) {
	s := setup(r.setup)
	out, ok := p.control(s, r.data)
	switch {
	case !ok: // a stall: the device does not know this request
		p.answer(r, -int32(syscall.EPIPE), nil, 0, nil)
	case s.in():
		out = out[:min(len(out), r.length)]
		p.answer(r, 0, out, len(out), nil)
	default:
		p.answer(r, 0, nil, len(r.data), nil)
	}
}

// control answers a control request; false is a stall.
func (p *Plugged) control(s setup, data []byte) (out []byte, ok bool) {
	switch {
	case s.class() && s.to() == toInterface, s.to() == toInterface && s.request() == setInterface:
		n := int(s.index() & 0xff)
		for _, f := range p.functions() {
			if n < f.interfaces() {
				out, ok = f.request(n, s, data)
				return out, ok || s.request() == setInterface && !s.class()
			}
			n -= f.interfaces()
		}
		return nil, false
	case s.class() && s.to() == toEndpoint:
		for _, f := range p.functions() {
			if out, ok := f.request(-1, s, data); ok {
				return out, true
			}
		}
		return nil, false
	case s.in() && s.request() == getDescriptor:
		return p.descriptor(byte(s.value()>>8), int(s.value()&0xff))
	case s.in() && s.request() == 0: // GET_STATUS
		return []byte{0, 0}, true
	}
	return nil, !s.in() // SET_ADDRESS, SET_CONFIGURATION, CLEAR_FEATURE
}

func (p *Plugged) descriptor(kind byte, index int) ([]byte, bool) {
	switch kind {
	case 1: // device; class "miscellaneous": functions are told by associations
		return pack(18, 1, uint16(0x0200), 0xef, 2, 1, 64, uint16(Vendor), uint16(Product), uint16(0x0100), 1, 2, 3, 1), true
	case 2:
		return p.configuration(), true
	case 3:
		return p.text(index)
	}
	return nil, false
}

func (p *Plugged) configuration() []byte {
	var b []byte
	n := 0
	for _, f := range p.functions() {
		b = append(b, f.descriptors(n)...)
		n += f.interfaces()
	}
	return append(pack(9, 2, uint16(9+len(b)), n, 1, 0, 0x80, 250), b...)
}

func (p *Plugged) text(index int) ([]byte, bool) {
	if index == 0 {
		return []byte{4, 3, 9, 4}, true // English
	}
	product, serial := p.d.Product, p.d.Serial
	if product == "" {
		product = "HIL device"
	}
	if serial == "" {
		serial = "0001"
	}
	all := []string{"HIL", product, serial}
	if index > len(all) {
		return nil, false
	}
	var b []byte
	for _, r := range all[index-1] {
		b = binary.LittleEndian.AppendUint16(b, uint16(r))
	}
	return append([]byte{byte(2 + len(b)), 3}, b...), true
}
