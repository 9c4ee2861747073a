package sim

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

// maxScan is the longest code, in bytes, as of the real scanner.
const maxScan = 256

// Scanner is a simulated scanner. It implements drivers.Scanner; any number of Runs at a time. What is scanned while
// none runs is lost, as it is with a real one.
type Scanner struct {
	uptime func() time.Duration

	mu   sync.Mutex // guards subs
	subs map[chan scan]bool
}

type scan struct {
	text string
	up   time.Duration
}

func newScanner(uptime func() time.Duration) *Scanner {
	return &Scanner{uptime: uptime, subs: map[chan scan]bool{}}
}

// Run implements drivers.Scanner.
func (s *Scanner) Run(ctx context.Context, scanned func(text string, up time.Duration)) error {
	codes := make(chan scan, 16)
	s.listen(codes, true)
	defer s.listen(codes, false)
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case c := <-codes:
			scanned(c.text, c.up)
		}
	}
}

func (s *Scanner) listen(codes chan scan, on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if on {
		s.subs[codes] = true
	} else {
		delete(s.subs, codes)
	}
}

// scan reads a code.
func (s *Scanner) scan(text string) error {
	text = strings.TrimSpace(text)
	if text == "" || len(text) > maxScan || !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return fmt.Errorf("sim: a code has 1 to %d bytes of printable text", maxScan)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for codes := range s.subs {
		select {
		case codes <- scan{text, s.uptime()}:
		default:
			return errors.New("sim: the scanner's reader hangs")
		}
	}
	return nil
}

// Scanner returns the scanner, nil if there is none.
func (r *Room) Scanner() *Scanner { return r.scanner }

// Scan lets the scanner read a code.
func (r *Room) Scan(text string) error {
	if r.scanner == nil {
		return errors.New("sim: this room has no scanner: add it to the configuration")
	}
	return r.scanner.scan(text)
}
