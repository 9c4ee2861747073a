package i2cchip

import (
	"encoding/binary"
	"errors"
	"time"
)

// ErrNAK is what a chip returns that does not acknowledge.
var ErrNAK = errors.New("no acknowledge")

// Registers is a chip with a file of byte registers and a pointer that goes on with each byte: DS3231,
// PCF8563, lm75 and many more. The zero value is all zeros.
type Registers struct {
	Reg     [256]byte
	pointer byte
}

// Write sets the pointer, then registers.
func (r *Registers) Write(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	r.pointer = b[0]
	for _, v := range b[1:] {
		r.Reg[r.pointer] = v
		r.pointer++
	}
	return nil
}

// Read returns registers from the pointer on.
func (r *Registers) Read(n int) ([]byte, error) {
	out := make([]byte, n)
	for i := range out {
		out[i] = r.Reg[r.pointer]
		r.pointer++
	}
	return out, nil
}

// Words is a chip with registers of 16 bits, most significant byte first, and a pointer that stays: INA219
// (TI SBOS448G), INA226 (TI SBOS547B).
type Words struct {
	Reg     [256]uint16
	pointer byte
}

// Write sets the pointer, and the register where a word follows.
func (w *Words) Write(b []byte) error {
	if len(b) > 0 {
		w.pointer = b[0]
	}
	if len(b) >= 3 {
		w.Reg[w.pointer] = binary.BigEndian.Uint16(b[1:])
	}
	return nil
}

// Read returns the register at the pointer.
func (w *Words) Read(n int) ([]byte, error) {
	out := binary.BigEndian.AppendUint16(nil, w.Reg[w.pointer])
	return out[:min(n, len(out))], nil
}

// SHT3x is a Sensirion SHT30, SHT31 or SHT35 (data sheet "SHT3x-DIS", version 7, 4.3 to 4.13): single shot
// with and without clock stretching, status, soft reset.
type SHT3x struct {
	MilliCelsius int  // -45 000 to 130 000
	MilliPercent int  // 0 to 100 000
	BadCRC       bool // each checksum is wrong, as on a disturbed line
	Mute         bool // measurements get no acknowledge, as while one goes on
	command      uint16
}

const sht3xStatus, sht3xReset = 0xf32d, 0x30a2

// Write takes a command.
func (s *SHT3x) Write(b []byte) error {
	if len(b) >= 2 {
		s.command = binary.BigEndian.Uint16(b)
	}
	return nil
}

// Read answers the command before.
func (s *SHT3x) Read(n int) ([]byte, error) {
	if s.command == sht3xStatus {
		return sensirion(s.BadCRC, 0), nil
	}
	if s.Mute || s.command == sht3xReset || s.command == 0 {
		return nil, ErrNAK
	}
	return sensirion(s.BadCRC, scale(s.MilliCelsius+45000, 175000), scale(s.MilliPercent, 100000)), nil
}

// SHT4x is a Sensirion SHT40, SHT41 or SHT45 (data sheet "SHT4x", version 6.5, 4.4 to 4.6): measurements,
// serial number, soft reset.
type SHT4x struct {
	MilliCelsius int
	MilliPercent int
	Serial       uint32
	BadCRC       bool
	Mute         bool
	command      byte
}

const sht4xSerial, sht4xReset = 0x89, 0x94

// Write takes a command.
func (s *SHT4x) Write(b []byte) error {
	if len(b) > 0 {
		s.command = b[0]
	}
	return nil
}

// Read answers the command before.
func (s *SHT4x) Read(n int) ([]byte, error) {
	if s.command == sht4xSerial {
		return sensirion(s.BadCRC, uint16(s.Serial>>16), uint16(s.Serial)), nil
	}
	if s.Mute || s.command == sht4xReset || s.command == 0 {
		return nil, ErrNAK
	}
	return sensirion(s.BadCRC, scale(s.MilliCelsius+45000, 175000), scale(s.MilliPercent+6000, 125000)), nil
}

// scale returns v of full as 16 bits, rounded.
func scale(v, full int) uint16 {
	return uint16((int64(max(0, min(v, full)))*65535 + int64(full)/2) / int64(full)) // more than an int has on arm/7
}

// sensirion writes words with the checksum behind each: CRC-8, polynomial 0x31, from 0xff (SHT3x 4.12).
func sensirion(bad bool, words ...uint16) (out []byte) {
	for _, w := range words {
		b := binary.BigEndian.AppendUint16(nil, w)
		crc := byte(0xff)
		for _, v := range b {
			crc ^= v
			for range 8 {
				if crc&0x80 != 0 {
					crc = crc<<1 ^ 0x31
				} else {
					crc <<= 1
				}
			}
		}
		if bad {
			crc ^= 0x5a
		}
		out = append(append(out, b...), crc)
	}
	return out
}

// DS3231 is Maxim's clock (data sheet 19-5170 rev 10, figure 1): time in BCD, oscillator-stop flag,
// temperature. It goes on by the guest's monotonic clock. Make it with [NewDS3231].
type DS3231 struct {
	Registers
	set   time.Time // what the clock showed …
	since time.Time // … at this time of ours
}

// Registers of the DS3231.
const (
	ds3231Seconds = 0x00
	ds3231Status  = 0x0f
	ds3231Temp    = 0x11
	oscillatorOff = 0x80 // OSF: the oscillator stood still, the time is not to be trusted
)

// NewDS3231 returns a clock that shows t, to the second. With a dead battery it begins in 2000 after each
// loss of power and says that its oscillator stood still.
func NewDS3231(t time.Time, batteryDead bool) *DS3231 {
	c := &DS3231{set: t.UTC().Truncate(time.Second), since: time.Now()}
	c.Reg[ds3231Temp] = 25
	if batteryDead {
		c.set = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
		c.Reg[ds3231Status] = oscillatorOff
	}
	return c
}

// Time returns what the clock shows.
func (c *DS3231) Time() time.Time { return c.set.Add(time.Since(c.since)).Truncate(time.Second) }

// Write sets registers; the time where one of its seven is among them.
func (c *DS3231) Write(b []byte) error {
	c.show()
	if err := c.Registers.Write(b); err != nil {
		return err
	}
	if len(b) > 1 && b[0] < 7 {
		r := c.Reg[:]
		// The month's top bit is the century (figure 1).
		year := 2000 + unBCD(r[6]) + 100*int(r[5]>>7)
		c.set = time.Date(year, time.Month(unBCD(r[5]&0x1f)), unBCD(r[4]&0x3f), unBCD(r[2]&0x3f), unBCD(r[1]), unBCD(r[0]), 0, time.UTC)
		c.since = time.Now()
	}
	return nil
}

// Read returns registers from the pointer on.
func (c *DS3231) Read(n int) ([]byte, error) {
	c.show()
	return c.Registers.Read(n)
}

func (c *DS3231) show() {
	t := c.Time()
	century := byte(0)
	if t.Year() >= 2100 {
		century = 0x80
	}
	copy(c.Reg[ds3231Seconds:], []byte{bcd(t.Second()), bcd(t.Minute()), bcd(t.Hour()), byte(t.Weekday()) + 1, bcd(t.Day()), bcd(int(t.Month())) | century, bcd(t.Year() % 100)})
}

func bcd(v int) byte   { return byte(v/10<<4 | v%10) }
func unBCD(b byte) int { return int(b>>4)*10 + int(b&15) }
