//go:build hil

package gpioline

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"periph.io/x/conn/v3/gpio"

	"minglu/drivers"
	"minglu/sim/hil/gpiosim"
)

func TestMain(m *testing.M) {
	if line := os.Getenv("MINGLU_HOLD"); line != "" { // the process that dies with a line in its hand
		out, err := OpenOutput(Options{Line: line}, gpio.High)
		if err != nil {
			panic(err)
		}
		os.Stdout.WriteString(out.Name() + "\n")
		select {}
	}
	os.Exit(m.Run())
}

func newChip(t *testing.T, label string, lines ...string) *gpiosim.Chip {
	t.Helper()
	c, err := gpiosim.New(label, lines...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func pull(t *testing.T, c *gpiosim.Chip, line int, up bool) {
	t.Helper()
	if err := c.Pull(line, up); err != nil {
		t.Error(err)
	}
}

func high(t *testing.T, c *gpiosim.Chip, line int) bool {
	t.Helper()
	on, err := c.High(line)
	if err != nil {
		t.Error(err)
	}
	return on
}

func problem(t *testing.T, err error, code string) {
	t.Helper()
	var p *drivers.Problem
	if !errors.As(err, &p) || p.Code != code || p.Zh == "" || p.En == "" {
		t.Errorf("error %v, want the problem %q", err, code)
	} else {
		t.Log(err)
	}
}

func TestHILOutput(t *testing.T) {
	c := newChip(t, "out", "LAMP", "RELAY")
	for _, tt := range []struct {
		o    Options
		high bool // of a line that is on
	}{
		{Options{Chip: "out", Line: "LAMP"}, true},
		{Options{Chip: c.Path, Line: "0"}, true},
		{Options{Line: "LAMP"}, true},
		{Options{Chip: "out", Line: "LAMP", ActiveLow: true}, false},
	} {
		for _, first := range []gpio.Level{gpio.Low, gpio.High} {
			out, err := OpenOutput(tt.o, first)
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range []gpio.Level{first, gpio.High, gpio.Low, gpio.High} {
				if l != first {
					if err := out.Out(l); err != nil {
						t.Error(err)
					}
				}
				if is := high(t, c, 0); is != (bool(l) == tt.high) {
					t.Errorf("%+v: %s gives a voltage that is high: %v", tt.o, l, is)
				}
				// periph's gpioioctl makes an input of an output that is read; this must not
				if is, err := out.Level(); err != nil || is != l {
					t.Errorf("Level() = %s, %v; want %s", is, err, l)
				}
				first = l
			}
			_, err = OpenOutput(tt.o, gpio.Low)
			problem(t, err, "busy")
			if err := out.Close(); err != nil {
				t.Error(err)
			}
			if err := out.Out(gpio.High); !errors.Is(err, os.ErrClosed) {
				t.Errorf("Out() after Close = %v", err)
			}
		}
	}
}

func TestHILInput(t *testing.T) {
	c := newChip(t, "in", "BUTTON")
	for _, tt := range []struct {
		o    Options
		high bool
	}{
		{Options{Chip: "in", Line: "BUTTON"}, true},
		{Options{Chip: "in", Line: "BUTTON", ActiveLow: true, Bias: gpio.PullUp}, false},
	} {
		pull(t, c, 0, !tt.high)
		in, err := OpenInput(tt.o)
		if err != nil {
			t.Fatal(err)
		}
		pull(t, c, 0, !tt.high) // the bias moved it
		for in.WaitForEdge(0) {
		}
		var worst time.Duration
		for i := range 10 {
			on := i%2 == 0
			began := time.Now()
			pull(t, c, 0, on == tt.high)
			level, age, err := in.Next(t.Context())
			took := time.Since(began)
			worst = max(worst, took)
			if err != nil || bool(level) != on || age < 0 || age > took {
				t.Fatalf("%+v: Next() = %s, %v ago, %v after %v; want %v", tt.o, level, age, err, took, on)
			}
			if is, err := in.Level(); err != nil || bool(is) != on {
				t.Errorf("Level() = %s, %v", is, err)
			}
		}
		t.Logf("%+v: edge to Next at most %v", tt.o, worst)
		if err := in.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestHILLostEdgesAreNoticed(t *testing.T) {
	c := newChip(t, "in", "BUTTON")
	in, err := OpenInput(Options{Line: "BUTTON"})
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	for i := range 51 { // the kernel keeps 16
		pull(t, c, 0, i%2 == 0)
	}
	level := gpio.Low
	for n := 0; ; n++ {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		l, _, err := in.Next(ctx)
		cancel()
		if err != nil {
			break
		}
		level = l
	}
	if level != gpio.High {
		t.Error("after 51 edges at once the last level told is Low: lost edges make a door that stays shut")
	}
}

func TestHILDebounce(t *testing.T) {
	c := newChip(t, "in", "BUTTON")
	in, err := OpenInput(Options{Line: "BUTTON", Debounce: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	began := time.Now()
	for i := range 5 { // it bounces, and stays high
		pull(t, c, 0, i%2 == 0)
		time.Sleep(5 * time.Millisecond)
	}
	level, _, err := in.Next(t.Context())
	if took := time.Since(began); err != nil || level != gpio.High || took < 200*time.Millisecond {
		t.Errorf("Next() = %s, %v after %v; want one High after 200ms", level, err, took)
	}
	if in.WaitForEdge(300 * time.Millisecond) {
		t.Error("a bounce was told")
	}
}

func TestHILUnplugged(t *testing.T) {
	c := newChip(t, "usb", "BUTTON", "LAMP")
	in, err := OpenInput(Options{Line: "BUTTON"})
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := OpenOutput(Options{Line: "LAMP"}, gpio.Low)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	time.AfterFunc(100*time.Millisecond, func() { c.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, _, err = in.Next(ctx)
	problem(t, err, "gone")
	problem(t, out.Out(gpio.High), "gone")
	_, err = OpenInput(Options{Chip: "usb", Line: "BUTTON"})
	problem(t, err, "not-found")
}

func TestHILNamesThatAreNotUnique(t *testing.T) {
	a, b := newChip(t, "one", "DOOR"), newChip(t, "two", "DOOR")
	_, err := OpenInput(Options{Line: "DOOR"})
	problem(t, err, "not-found")
	if !strings.Contains(err.Error(), "(one)") || !strings.Contains(err.Error(), "(two)") {
		t.Errorf("the error does not say where: %v", err)
	}
	for _, c := range []*gpiosim.Chip{a, b} {
		in, err := OpenInput(Options{Chip: c.Label, Line: "DOOR"})
		if err != nil {
			t.Fatal(err)
		}
		in.Close()
	}
	lines, err := List()
	if err != nil {
		t.Error(err)
	}
	n := 0
	for _, l := range lines {
		if l.Name == "DOOR" && !l.Used && !l.Output {
			n++
		}
	}
	if n != 2 {
		t.Errorf("List() has %d doors of 2: %+v", n, lines)
	}
}

// TestProcessDies shows what gpio-sim does: the line falls back to its pull, here low.
func TestHILProcessDies(t *testing.T) {
	c := newChip(t, "out", "LAMP")
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "MINGLU_HOLD=LAMP")
	r, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 64)
	if n, err := r.Read(b); err != nil || strings.TrimSpace(string(b[:n])) != "out/LAMP" {
		t.Fatalf("the other process says %q, %v", b[:n], err)
	}
	if !high(t, c, 0) {
		t.Error("the line is not high while it is held")
	}
	cmd.Process.Kill()
	cmd.Wait()
	if high(t, c, 0) {
		t.Error("the line of a dead process is still driven")
	}
	out, err := OpenOutput(Options{Line: "LAMP"}, gpio.High)
	if err != nil {
		t.Fatalf("the line of a dead process cannot be taken: %v", err)
	}
	out.Close()
}
