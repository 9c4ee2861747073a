package main

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"minglu/agent/evidence"
	"minglu/agent/report"
	"minglu/agent/room"
	"minglu/agent/web"
	"minglu/drivers"
)

// loopOf runs a room's loop in a bubble of time and returns it with what it did.
func loopOf(t *testing.T) (l *roomLoop, did func() []room.Action) {
	began := time.Now()
	l = newRoomLoop(room.DefaultRules(), func() time.Duration { return time.Hour + time.Since(began) }, slog.New(slog.DiscardHandler))
	var actions []room.Action
	l.do = func(a room.Action) { actions = append(actions, a) }
	ctx, cancel := context.WithCancelCause(context.Background()) // t.Context ends before its clean-up
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel(errStopped)
		if err := <-ended; !errors.Is(err, errStopped) {
			t.Errorf("Run() = %v, want why it was stopped", err)
		}
	})
	return l, func() []room.Action { synctest.Wait(); return actions }
}

func TestFaultIsToldOnceWhenItBeginsAndEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, did := loopOf(t)
		var told []string
		l.faulted = func(f room.Fault, on bool, since time.Time) {
			told = append(told, map[bool]string{true: "+", false: "-"}[on]+f.Code+f.Ch)
			if since.IsZero() {
				t.Errorf("%s began at no time", f.Code)
			}
		}
		for range 3 {
			l.Fault("camera.gone", "face", true)
			l.Fault("clock.step", "", true)
		}
		l.Fault("camera.gone", "face", false)
		l.Fault("camera.gone", "face", false)
		did()
		if want := []string{"+camera.goneface", "+clock.step", "-camera.goneface"}; !slices.Equal(told, want) {
			t.Errorf("told %v, want %v", told, want)
		}
		if f := l.Faults(); len(f) != 1 {
			t.Errorf("standing: %v, want the step alone", f)
		}
	})
}

func TestWarningsDoNotImpair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, did := loopOf(t)
		l.Fault("clock.unverified", "", true)
		l.Fault("disk.gone", "B", true)
		did()
		for _, f := range l.State().Faults {
			if want := report.Find(f.Code).Severity != report.Warning; f.Impairs != want {
				t.Errorf("%s impairs: %t, want %t", f.Code, f.Impairs, want)
			}
		}
	})
}

// What happened before is decided with the time it happened, though the loop was late.
func TestInputCountsFromWhenItHappened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, did := loopOf(t)
		time.Sleep(30 * time.Millisecond)
		pressed := l.uptime()
		time.Sleep(20 * time.Millisecond)
		l.Input(drivers.InputEvent{Kind: drivers.Button, On: true, Up: pressed})
		did()
		if st := l.State(); st.Phase != room.Recording || st.Started != pressed {
			t.Errorf("phase %s since %v, want recording since %v", st.Phase, st.Started, pressed)
		}
	})
}

func TestAskIsAnsweredOrGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := loopOf(t)
		actions, err := l.Ask(t.Context(), room.Stop{})
		if err != nil || refusal(actions) == nil {
			t.Errorf("Ask(stop) of an idle room = %v, %v; want a refusal", actions, err)
		}
		hung := newRoomLoop(room.DefaultRules(), l.uptime, l.log) // never run
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := hung.Ask(ctx, room.Tick{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Ask() of a hung room = %v, want a deadline", err)
		}
	})
}

func TestLatestKeepsTheNewest(t *testing.T) {
	c := make(chan int, 1)
	for i := range 5 {
		latest(c, i)
	}
	if got := <-c; got != 4 {
		t.Errorf("got %d, want the last of 0 to 4", got)
	}
}

// A session may belong to another body than the room's own: what the request says reaches the record.
func TestDetailsKeepTheBody(t *testing.T) {
	body := evidence.Body{Name: "某县应急管理局", USCC: "111400000000000000", System: "应急管理"}
	d := web.Details{Case: "7", Matter: web.Matter{ID: "m1", Version: "2"}, Officers: []web.Officer{{Name: "王某", Credential: "001"}}, Body: &body, Flags: []string{"drill"}}
	got := webDetails(roomDetails(d))
	if got.Body == nil || *got.Body != body || got.Case != "7" || got.Matter.Name != "m1@2" || len(got.Officers) != 1 || len(got.Flags) != 1 {
		t.Errorf("webDetails(roomDetails()) = %+v", got)
	}
	if got := webDetails(roomDetails(web.Details{})); got.Body != nil {
		t.Errorf("nobody named a body, and it is %v", got.Body)
	}
}
