package main

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"minglu/agent/room"
	"minglu/drivers"
)

// shy is a scanner that is not there for a while.
type shy struct {
	mu    sync.Mutex
	gone  int // so many runs fail
	codes chan string
}

func (s *shy) Run(ctx context.Context, scanned func(string, time.Duration)) error {
	s.mu.Lock()
	s.gone--
	gone := s.gone >= 0
	s.mu.Unlock()
	if gone {
		return &drivers.Problem{Code: "gone", Zh: "已断开", En: "unplugged"}
	}
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case c := <-s.codes:
			scanned(c, time.Second)
		}
	}
}

// TestScannerStartsASession: one that is out is a fault until it is back, though it says nothing; a code begins a
// session with its number, and another code asks whether this one is to end.
func TestScannerStartsASession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shy{gone: 3, codes: make(chan string)}
		a := faultsOf(t, devices{}, func(a *agent, ctx context.Context) error {
			return a.runScanner(ctx, "scanner", s, func(_ context.Context, text string) room.Scan { return room.Scan{Case: text} })
		})
		if !stands(a, "input.failed", "scanner") {
			t.Error("a scanner that is not there is no fault")
		}
		time.Sleep(time.Minute)
		if stands(a, "input.failed", "scanner") {
			t.Error("the scanner is back, the fault stands")
		}
		s.codes <- "2026-12"
		synctest.Wait()
		if st := a.loop.State(); st.Phase == "" || st.Wish.Details.Case != "2026-12" {
			t.Errorf("a scanned case: %+v", st)
		}
		s.codes <- "2026-13"
		synctest.Wait()
		if st := a.loop.State(); st.Asked != room.AskScan || st.ScanWish.Details.Case != "2026-13" {
			t.Errorf("another case: %+v", st)
		}
	})
}
