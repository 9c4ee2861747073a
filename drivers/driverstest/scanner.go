package driverstest

import (
	"context"
	"errors"
	"testing"
	"time"

	"minglu/drivers"
)

// ScannerOptions say how to test a scanner.
type ScannerOptions struct {
	Scanner drivers.Scanner
	Scan    func(text string)    // makes it read a code
	Ready   func()               // waits until a Run that has begun hears what is scanned; nil: it does at once
	Uptime  func() time.Duration // the board's
}

// Scanner tests a scanner: it tells each code once, in order, with the time it came, the same one twice if it is read
// twice, again after another Run, and ends with ctx's cause.
func Scanner(t *testing.T, o ScannerOptions) {
	for range 2 {
		type scan struct {
			text string
			up   time.Duration
		}
		scans, done := make(chan scan, 64), make(chan error, 1)
		cause := errors.New("asked to stop")
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() { done <- o.Scanner.Run(ctx, func(text string, up time.Duration) { scans <- scan{text, up} }) }()
		if o.Ready != nil {
			o.Ready()
		}
		for _, text := range []string{"2026-0012", "A", "A", "CASE/2026:42 (b)"} {
			began := o.Uptime()
			o.Scan(text)
			select {
			case s := <-scans:
				if s.text != text || s.up < began-time.Millisecond || s.up > o.Uptime() {
					t.Errorf("%q at %v, want %q between %v and %v", s.text, s.up, text, began, o.Uptime())
				}
			case err := <-done:
				t.Fatalf("Run() = %v", err)
			case <-time.After(within):
				t.Fatalf("%q is not told within %v", text, within)
			}
		}
		cancel(cause)
		select {
		case err := <-done:
			if !errors.Is(err, cause) {
				t.Errorf("Run() = %v, want the cause it was stopped for", err)
			}
		case <-time.After(within):
			t.Fatalf("Run does not end within %v of being asked to", within)
		}
		if len(scans) > 0 {
			t.Errorf("one scan too many: %+v", <-scans)
		}
	}
}
