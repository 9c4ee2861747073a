package rtc

import (
	"context"
	"fmt"
	"sync"
	"time"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"

	"minglu/drivers"
)

// Registers of the DS3231, data sheet figure 1, and their bits.
const (
	address    = 0x68 // p. 16
	regSeconds = 0x00
	regControl = 0x0E
	regStatus  = 0x0F
	regTemp    = 0x11
	regAll     = 0x13 // so many there are

	century = 0x80 // of the month
	hour12  = 0x40 // of the hours: 1 to 12, and pm
	pm      = 0x20
	stopOff = 0x80 // of control, EOSC: the oscillator stops without power
	stopped = 0x80 // of status, OSF: it stood still since the flag was cleared
)

// zeros are the bits that read 0 in every DS3231 (figure 1): another chip is told by them.
var zeros = [regAll]byte{0x00: 0x80, 0x01: 0x80, 0x02: 0x80, 0x03: 0xF8, 0x04: 0xC0, 0x05: 0x60, regStatus: 0x70, regTemp + 1: 0x3F}

// DS3231 is one chip. It implements [drivers.SettableRTC], starts no goroutine and is safe for concurrent use. The caller
// keeps the bus and closes it.
type DS3231 struct {
	c      i2c.Dev
	uptime func() time.Duration
	mu     sync.Mutex // guards the registers while they are set
}

// NewDS3231 returns the chip at 0x68, its only address. It talks to nobody yet.
func NewDS3231(bus i2c.Bus, uptime func() time.Duration) *DS3231 {
	return &DS3231{c: i2c.Dev{Bus: bus, Addr: address}, uptime: uptime}
}

// Read implements [drivers.RTC].
func (d *DS3231) Read(ctx context.Context) (drivers.RTCTime, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r, up, err := d.read(ctx)
	if err != nil {
		return drivers.RTCTime{}, fmt.Errorf("rtc: DS3231: %w", err)
	}
	return drivers.RTCTime{T: r.time, Stopped: r.status&stopped != 0, Up: up}, nil
}

// Temperature returns that of the chip, ±3 °C in steps of 0.25 °C, measured every 64 s (p. 11). In a closed
// box it is that of the box.
func (d *DS3231) Temperature(ctx context.Context) (physic.Temperature, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r, _, err := d.read(ctx)
	if err != nil {
		return 0, fmt.Errorf("rtc: DS3231: %w", err)
	}
	return physic.ZeroCelsius + physic.Temperature(r.quarters)*250*physic.MilliKelvin, nil
}

// Set implements [drivers.SettableRTC]. The year must be 2000 to 2199. Writing the seconds begins a second anew (p. 12),
// so that the clock is right within the milliseconds the bus takes.
func (d *DS3231) Set(ctx context.Context, now func() time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.set(ctx, now); err != nil {
		return fmt.Errorf("rtc: DS3231: %w", err)
	}
	return nil
}

func (d *DS3231) set(ctx context.Context, now func() time.Time) error {
	before, _, err := d.read(ctx) // no other chip is written to
	if err != nil && !broken(err) {
		return err
	}
	t := now().UTC().Truncate(time.Second).Add(time.Second)
	b, err := encode(t)
	if err != nil {
		return err
	}
	if err := wait(ctx, t.Sub(now())); err != nil {
		return err
	}
	for _, w := range [][]byte{
		append([]byte{regSeconds}, b[:]...),
		{regControl, before.control &^ stopOff},
		{regStatus, before.status &^ stopped}, // an alarm's flag that is written 1 stays what it is (p. 14)
	} {
		if err := d.c.Tx(w, nil); err != nil {
			return err
		}
	}
	after, _, err := d.read(ctx)
	if err != nil {
		return err
	}
	if off := now().Sub(after.time); after.status&stopped != 0 || off < -time.Second || off > 3*time.Second {
		return &drivers.Problem{Code: "stopped", Zh: "硬件时钟校时后不走；请更换时钟模块", En: "the hardware clock does not go after it was set: change the module",
			Err: fmt.Errorf("set to %v it shows %v, status %#02x", t, after.time, after.status)}
	}
	return nil
}

// registers is what the chip holds.
type registers struct {
	time            time.Time
	control, status byte
	quarters        int16 // of a °C
}

// read takes all registers in one transfer: the chip holds the time still during it (p. 12). A chip with a time that is none
// has its other registers all the same.
func (d *DS3231) read(ctx context.Context) (r registers, up time.Duration, err error) {
	if err := context.Cause(ctx); err != nil {
		return r, 0, err
	}
	var b [regAll]byte
	if err := d.c.Tx([]byte{regSeconds}, b[:]); err != nil {
		return r, 0, err
	}
	up = d.uptime()
	for i, z := range zeros {
		if b[i]&z != 0 {
			return r, 0, &drivers.Problem{Code: "wrong-chip", Zh: "地址 0x68 上不是 DS3231；请核对 agent.yaml 的 rtc", En: "the chip at address 0x68 is no DS3231: check rtc in agent.yaml",
				Err: fmt.Errorf("register %#02x reads %#02x", i, b[i])}
		}
	}
	r = registers{control: b[regControl], status: b[regStatus], quarters: int16(int8(b[regTemp]))<<2 | int16(b[regTemp+1]>>6)}
	r.time, err = decode([7]byte(b[:7]))
	return r, up, err
}

// decode reads the seven registers of the time.
func decode(b [7]byte) (time.Time, error) {
	bad := false
	number := func(v byte, low, high int) int {
		n := int(v>>4)*10 + int(v&15)
		bad = bad || v&15 > 9 || n < low || n > high
		return n
	}
	sec, minute := number(b[0], 0, 59), number(b[1], 0, 59)
	hour := 0
	if b[2]&hour12 == 0 {
		hour = number(b[2], 0, 23)
	} else {
		hour = number(b[2]&0x1F, 1, 12) % 12
		if b[2]&pm != 0 {
			hour += 12
		}
	}
	day, month, year := number(b[4], 1, 31), number(b[5]&^century, 1, 12), 2000+number(b[6], 0, 99)
	if b[5]&century != 0 {
		year += 100
	}
	t := time.Date(year, time.Month(month), day, hour, minute, sec, 0, time.UTC)
	if bad || t.Day() != day {
		return time.Time{}, &drivers.Problem{Code: "no-time", Zh: "硬件时钟中不是有效时间；请联网校时", En: "the hardware clock holds no valid time: let it be set by network time",
			Err: fmt.Errorf("registers % x", b)}
	}
	return t, nil
}

// encode is the time as the registers hold it, in 24 hours.
func encode(t time.Time) (b [7]byte, err error) {
	if t.Year() < 2000 || t.Year() > 2199 {
		return b, fmt.Errorf("the year %d is beyond the chip's 2000 to 2199", t.Year())
	}
	bcd := func(n int) byte { return byte(n/10<<4 | n%10) }
	b = [7]byte{bcd(t.Second()), bcd(t.Minute()), bcd(t.Hour()), byte(t.Weekday()) + 1, bcd(t.Day()), bcd(int(t.Month())), bcd(t.Year() % 100)}
	if t.Year() >= 2100 {
		b[5] |= century
	}
	return b, nil
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// Recognise reports whether a DS3231 answers on a bus. It reads and changes nothing; a chip with the same registers, such as a
// DS1307, may be taken for one.
func Recognise(bus i2c.Bus) bool {
	_, _, err := NewDS3231(bus, func() time.Duration { return 0 }).read(context.Background())
	return err == nil
}

var _ drivers.SettableRTC = (*DS3231)(nil)
