// Package modbus reads a room's climate from a sensor that speaks Modbus RTU on RS-485, such as the XY-MD02.
//
// By MODBUS Application Protocol V1.1b3 (functions 3 and 4, exceptions) and MODBUS over Serial Line V1.02 (frames, CRC,
// times). Which register holds what, and in which unit, is the sensor's: see [Options].
//
// Each Read opens the line, asks and closes it: an adapter may be unplugged and plugged in between, and nothing is left
// open. A request that is not answered, or whose answer is damaged, is sent twice more.
//
// Faults: not-found, busy, permission, gone (the adapter); no-answer (wires, address, speed); protocol (answers, but
// not this: a wrong register, or readings no room has).
package modbus

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"go.bug.st/serial"

	"minglu/drivers"
)

// Table is which registers are read.
type Table byte

// The tables, by the function that reads them.
const (
	Holding Table = 3
	Input   Table = 4
)

// NoRegister means that the sensor does not measure it.
const NoRegister = -1

// Options say where the sensor is and what its registers hold: signed 16 bit, in units of 1/1000 times Scale.
type Options struct {
	Path        string               // required; best one of /dev/serial/by-id
	Baud        int                  // 0: 9600
	Parity      string               // "none" (""), "even", "odd"; 8 bits, one stop bit
	Slave       int                  // 1 to 247; 0: 1
	Table       Table                // 0: [Input]
	Temperature int                  // register, 0 to 65535
	Humidity    int                  // register, or [NoRegister]
	Scale       int                  // 1/1000 °C and 1/1000 %RH in one step; 0: 100, that is 0.1
	Timeout     time.Duration        // for an answer; 0: 500 ms
	Uptime      func() time.Duration // required: the board's uptime
}

// Sensor is one sensor. It implements [drivers.Thermometer]. Safe for concurrent use.
type Sensor struct {
	o    Options
	mode serial.Mode
	turn chan struct{} // holds one token: who has it has the line
}

// New returns the sensor. It opens nothing.
func New(o Options) (*Sensor, error) {
	for _, def := range []struct {
		v   *int
		def int
	}{{&o.Baud, 9600}, {&o.Slave, 1}, {&o.Scale, 100}} {
		if *def.v == 0 {
			*def.v = def.def
		}
	}
	if o.Table == 0 {
		o.Table = Input
	}
	if o.Timeout == 0 {
		o.Timeout = 500 * time.Millisecond
	}
	parity, known := map[string]serial.Parity{"": serial.NoParity, "none": serial.NoParity, "even": serial.EvenParity, "odd": serial.OddParity}[o.Parity]
	switch {
	case o.Path == "" || o.Uptime == nil:
		return nil, errors.New("modbus: options: Path and Uptime are required")
	case o.Baud < 300 || o.Baud > 4000000 || !known:
		return nil, fmt.Errorf("modbus: %s: %d baud, parity %q: choose 300 to 4000000, none, even or odd", o.Path, o.Baud, o.Parity)
	case o.Slave < 1 || o.Slave > 247 || o.Table != Holding && o.Table != Input:
		return nil, fmt.Errorf("modbus: %s: slave %d, table %d: choose 1 to 247, 3 or 4", o.Path, o.Slave, o.Table)
	case o.Temperature < 0 || o.Temperature > 0xFFFF || o.Humidity < NoRegister || o.Humidity > 0xFFFF || o.Scale < 1 || o.Scale > 1000:
		return nil, fmt.Errorf("modbus: %s: registers %d and %d, scale %d: choose 0 to 65535, and 1 to 1000", o.Path, o.Temperature, o.Humidity, o.Scale)
	case o.Timeout < 10*time.Millisecond || o.Timeout > 10*time.Second:
		return nil, fmt.Errorf("modbus: %s: timeout of %v: choose 10ms to 10s", o.Path, o.Timeout)
	}
	s := &Sensor{o, serial.Mode{BaudRate: o.Baud, DataBits: 8, Parity: parity, StopBits: serial.OneStopBit}, make(chan struct{}, 1)}
	s.turn <- struct{}{}
	return s, nil
}

// Read implements [drivers.Thermometer]. It takes at most three times the timeout for each register, and ends within
// one when ctx does.
func (s *Sensor) Read(ctx context.Context) (drivers.Climate, error) {
	select {
	case <-ctx.Done():
		return drivers.Climate{}, context.Cause(ctx)
	case <-s.turn:
		defer func() { s.turn <- struct{}{} }()
	}
	c, err := s.read(ctx)
	if ctx.Err() != nil {
		return drivers.Climate{}, context.Cause(ctx)
	}
	if err != nil {
		return drivers.Climate{}, problem(s.o.Path, err)
	}
	return c, nil
}

// Readings a room can have; sensors answer 0x8000 or 0x7FFF when their chip has failed.
const (
	minMilliCelsius = -40_000
	maxMilliCelsius = 125_000
	maxMilliPercent = 100_000
)

func (s *Sensor) read(ctx context.Context) (drivers.Climate, error) {
	port, err := serial.Open(s.o.Path, &s.mode)
	if err != nil {
		return drivers.Climate{}, err
	}
	defer port.Close() // by this goroutine, after its last write
	c := drivers.Climate{MilliPercent: -1}
	raw, err := s.register(ctx, port, s.o.Temperature)
	if err != nil {
		return drivers.Climate{}, err
	}
	c.MilliCelsius = int(raw) * s.o.Scale
	if s.o.Humidity != NoRegister {
		if raw, err = s.register(ctx, port, s.o.Humidity); err != nil {
			return drivers.Climate{}, err
		}
		c.MilliPercent = int(raw) * s.o.Scale
		if c.MilliPercent < 0 || c.MilliPercent > maxMilliPercent {
			return drivers.Climate{}, fmt.Errorf("%w: humidity register %d holds %d", ErrReading, s.o.Humidity, raw)
		}
	}
	if c.MilliCelsius < minMilliCelsius || c.MilliCelsius > maxMilliCelsius {
		return drivers.Climate{}, fmt.Errorf("%w: temperature register %d holds %d", ErrReading, s.o.Temperature, c.MilliCelsius/s.o.Scale)
	}
	c.Up = s.o.Uptime()
	return c, nil
}

// tries is how often a request is sent.
const tries = 3

// register reads one register, again if the answer does not come whole.
func (s *Sensor) register(ctx context.Context, port serial.Port, register int) (int16, error) {
	var err error
	for range tries {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		var v int16
		if v, err = s.ask(port, register); err == nil {
			return v, nil
		}
		if !errors.Is(err, ErrNoAnswer) && !errors.Is(err, ErrDamaged) {
			return 0, err
		}
	}
	return 0, err
}

// silence is what separates frames: 3.5 characters of 11 bits, at least 1.75 ms (V1.02 section 2.5.1.1).
func (s *Sensor) silence() time.Duration {
	return max(35*11*time.Second/time.Duration(10*s.o.Baud), 1750*time.Microsecond)
}

// ask sends one request and reads its answer.
func (s *Sensor) ask(port serial.Port, register int) (int16, error) {
	time.Sleep(s.silence())
	if err := port.ResetInputBuffer(); err != nil { // what came too late for the last one
		return 0, err
	}
	request := s.request(register)
	if _, err := port.Write(request); err != nil {
		return 0, err
	}
	var answer []byte
	buf := make([]byte, 64)
	for end := time.Now().Add(s.o.Timeout); ; {
		left := time.Until(end)
		if left <= 0 {
			break
		}
		if err := port.SetReadTimeout(left); err != nil {
			return 0, err
		}
		n, err := port.Read(buf)
		if err != nil {
			return 0, err
		}
		answer = append(answer, buf[:n]...)
		if v, done, err := s.parse(request, answer); done {
			return v, err
		}
	}
	if len(answer) == 0 {
		return 0, fmt.Errorf("%w of slave %d within %v", ErrNoAnswer, s.o.Slave, s.o.Timeout)
	}
	return 0, fmt.Errorf("%w: % x of slave %d", ErrDamaged, answer[:min(len(answer), 16)], s.o.Slave)
}

func (s *Sensor) request(register int) []byte {
	b := []byte{byte(s.o.Slave), byte(s.o.Table)}
	b = binary.BigEndian.AppendUint16(b, uint16(register))
	b = binary.BigEndian.AppendUint16(b, 1)
	return binary.LittleEndian.AppendUint16(b, crc(b))
}
