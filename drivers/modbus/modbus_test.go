package modbus

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"minglu/drivers"
	"minglu/drivers/driverstest"
)

var began = time.Now()

func uptime() time.Duration { return time.Hour + time.Since(began) }

// frame adds the CRC.
func frame(b ...byte) []byte { return binary.LittleEndian.AppendUint16(bytes.Clone(b), crc(b)) }

// TestCRC: the example of the Modbus guide (V1.02 appendix B), and a request of the XY-MD02's manual.
func TestCRC(t *testing.T) {
	for _, whole := range [][]byte{{0x02, 0x07, 0x41, 0x12}, {0x01, 0x04, 0x00, 0x01, 0x00, 0x01, 0x60, 0x0A}} {
		if got := frame(whole[:len(whole)-2]...); !bytes.Equal(got, whole) {
			t.Errorf("% x, want % x", got, whole)
		}
	}
}

// slave answers on a line: each request of 8 bytes with what answer says.
func slave(t *testing.T, far *os.File, answer func(n int, request []byte) []byte) {
	t.Helper()
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	t.Cleanup(func() { far.Close() })
	wg.Go(func() {
		request := make([]byte, 0, 8)
		buf := make([]byte, 64)
		for n := 0; ; {
			k, err := far.Read(buf)
			if errors.Is(err, os.ErrClosed) {
				return
			}
			if err != nil { // EIO: nobody has the board's end open
				time.Sleep(time.Millisecond)
				continue
			}
			for _, b := range buf[:k] {
				if request = append(request, b); len(request) == 8 {
					if out := answer(n, request); len(out) > 0 {
						_, _ = far.Write(out)
					}
					n++
					request = request[:0]
				}
			}
		}
	})
}

// registers answers as a sensor that holds these.
func registers(held map[uint16]int16) func(int, []byte) []byte {
	return func(_ int, q []byte) []byte {
		v, ok := held[binary.BigEndian.Uint16(q[2:])]
		if q[0] != 1 {
			return nil
		}
		if !ok || q[1] != 4 || !whole(q) {
			return frame(1, q[1]|0x80, 2)
		}
		return frame(1, 4, 2, byte(uint16(v)>>8), byte(v))
	}
}

func sensor(t *testing.T, o Options) *Sensor {
	t.Helper()
	o.Uptime = uptime
	if o.Timeout == 0 {
		o.Timeout = 200 * time.Millisecond
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRead(t *testing.T) {
	climate := map[uint16]int16{1: 231, 2: 456, 7: -52, 8: 1001, 9: -32768, 10: 2, 11: -1}
	good := registers(climate)
	for _, tt := range []struct {
		rule   string
		o      Options
		answer func(int, []byte) []byte
		want   drivers.Climate
		code   string
	}{
		{"a room", Options{Temperature: 1, Humidity: 2}, good, drivers.Climate{MilliCelsius: 23100, MilliPercent: 45600}, ""},
		{"frost, and no humidity", Options{Temperature: 7, Humidity: NoRegister}, good, drivers.Climate{MilliCelsius: -5200, MilliPercent: -1}, ""},
		{"whole degrees", Options{Temperature: 10, Humidity: NoRegister, Scale: 1000}, good, drivers.Climate{MilliCelsius: 2000, MilliPercent: -1}, ""},
		{"a register it has not", Options{Temperature: 99, Humidity: NoRegister}, good, drivers.Climate{}, "protocol"},
		{"a table it has not", Options{Temperature: 1, Humidity: NoRegister, Table: Holding}, good, drivers.Climate{}, "protocol"},
		{"its chip has failed", Options{Temperature: 9, Humidity: NoRegister}, good, drivers.Climate{}, "protocol"},
		{"more than all humidity", Options{Temperature: 1, Humidity: 8}, good, drivers.Climate{}, "protocol"},
		{"less than no humidity", Options{Temperature: 1, Humidity: 11}, good, drivers.Climate{}, "protocol"},
		{"another slave's address", Options{Temperature: 1, Humidity: 2, Slave: 9}, good, drivers.Climate{}, "no-answer"},
		{"nobody there", Options{Temperature: 1, Humidity: 2}, func(int, []byte) []byte { return nil }, drivers.Climate{}, "no-answer"},
		{"two answers lost, then one", Options{Temperature: 1, Humidity: NoRegister}, func(n int, q []byte) []byte {
			if n < 2 {
				return nil
			}
			return good(n, q)
		}, drivers.Climate{MilliCelsius: 23100, MilliPercent: -1}, ""},
		{"a damaged answer is asked again", Options{Temperature: 1, Humidity: NoRegister}, func(n int, q []byte) []byte {
			b := good(n, q)
			if n == 0 {
				b[4] ^= 1
			}
			return b
		}, drivers.Climate{MilliCelsius: 23100, MilliPercent: -1}, ""},
		{"an answer that is always damaged", Options{Temperature: 1, Humidity: NoRegister}, func(n int, q []byte) []byte {
			b := good(n, q)
			b[6] ^= 0x80
			return b
		}, drivers.Climate{}, "no-answer"},
		{"cut in the middle", Options{Temperature: 1, Humidity: NoRegister}, func(n int, q []byte) []byte { return good(n, q)[:5] }, drivers.Climate{}, "no-answer"},
		{"another slave's answer", Options{Temperature: 1, Humidity: NoRegister}, func(int, []byte) []byte { return frame(2, 4, 2, 0, 1) }, drivers.Climate{}, "no-answer"},
		{"an adapter with an echo", Options{Temperature: 1, Humidity: 2}, func(n int, q []byte) []byte { return append(bytes.Clone(q), good(n, q)...) }, drivers.Climate{MilliCelsius: 23100, MilliPercent: 45600}, ""},
		{"noise without end", Options{Temperature: 1, Humidity: 2}, func(int, []byte) []byte { return bytes.Repeat([]byte{1, 4, 2}, 300) }, drivers.Climate{}, "no-answer"},
	} {
		far, path := driverstest.PTY(t)
		slave(t, far, tt.answer)
		tt.o.Path = path
		got, err := sensor(t, tt.o).Read(t.Context())
		var p *drivers.Problem
		switch {
		case tt.code != "":
			if !errors.As(err, &p) || p.Code != tt.code || p.Zh == "" || p.En == "" || got != (drivers.Climate{}) {
				t.Errorf("%s: %+v, %v; want the problem %q", tt.rule, got, err, tt.code)
			}
		case err != nil:
			t.Errorf("%s: %v", tt.rule, err)
		default:
			if got.Up < time.Hour || got.Up > uptime() {
				t.Errorf("%s: of uptime %v", tt.rule, got.Up)
			}
			if got.Up = 0; got != tt.want {
				t.Errorf("%s: %+v, want %+v", tt.rule, got, tt.want)
			}
		}
	}
}

// TestUnplugged: the adapter comes and goes; nothing is left open.
func TestUnplugged(t *testing.T) {
	link := filepath.Join(t.TempDir(), "usb-RS485-if00")
	s := sensor(t, Options{Path: link, Temperature: 1, Humidity: 2})
	var p *drivers.Problem
	if _, err := s.Read(t.Context()); !errors.As(err, &p) || p.Code != "not-found" {
		t.Errorf("Read() = %v, want the problem \"not-found\"", err)
	}
	before := 0
	for round := range 10 {
		t.Run("", func(t *testing.T) {
			far, path := driverstest.PTY(t)
			pulled := false
			slave(t, far, func(n int, q []byte) []byte {
				if n == 2 { // in the middle of the second reading
					pulled = true
					far.Close()
					return nil
				}
				return registers(map[uint16]int16{1: 200, 2: 500})(n, q)
			})
			if err := os.Symlink(path, link); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Read(t.Context()); err != nil {
				t.Errorf("Read() = %v", err)
			}
			if _, err := s.Read(t.Context()); !errors.As(err, &p) || p.Code != "gone" {
				t.Errorf("Read() = %v (pulled %v), want the problem \"gone\"", err, pulled)
			}
			if err := os.Remove(link); err != nil {
				t.Fatal(err)
			}
		})
		open, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case round == 0:
			before = len(open)
		case len(open) > before:
			t.Fatalf("round %d: %d descriptors, %d after the first", round, len(open), before)
		}
	}
}

// TestConformance: a sensor on a line does what the simulated thermometer does, for several readers at once.
func TestConformance(t *testing.T) {
	far, path := driverstest.PTY(t)
	slave(t, far, registers(map[uint16]int16{1: 200, 2: 500}))
	s := sensor(t, Options{Path: path, Temperature: 1, Humidity: 2, Timeout: 2 * time.Second})
	driverstest.Thermometer(t, driverstest.ThermometerOptions{Thermometer: s, Uptime: uptime})
}

func TestOptions(t *testing.T) {
	for i, o := range []Options{
		{}, {Path: "x"}, {Path: "x", Uptime: uptime, Baud: 1}, {Path: "x", Uptime: uptime, Parity: "mark"}, {Path: "x", Uptime: uptime, Slave: 248}, {Path: "x", Uptime: uptime, Table: 1},
		{Path: "x", Uptime: uptime, Temperature: -1}, {Path: "x", Uptime: uptime, Humidity: 65536}, {Path: "x", Uptime: uptime, Scale: 2000}, {Path: "x", Uptime: uptime, Timeout: time.Hour},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("options %d were accepted", i)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(frame(1, 4, 2, 0, 231))
	f.Add(frame(1, 0x84, 2))
	s, err := New(Options{Path: "x", Uptime: uptime})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		q := s.request(1)
		if v, done, err := s.parse(q, b); done && err == nil && !bytes.Contains(b, frame(1, 4, 2, byte(uint16(v)>>8), byte(v))) {
			t.Errorf("% x is %d", b, v)
		}
	})
}

// An XY-MD02: input registers 1 and 2, in tenths.
func Example() {
	s, err := New(Options{Path: "/dev/serial/by-id/usb-1a86_USB_Serial-if00-port0", Temperature: 1, Humidity: 2, Uptime: uptime})
	if err != nil {
		panic(err)
	}
	c, err := s.Read(context.Background())
	println(c.MilliCelsius, c.MilliPercent, err)
}
