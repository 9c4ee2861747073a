package i2cchip

import (
	"bytes"
	"encoding/binary"
	"io"
	"syscall"
	"testing"
	"time"
)

// adapter is the kernel's side: requests go in, answers come out.
type adapter struct {
	ask  chan []byte
	told chan []byte
}

func (a *adapter) Read(p []byte) (int, error) {
	b, ok := <-a.ask
	if !ok {
		return 0, io.EOF
	}
	return copy(p, b), nil
}

func (a *adapter) Write(p []byte) (int, error) { a.told <- bytes.Clone(p); return len(p), nil }
func (a *adapter) Close() error                { close(a.ask); return nil }

type message struct {
	addr uint16
	w    []byte
	r    int
}

func request(seq uint32, messages ...message) []byte {
	le := binary.LittleEndian
	b := le.AppendUint32(nil, seq)
	b = le.AppendUint32(b, uint32(len(messages)))
	for _, m := range messages {
		flags, n := 0, len(m.w)
		if m.r > 0 {
			flags, n = flagRead, m.r
		}
		for _, v := range []int{int(m.addr), flags, n, 0} {
			b = le.AppendUint16(b, uint16(v))
		}
		b = append(b, m.w...)
	}
	return b
}

func TestBus(t *testing.T) {
	a := &adapter{make(chan []byte), make(chan []byte, 1)}
	b := newBus(a)
	regs := &Registers{}
	copy(regs.Reg[0x10:], "abc")
	b.Put(0x68, regs)
	b.Put(0x44, &SHT3x{MilliCelsius: 25000, MilliPercent: 50000})
	b.Put(0x40, &Words{Reg: [256]uint16{2: 0x1234}})
	for _, tt := range []struct {
		name   string
		m      []message
		status int32
		data   string
	}{
		{"registers go on", []message{{addr: 0x68, w: []byte{0x10}}, {addr: 0x68, r: 3}}, 0, "abc"},
		{"a write and a look", []message{{addr: 0x68, w: []byte{0x11, 'X'}}, {addr: 0x68, w: []byte{0x10}}, {addr: 0x68, r: 3}}, 0, "aXc"},
		{"nobody there", []message{{addr: 0x69, w: []byte{0x10}}, {addr: 0x68, r: 3}}, -int32(syscall.ENXIO), ""},
		// 25 °C and 50 %: 0x6666 and 0x8000; see TestSensirionChecksum.
		{"SHT3x", []message{{addr: 0x44, w: []byte{0x24, 0x00}}, {addr: 0x44, r: 6}}, 0, "\x66\x66\x93\x80\x00\xa2"},
		{"a word", []message{{addr: 0x40, w: []byte{2}}, {addr: 0x40, r: 2}}, 0, "\x12\x34"},
		{"more than there is", []message{{addr: 0x40, r: 4}}, 0, "\x12\x34\xff\xff"},
	} {
		a.ask <- request(7, tt.m...)
		got := <-a.told
		want := append(binary.LittleEndian.AppendUint32([]byte{7, 0, 0, 0}, uint32(tt.status)), tt.data...)
		if !bytes.Equal(got, want) {
			t.Errorf("%s: %x, want %x", tt.name, got, want)
		}
	}
	b.Stick(true)
	if got, ok := b.answer(request(8, message{addr: 0x68, r: 1})); ok {
		t.Errorf("a stuck bus answers %x", got)
	}
	b.Stick(false)
	b.Put(0x68, nil)
	a.ask <- request(9, message{addr: 0x68, r: 1})
	if got := <-a.told; got[0] != 9 || got[4] == 0 {
		t.Errorf("after a stuck bus and a chip pulled out: %x, want request 9 refused", got)
	}
	if n := b.Transfers(); n != 8 {
		t.Errorf("%d transfers, want 8", n)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestSensirionChecksum(t *testing.T) {
	if got := sensirion(false, 0xBEEF); !bytes.Equal(got, []byte{0xBE, 0xEF, 0x92}) { // SHT3x 4.12, table 20
		t.Errorf("% x, want be ef 92", got)
	}
	if got := sensirion(true, 0xBEEF); got[2] == 0x92 {
		t.Error("a spoilt checksum is right")
	}
}

func TestDS3231(t *testing.T) {
	c := NewDS3231(time.Date(2026, 11, 25, 7, 45, 10, 0, time.UTC), false)
	c.since = time.Now().Add(-65 * time.Second)
	if err := c.Write([]byte{0}); err != nil {
		t.Fatal(err)
	}
	if b, _ := c.Read(7); !bytes.Equal(b, []byte{0x15, 0x46, 0x07, 4, 0x25, 0x11, 0x26}) {
		t.Errorf("65 s later: % x", b)
	}
	if err := c.Write([]byte{0, 0x59, 0x59, 0x23, 5, 0x31, 0x12, 0x99}); err != nil {
		t.Fatal(err)
	}
	if got := c.Time(); got.Format(time.DateTime) != "2099-12-31 23:59:59" {
		t.Errorf("set to the end of a century: %v", got)
	}
	c.since = c.since.Add(-time.Second)
	if err := c.Write([]byte{5}); err != nil {
		t.Fatal(err)
	}
	if b, _ := c.Read(2); !bytes.Equal(b, []byte{0x81, 0x00}) {
		t.Errorf("a second later: month and year % x, want the century's bit", b)
	}
	dead := NewDS3231(time.Now(), true)
	if dead.Time().Year() != 2000 || dead.Reg[ds3231Status]&oscillatorOff == 0 {
		t.Errorf("battery dead: %v, status %#x", dead.Time(), dead.Reg[ds3231Status])
	}
}
