package recovery_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"minglu/agent/evidence"
	"minglu/agent/ledger"
	"minglu/agent/record/recovery"
)

// told is spans with the causes of the gaps.
func told(r evidence.Result, ch string) string {
	var out []string
	for _, s := range r.Sessions[0].Spans {
		if s.Channel != ch {
			continue
		}
		t := fmt.Sprintf("%s %d-%d", s.Finding, s.From/1000, s.To/1000)
		if s.Cause != "" {
			t += " " + s.Cause
		}
		out = append(out, t)
	}
	return strings.Join(out, ", ")
}

// The cut takes what came after the last signed moment. What a channel had not delivered by then has a
// cause of its own, and the two are not told as one.
func TestSilentBeforeTheCut(t *testing.T) {
	fault := func(typ, ch, code string) evidence.Event {
		return evidence.Event{Common: evidence.Common{Type: typ}, Code: code, Ch: ch}
	}
	pause := func(typ string, at int64) evidence.Pause {
		return evidence.Pause{Common: evidence.Common{Type: typ}, At: at, Reason: "rest", Who: "officer"}
	}
	for _, tt := range []struct {
		rule   string
		silent int // cycles of face before the cut
		lines  map[int][]any
		tails  bool // face delivers again, unsigned
		face   string
	}{
		{"a camera that fell silent long before", 16, nil, false,
			"intact 0-2000, gap 2000-10000 no data, gap 10000-22000 agent stopped unexpectedly"},
		{"one that a standing fault says is unplugged", 16, map[int][]any{8: {fault("fault", "face", "camera.gone")}}, false,
			"intact 0-2000, gap 2000-10000 connection lost, gap 10000-22000 agent stopped unexpectedly"},
		{"one that stays connected without pictures", 16, map[int][]any{8: {fault("fault", "face", "camera.noframes")}}, false,
			"intact 0-2000, gap 2000-10000 no frames, gap 10000-22000 agent stopped unexpectedly"},
		{"a fault that was cleared says nothing", 16, map[int][]any{8: {fault("fault", "face", "camera.gone")}, 9: {fault("cleared", "face", "camera.gone")}}, false,
			"intact 0-2000, gap 2000-10000 no data, gap 10000-22000 agent stopped unexpectedly"},
		{"nor does a fault of another channel", 16, map[int][]any{8: {fault("fault", "wide", "camera.gone")}}, false,
			"intact 0-2000, gap 2000-10000 no data, gap 10000-22000 agent stopped unexpectedly"},
		{"what may have been on its way is no silence", 5, nil, false,
			"intact 0-7500, gap 7500-22000 agent stopped unexpectedly"},
		{"one that came back in the unsigned end", 16, map[int][]any{8: {fault("fault", "face", "camera.gone")}}, true,
			"intact 0-2000, gap 2000-10000 connection lost, recovered 10000-10500, gap 10500-22000 agent stopped unexpectedly"},
		{"a break before it is neither", 16, map[int][]any{3: {pause("pause", 2_000_000)}, 13: {pause("resume", 7_000_000)}}, false,
			"intact 0-2000, break 2000-7000 rest, gap 7000-10000 no data, gap 10000-22000 agent stopped unexpectedly"},
		{"a gap that is in the log is not told twice", 16, map[int][]any{9: {evidence.Gap{Ch: "face", From: 2_000_000, To: 5_000_000, Cause: "format changed"}}}, false,
			"intact 0-2000, gap 2000-5000 format changed, gap 5000-10000 no data, gap 10000-22000 agent stopped unexpectedly"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			w := newWorld(t)
			const cycles = 20
			for i := range cycles {
				w.silent = map[string]bool{"face": i >= cycles-tt.silent}
				w.cycle(false, tt.lines[i]...)
			}
			w.silent = nil
			w.cycle(false)
			d := w.disk("a", cycles)
			if tt.tails {
				w.tail(d, cycles, tail{onlyFace(all), none})
			}
			w.boot = "boot-1"
			w.now.T, w.now.Up = start.Add(22*time.Second), 32*time.Second
			if it := w.recover(d); it.Outcome != recovery.Recovered || it.Cause != recovery.Stopped {
				t.Errorf("item %+v", it)
			}
			r := w.verify(d)
			if got := told(r, "face"); r.Exit != 3 || got != tt.face {
				t.Errorf("verify exits %d, face %q\nwant %q", r.Exit, got, tt.face)
			}
			if got, want := told(r, "voice"), "intact 0-10000, gap 10000-22000 agent stopped unexpectedly"; got != want && !strings.Contains(tt.rule, "break") {
				t.Errorf("voice %q, want %q", got, want)
			}
		})
	}
}

// A channel that should deliver and never did is lost from the beginning, and told.
func TestNeverDelivered(t *testing.T) {
	w := newWorld(t)
	w.channels = []string{"face", "voice", "wide"}
	w.openSession()
	for range 10 {
		w.cycle(false)
	}
	short := w.disk("a", 2)
	long := w.disk("a", 10)
	for _, tt := range []struct {
		d    recovery.Disk
		want string
	}{
		{short, "gap 0-40000 power lost"},
		{long, "gap 0-5000 never delivered, gap 5000-40000 power lost"},
	} {
		w.led = &fakeLedger{log: w.newLog(w.led.Origin(), w.options(nil).Now).(*ledger.SessionLog)}
		w.recover(tt.d)
		r := w.verify(tt.d)
		if got := told(r, "wide"); r.Exit != 3 || got != tt.want {
			t.Errorf("verify exits %d, wide %q, want %q: %s", r.Exit, got, tt.want, brief(r))
		}
	}
}
