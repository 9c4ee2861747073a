package gpioline

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"testing"
	"time"

	"periph.io/x/conn/v3/gpio"

	"minglu/drivers"
)

// fake is an input whose edges come out of a pipe, as the kernel's do out of a line.
func fake(t *testing.T) (*Input, *os.File) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return &Input{line: line{name: "chip/LINE", f: r}}, w
}

// edge is a struct gpio_v2_line_event: timestamp_ns, id, offset, seqno, line_seqno, padding.
func edge(rising bool, age time.Duration, seq uint32) []byte {
	b := binary.NativeEndian.AppendUint64(nil, uint64(monotonic()-age))
	id := uint32(2)
	if rising {
		id = 1
	}
	for _, v := range []uint32{id, 7, seq, seq, 0, 0, 0, 0, 0, 0} {
		b = binary.NativeEndian.AppendUint32(b, v)
	}
	return b
}

func TestNext(t *testing.T) {
	in, w := fake(t)
	w.Write(append(edge(true, time.Second, 1), edge(false, 10*time.Millisecond, 2)...))
	for _, want := range []struct {
		level gpio.Level
		age   time.Duration
	}{{gpio.High, time.Second}, {gpio.Low, 10 * time.Millisecond}} {
		level, age, err := in.Next(t.Context())
		if level != want.level || age < want.age || age > want.age+time.Second || err != nil {
			t.Errorf("Next() = %s, %v, %v; want %s, %v", level, age, err, want.level, want.age)
		}
	}
	w.Write(edge(true, 0, 4)) // number 3 had no room: the edge may tell an old level
	if level, _, err := in.Next(t.Context()); err == nil {
		t.Errorf("Next() after a lost edge = %s, want the line itself to be read", level)
	}
	w.Close()
	var p *drivers.Problem
	if _, _, err := in.Next(t.Context()); !errors.As(err, &p) || p.Code != "gone" || p.Zh == "" || p.En == "" {
		t.Errorf("Next() of a chip that was unplugged = %v, want the problem \"gone\"", err)
	}
}

// TestWaitsEnd is about periph's traps: Halt does not end its waits, WaitForEdge(0) waits for ever and -1 does not wait
// (periph.io/x/host issue 78).
func TestWaitsEnd(t *testing.T) {
	cause := errors.New("stop")
	for _, tt := range []struct {
		rule string
		wait func(ctx context.Context, in *Input) error
		end  func(in *Input, cancel context.CancelCauseFunc)
		want error
	}{
		{"Next ends with its context", func(ctx context.Context, in *Input) error { _, _, err := in.Next(ctx); return err },
			func(_ *Input, cancel context.CancelCauseFunc) { cancel(cause) }, cause},
		{"Next ends with Close", func(ctx context.Context, in *Input) error { _, _, err := in.Next(ctx); return err },
			func(in *Input, _ context.CancelCauseFunc) { in.Close() }, os.ErrClosed},
		{"WaitForEdge(-1) waits, until Halt", func(_ context.Context, in *Input) error {
			if in.WaitForEdge(-1) {
				return errors.New("an edge")
			}
			return os.ErrClosed
		}, func(in *Input, _ context.CancelCauseFunc) { in.Halt() }, os.ErrClosed},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			in, _ := fake(t)
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			began := time.Now()
			time.AfterFunc(20*time.Millisecond, func() { tt.end(in, cancel) })
			if err := tt.wait(ctx, in); !errors.Is(err, tt.want) || time.Since(began) < 20*time.Millisecond {
				t.Errorf("ended with %v after %v, want %v after 20ms", err, time.Since(began), tt.want)
			}
		})
	}
}

func TestWaitForEdgeZero(t *testing.T) {
	in, w := fake(t)
	if in.WaitForEdge(0) {
		t.Error("WaitForEdge(0) = true without an edge")
	}
	w.Write(edge(true, 0, 1))
	if !in.WaitForEdge(0) {
		t.Error("WaitForEdge(0) = false with an edge that has come")
	}
	if in.WaitForEdge(5 * time.Millisecond) {
		t.Error("one edge was told twice")
	}
	w.Write(edge(false, 0, 2))
	if !in.WaitForEdge(time.Minute) {
		t.Error("an edge after a time-out is lost")
	}
}

func TestAfterClose(t *testing.T) {
	in, _ := fake(t)
	for range 2 {
		if err := in.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
	}
	if _, err := in.Level(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Level() = %v", err)
	}
	if _, _, err := in.Next(t.Context()); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Next() = %v", err)
	}
	if in.WaitForEdge(-1) || in.WaitForEdge(0) || bool(in.Read()) {
		t.Error("a closed line has an edge or a level")
	}
}

func TestDebounceLiesInTheUnionsFirstBytes(t *testing.T) {
	b := binary.NativeEndian.AppendUint64(nil, debounceValue(10_000))
	if got := binary.NativeEndian.Uint32(b); got != 10_000 {
		t.Errorf("debounce_period_us = %d", got)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, o := range []Options{{Line: ""}, {Line: "X", Debounce: -1}, {Line: "X", Debounce: 2 * time.Second}} {
		if in, err := OpenInput(o); err == nil {
			t.Errorf("OpenInput(%+v) = %v", o, in)
		}
	}
	if out, err := OpenOutput(Options{Line: "X", Bias: gpio.PullUp}, gpio.Low); err == nil {
		t.Errorf("a bias for an output: %v", out)
	}
	var p *drivers.Problem
	if _, err := OpenInput(Options{Chip: "no such chip", Line: "GPIO17"}); !errors.As(err, &p) || p.Code != "not-found" || p.Zh == "" || p.En == "" {
		t.Errorf("OpenInput of a line that is nowhere = %v, want the problem \"not-found\"", err)
	}
}
